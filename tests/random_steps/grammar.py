"""Draws steps and calls: instruction by instruction, each tried on numbers, so that what is drawn runs as PyTorch."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from .operations import FAMILIES
from .program import KINDS, SCOPE, Call, Case, Instruction, Program

T = TypeVar("T")
Number = Callable[[int], int]  # a number below another, by `random` or by hypothesis
SIZES = (1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 64)
ROWS, FEW = 11, 4  # of which a value is made, and again of the first: no sizes of features
MOST = 1100  # numbers of a value, a row: the reference loop is to stay quick
PRODUCTS = ("@", "einsum", "linear", "mm")
LARGEST = 1e4  # of a value that is gone on with


class Grammar:
    """One program in the making; a `Source` of operations."""

    def __init__(self, number: Number, axes: int = 3, hostile: bool = False) -> None:
        self.number, self.axes, self.hostile = number, axes, hostile
        self.values: dict[str, Tensor] = {}  # by name, of ROWS rows
        self.order: list[str] = []  # of rows with a batch, in which they are drawn
        self.truths: list[str] = []
        self.body: list[Instruction] = []
        self.weights: list[tuple[int, ...]] = []
        self.sizes = [self.choose(SIZES) for _ in range(2)]
        self.generator = torch.Generator().manual_seed(0)

    def choose(self, among: Sequence[T]) -> T:
        return among[self.number(len(among))]

    def row(self, least: int = 0) -> str:
        """Most often one of the last."""
        able = [name for name in self.order if len(self.shape(name)) >= least]
        if not able:
            raise LookupError("no such value")
        return self.choose(able[-4:] if self.number(3) else able)

    def like(self, name: str) -> str:
        shape = self.values[name].shape
        able = [other for other in self.order if _together(shape, self.values[other].shape)]
        return self.choose([other for other in able if other != name] if len(able) > 1 and self.number(8) else able)

    def truth(self) -> str:
        if not self.truths:
            raise LookupError("no truth")
        return self.choose(self.truths)

    def weight(self, *shape: int) -> str:
        """One that is there already, more often than not."""
        known = [f"w{i}" for i, other in enumerate(self.weights) if other == shape]
        if known and self.number(3):
            return self.choose(known)
        self.weights.append(shape)
        return self.leaf(f"w{len(self.weights) - 1}", shape)

    def any_weight(self) -> str:
        able = [name for name, value in self.values.items() if value.shape[:1] != (ROWS,)]
        if not able:
            raise LookupError("no weight")
        return self.choose(able)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.values[name].shape[1:])

    def leaf(self, name: str, shape: Sequence[int]) -> str:
        self.values[name] = torch.randn(tuple(shape), dtype=torch.float64, generator=self.generator)
        return name

    def features(self) -> tuple[int, ...]:
        count = self.choose((1, 1, 1, 2, 0, 2, 3)[: {1: 3, 2: 6}.get(self.axes, 7)])
        found = [self.sizes[i % 2] if self.number(3) else self.choose((1, 2, 3, 5)) for i in range(count)]
        while math.prod(found) > 600:
            found[found.index(max(found))] = self.choose((1, 2, 3, 5))
        return tuple(found)

    def given(self, name: str, first: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The leaves of a drive or of a state, more often alike than not."""
        shapes = [first] + [first if self.number(3) else self.features() for _ in range(self.choose((0, 0, 1, 2)))]
        for i, shape in enumerate(shapes):
            self.order.append(self.leaf(f"{name}{i}", (ROWS, *shape)))
        return shapes

    def add(self, template: str, operands: tuple[str, ...]) -> str | None:
        """One instruction more, unless PyTorch or the bounds refuse it: its name."""
        line = Instruction(f"v{len(self.body)}", template, operands)
        few = {name: value[:FEW] if value.shape[:1] == (ROWS,) else value for name, value in self.values.items()}
        try:
            value, again = (eval(line.source, SCOPE | values) for values in (self.values, few))
        except Exception:
            return None
        if not isinstance(value, Tensor) or value.numel() > ROWS * MOST or value.dim() > 5 or not value.numel():
            return None
        if value.dtype not in (torch.float64, torch.bool):
            return None
        if not self.hostile and not (value.isfinite().all() and value.double().abs().max() < LARGEST):
            return None
        batch = value.shape[:1] == (ROWS,)
        if ROWS in value.shape[batch:] or not _same(value[:FEW] if batch else value, again):
            return None  # a row would see another
        self.body.append(line)
        self.values[line.name] = value.detach()
        if batch:
            (self.truths if value.dtype == torch.bool else self.order).append(line.name)
        return line.name

    def next_state(self, number: int, shape: tuple[int, ...]) -> str:
        """A value of that shape, or one made of what goes together with it."""
        old = f"s{number}"
        alike = [name for name in self.order if self.shape(name) == shape and name[0] == "v"]
        form = self.number(6)
        if form == 5:
            return old
        if alike and form > 2:
            return self.choose(alike[-2:])
        able = [name for name in self.order if _into(self.values[name].shape, (ROWS, *shape))]
        bounded = self.choose(("({0} + {1}).tanh()", "0.5 * {0} + 0.5 * {1}.tanh()", "{0} + {1}"))
        return self.add(bounded, (old, self.choose(able[-3:]))) or old

    def gathered(self, out: str, new: Sequence[str]) -> str:
        """The output with what nothing depends on yet added to it."""
        used = {out, *new, *(name for line in self.body for name in line.operands)}
        for name in [name for name in self.order if name not in used][-4:]:
            whole = _into(self.values[name].shape, self.values[out].shape)
            axes = len(self.shape(name))
            mean = "{1}" if whole else "{1}.flatten(1).mean(-1, keepdim=True)" if axes else "{1}[:, None]"
            out = self.add(f"{{0}} + 0.1 * {mean}", (out, name)) or out
        return out

    def program(self, lines: int) -> Program:
        drives = self.given("d", self.features())
        states = self.given("s", drives[0] if self.number(3) else self.features())
        kinds = [self.choose(KINDS[:-1]), self.choose(KINDS if self.number(4) == 3 else KINDS[:-1])]
        for i, shapes in enumerate((drives, states)):
            kinds[i] = "tuple" if kinds[i] == "bare" and len(shapes) > 1 else kinds[i]
        for _ in range(lines):
            try:
                line = self.choose(FAMILIES)(self)
            except (LookupError, ValueError, IndexError):
                continue
            self.add(*line)
        new = tuple(self.next_state(i, shape) for i, shape in enumerate(states))
        # What a product takes inside "out" is kept for backward by another way than the rest.
        products = (line for line in self.body if any(word in line.template for word in PRODUCTS))
        factors = [name for line in products for name in line.operands if name in self.order]
        out = self.choose(factors if factors and self.number(3) == 2 else [*self.order[::-1][:4], *new])
        if self.number(2):
            out = self.gathered(out, new)
        program = Program(
            tuple(drives), tuple(states), tuple(self.weights), (kinds[0], kinds[1]), tuple(self.body), out, new
        )
        return living(program) if self.number(4) else program  # dead lines too


