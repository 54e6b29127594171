"""A step as a list of instructions, each a line of PyTorch, and a call of it."""

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

Leaves1, Leaves2 = namedtuple("Leaves1", "a"), namedtuple("Leaves2", "a b")
Leaves3 = namedtuple("Leaves3", "a b c")
SCOPE = {"torch": torch, "F": F, "Leaves1": Leaves1, "Leaves2": Leaves2, "Leaves3": Leaves3}
KINDS = ("tuple", "bare", "list", "dict", "named", "nested", "turned")  # turned: a dict, returned in another order


class Instruction(NamedTuple):
    name: str  # of its value
    template: str  # a line of source with {0}, {1} .. for operands
    operands: tuple[str, ...]

    @property
    def source(self) -> str:
        return self.template.format(*self.operands)


@dataclass(frozen=True)
class Program:
    """A step; leaves are called d0, s0, w0 .., and what instructions give v0, v1 ..

    Attributes:
        drives, states: the features of each leaf, without batch; weights: their shapes.
        kinds: of the trees of the drive and of the state, of `KINDS`.
        new: the state after the step, leaf by leaf.
    """

    drives: tuple[tuple[int, ...], ...]
    states: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...]
    kinds: tuple[str, str]
    body: tuple[Instruction, ...]
    out: str
    new: tuple[str, ...]

    @property
    def source(self) -> str:
        """The step as one would write it."""
        weights = "".join(f", w{i}" for i in range(len(self.weights)))
        lines = [f"def step(d, s{weights}):"]
        for name, leaves, kind in (("d", self.drives, self.kinds[0]), ("s", self.states, self.kinds[1])):
            lines += [f"    {name}{i} = {path}" for i, path in enumerate(paths(name, kind, len(leaves)))]
        lines += [f"    {line.name} = {line.source}" for line in self.body]
        return "\n".join([*lines, f"    return {self.out}, {packed(self.kinds[1], self.new, turned=True)}", ""])

    def step(self) -> Callable[..., Any]:
        """(d, s, *weights) -> (out, s)"""
        scope = dict(SCOPE)
        exec(self.source, scope)
        return scope["step"]


@dataclass(frozen=True)
class Call:
    """How a step is called; numbers come from `seed`."""

    seed: int = 0
    rows: int = 2
    steps: int = 3
    lengths: bool = False  # some of them zero
    resets: bool = False
    initial: bool = False
    layout: str = "whole"  # of the drive and the state
    frozen: tuple[str, ...] = ()  # leaves whose gradient nobody wants
    hostile: bool = False  # zeros of both signs, ties, very small and large numbers among the others
    lanes: int = 4
    ends: str = "all"  # what the loss sees: all, out, state

    def describe(self, program: Program) -> str:
        """The call as a comment."""
        drives = ", ".join(str([self.rows, self.steps, *shape]) for shape in program.drives)
        states = ", ".join(str([self.rows, *shape]) for shape in program.states)
        weights = ", ".join(str([*shape]) for shape in program.weights)
        changed = [f"{k}={v!r}" for k, v in vars(self).items() if v != Call.__dataclass_fields__[k].default]
        kinds = f"{program.kinds[0]} / {program.kinds[1]}"
        return f"# d {drives}; s {states}; w {weights}; trees {kinds}\n# {', '.join(changed)}"


@dataclass(frozen=True)
class Case:
    program: Program
    call: Call = field(default_factory=Call)

    @property
    def source(self) -> str:
        return f"{self.call.describe(self.program)}\n{self.program.source}"


def paths(name: str, kind: str, count: int) -> list[str]:
    """How each leaf of a tree is reached."""
    match kind:
        case "bare":
            return [name]
        case "dict" | "turned":
            return [f'{name}["{key}"]' for key in "abc"[:count]]
        case "named":
            return [f"{name}.{key}" for key in "abc"[:count]]
        case "nested":
            return [f"{name}[0]", *(f"{name}[1][{i}]" for i in range(count - 1))]
    return [f"{name}[{i}]" for i in range(count)]


def packed(kind: str, names: Sequence[str], turned: bool = False) -> str:
    """The source of a tree with these leaves."""
    match kind:
        case "bare":
            return names[0]
        case "dict" | "turned":
            pairs = [f'"{key}": {name}' for key, name in zip("abc", names, strict=False)]
            return "{" + ", ".join(pairs[::-1] if turned and kind == "turned" else pairs) + "}"
        case "named":
            return f"Leaves{len(names)}({', '.join(names)})"
        case "nested":
            return f"({names[0]}, [{', '.join(names[1:])}])"
        case "list":
            return f"[{', '.join(names)}]"
    return f"({', '.join(names)},)"


def tree_of(kind: str, leaves: Sequence[Any]) -> Any:
    names = [f"x{i}" for i in range(len(leaves))]
    return eval(packed(kind, names), dict(SCOPE) | dict(zip(names, leaves, strict=True)))


def leaves_of(kind: str, tree: Any, count: int) -> list[Any]:
    """The leaves by name, whatever order a dict has."""
    return [eval(path, {"x": tree}) for path in paths("x", kind, count)]
