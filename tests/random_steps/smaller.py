"""The smallest step that still breaks: lines, leaves, sizes and options are taken away while the outcome stays."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from .grammar import living
from .program import Call, Case, Instruction, Program


def smallest(case: Case, breaks: Callable[[Case], bool], most: int = 400) -> Case:
    """The smallest that still breaks, of at most so many tried."""
    tried = 0
    shrunk = True
    while shrunk:
        shrunk = False
        for smaller in _smaller(case):
            if tried >= most:
                return _numbered(case)
            tried += 1
            if breaks(smaller):
                case, shrunk = smaller, True
                break
    return _numbered(case)


def _smaller(case: Case) -> Iterator[Case]:
    """Cases that are smaller by one thing each, those that take most away first."""
    program, call = case.program, case.call
    yield from (replace(case, program=p) for p in _programs(program) if p != program)
    for field in fields(Call):
        default = field.default
        simple = {"rows": (1, 2), "steps": (1, 2), "seed": (), "frozen": ((),)}.get(field.name, (default,))
        now = getattr(call, field.name)
        yield from (
            replace(case, call=replace(call, **{field.name: value}))
            for value in simple
            if value != now and not (isinstance(value, int) and value > now > 0)
        )


def _programs(program: Program) -> Iterator[Program]:
    if (alive := living(program)) != program:
        yield alive
    # The next state first: what the output does not need then dies with it.
    for i in range(len(program.new)):
        yield replace(program, new=(*program.new[:i], f"s{i}", *program.new[i + 1 :]))
    for line in reversed(program.body):
        for other in dict.fromkeys((*line.operands, "d0", "s0")):
            yield living(_instead(program, line.name, other))
    for kind, name in (("drives", "d"), ("states", "s"), ("weights", "w")):
        for i in range(len(getattr(program, kind))):
            if len(getattr(program, kind)) > (kind != "weights") and not _uses(program, f"{name}{i}", kind == "states"):
                yield _without(program, kind, name, i)
    for line in program.body:  # a plainer line in its place
        for template in ("{0}.tanh()", "{0} * 2"):
            if line.template != template and "{1}" not in line.template:
                body = tuple(line._replace(template=template) if other is line else other for other in program.body)
                yield replace(program, body=body)
    yield replace(program, kinds=("tuple", "tuple"))
    yield from (replace(program, kinds=pair) for pair in (("tuple", program.kinds[1]), (program.kinds[0], "tuple")))
    shapes = (*program.drives, *program.states, *program.weights)
    for size in sorted({size for shape in shapes for size in shape}, reverse=True):
        for less in (1, 2, 3, 4):
            if less < size:
                yield _sized(program, size, less)


def _instead(program: Program, name: str, other: str) -> Program:
    """Without the line of a name: another value in its place."""

    def swap(old: str) -> str:
        return other if old == name else old

    body = tuple(line._replace(operands=tuple(map(swap, line.operands))) for line in program.body if line.name != name)
    return replace(program, body=body, out=swap(program.out), new=tuple(map(swap, program.new)))


def _uses(program: Program, name: str, state: bool) -> bool:
    new = [n for i, n in enumerate(program.new) if not (state and name == f"s{i}")]
    return name in {program.out, *new, *(operand for line in program.body for operand in line.operands)}


def _without(program: Program, kind: str, name: str, number: int) -> Program:
    """Without a leaf that nothing uses; those after it move up."""
    leaves = getattr(program, kind)

    def moved(old: str) -> str:
        up = old[0] == name and int(old[1:]) > number
        return f"{name}{int(old[1:]) - 1}" if up else old

    body = tuple(line._replace(operands=tuple(map(moved, line.operands))) for line in program.body)
    new = [n for i, n in enumerate(program.new) if kind != "states" or i != number]
    changes: dict[str, Any] = {kind: leaves[:number] + leaves[number + 1 :]}
    return replace(program, body=body, out=moved(program.out), new=tuple(map(moved, new)), **changes)


def _sized(program: Program, size: int, less: int) -> Program:
    def cut(shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(less if n == size else n for n in shape) for shape in shapes)

    body = tuple(
        line._replace(template=line.template.replace(f"({size}, dtype", f"({less}, dtype")) for line in program.body
    )
    return replace(
        program, drives=cut(program.drives), states=cut(program.states), weights=cut(program.weights), body=body
    )


def _numbered(case: Case) -> Case:
    """Its lines called v0, v1 .. without gaps."""
    names = {line.name: f"v{i}" for i, line in enumerate(case.program.body)}

    def called(name: str) -> str:
        return names.get(name, name)

    program = case.program
    body = tuple(Instruction(called(n), t, tuple(map(called, o))) for n, t, o in program.body)
    return replace(
        case, program=replace(program, body=body, out=called(program.out), new=tuple(map(called, program.new)))
    )