def _together(a: Sequence[int], b: Sequence[int]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))


def _into(small: Sequence[int], large: Sequence[int]) -> bool:
    return len(small) <= len(large) and _together(small, large) and math.prod(large) >= math.prod(small)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), equal_nan=True)


def living(program: Program) -> Program:
    """Without the lines that nothing depends on."""
    wanted, body = {program.out, *program.new}, list[Instruction]()
    for line in reversed(program.body):
        if line.name in wanted:
            wanted.update(line.operands)
            body.append(line)
    return replace(program, body=tuple(reversed(body)))


def case(number: Number, axes: int = 3, most: int = 12) -> Case:
    """A step and a call of it."""
    hostile = number(8) == 7
    with warnings.catch_warnings(action="ignore"):  # of torch, about a deviation of one number
        program = Grammar(number, axes, hostile).program(1 + number(4) + number(most))
    leaves = [f"{kind}{i}" for kind, n in zip("dsw", (program.drives, program.states, program.weights), strict=True)
              for i in range(len(n))]  # fmt: skip

    def choose(among: Sequence[T]) -> T:
        return among[number(len(among))]

    resets = number(3) == 2
    frozen = tuple(name for name in leaves if number(4) == 3) if number(3) == 2 else ()
    return Case(program, Call(
        number(1000), choose((2, 1, 3, 5, 17)), choose((3, 1, 2, 5)), number(3) == 2, resets, resets and number(2) == 1,
        choose(("whole", "whole", "strided", "by steps")), frozen, hostile, choose((4, 1, 3, 8)),
        choose(("all", "all", "out", "state")),
    ))  # fmt: skip
