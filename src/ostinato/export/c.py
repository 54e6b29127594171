"""A model's step as C99: one header and one source file, which need a C compiler and libm, and nothing else."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import tree
from ..kernels import Unsupported
from ..kernels.build.build import build_step
from ..kernels.build.program import StepProgram
from ..kernels.compiler import compile_step
from ..kernels.ir.buffers import OUT, SCRATCH, Buffer, Kind
from ..kernels.lower.weight_graph import WeightValues
from ..kernels.render.c import CText, Place, number
from ..pure_step import pure_step
from ..recurrent import Recurrent, must_stream
from ..storage import atomic_write

_X = Buffer(Kind.DRIVE, 0)
_LINE = 8  # numbers in a line
# Where a number that is not chosen might trap, GCC makes no vectors of a loop that chooses.
_PRAGMA = """\
#if defined(__GNUC__) && !defined(__clang__)
/* No calls of memcpy and memset in place of loops; and nobody waits for floating-point traps. */
#pragma GCC optimize("no-tree-loop-distribute-patterns", "no-trapping-math")
#endif
"""
_HEADER = """\
/* {name}: one step of a recurrent model, in float. Written by Ostinato.
 *
 * Call {name}_init once, then {name}_step at each step. A state is all that is remembered: there may be many.
 * {takes}; a step writes y [{upper}_OUTPUTS], which must not overlap what it reads.
 */
#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{macros}

typedef struct {{
{members}
}} {name}_state;

void {name}_init({name}_state *state);
void {name}_step({name}_state *state, {given}, float *y);

#ifdef __cplusplus
}}
#endif

#endif
"""
_SOURCE = """\
/* {name}.c: see {name}.h */
#include "{name}.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

{pragma}
{arrays}
{functions}
void {name}_init({name}_state *state)
{{
{init}
}}

void {name}_step({name}_state *restrict state, {given}, float *restrict y)
{{
{step}
}}
"""


class CSource(NamedTuple):
    """A model's step in C99: the text of NAME.h and of NAME.c."""

    name: str
    header: str
    source: str

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Writes NAME.h and NAME.c into a folder, none of them half.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        at = Path(folder)
        header = atomic_write(at / f"{self.name}.h", self.header)
        return header, atomic_write(at / f"{self.name}.c", self.source)


def c_source(model: Recurrent[Any], x: Tensor, name: str = "model") -> CSource:
    """The step of a whole model, with its weights as they are now, in C99 and float.

    It gives `NAME_state`, `NAME_init(state)` and `NAME_step(state, x, y)`; sizes are macros. Nothing is allocated, and
    nothing is called but functions of libm.

    Args:
        model: in eval mode, in float32.
        x: one step of an input, whose values do not matter: [D], or a token's number, [] of integers.
        name: of the files, and what their names begin with.

    Raises:
        TypeError: the model is no `Recurrent`, or a part of it reads whole sequences.
        ValueError: the model is in training mode or not in float32; the name is no identifier of C; x is no step; the
            step computes what no loops are derived of: the message says what.
    """
    weights, x = _checked(model, x, name)
    start = tree.map(lambda s: s.detach()[0], model.initial_state(1))
    try:
        compiled = compile_step(pure_step(model, list(weights)), x, start, list(weights.values()), 1, gradients=False)
        inference = compiled.directions["inference"]
    except Unsupported as error:
        raise ValueError(f"no C is derived of this model's step: {error}") from error
    plan, program = compiled.plan, build_step(compiled.plan, inference.placed, inference.stages)
    value = WeightValues(zip(plan.reading.trace.weights, weights.values(), strict=True))
    nodes = {**program.vectors, **program.tables, **program.matrices}
    arrays = {f"{name}_{buffer}": value(node) for buffer, node in nodes.items()}
    starts = [leaf.reshape(-1) for leaf in tree.leaves(start)]
    floating = x.is_floating_point()
    x_width = x.numel() if floating else min((len(value(node)) for node in program.tables.values()), default=None)
    return _written(name, floating, x_width, plan.sequences[OUT], starts, arrays, program)


def _written(
    name: str, floating: bool, x_width: int | None, y_width: int, starts: Sequence[Tensor],
    arrays: Mapping[str, Tensor], program: StepProgram,
) -> CSource:  # fmt: skip
    """The text.

    Args:
        x_width: features of x, or how many tokens there are; None: any number, for it chooses no row of a table.
        starts: [width] of each state.
    """
    upper, widths = name.upper(), [len(s) for s in starts]
    places = {b: Place(f"{name}_{b}") for b in (*program.vectors, *program.tables, *program.matrices)}
    places |= {_X: Place("x"), OUT: Place("y"), SCRATCH: Place("state->scratch", -program.first)}
    for i, _ in enumerate(widths):
        places |= {Buffer(Kind.STATE, i): Place(f"state->s{i}"), Buffer(Kind.NEXT, i): Place(f"state->next{i}")}
    text = CText(places, name, "" if floating else "token")
    step = text.block(program.body)
    step += [_loop(f"state->s{i}", width, f"state->next{i}[j]") for i, width in enumerate(widths)]
    init = []
    for i, start in enumerate(starts):
        begins = bool(start.ne(0).any())
        arrays = {**arrays, f"{name}_start{i}": start} if begins else arrays
        init.append(_loop(f"state->s{i}", len(start), f"{name}_start{i}[j]" if begins else "0.0f"))
    if not floating and _X in text.used:  # as a number, too
        step = ["const float x[1] = {(float)token};", *step]
    elif _X not in text.used and not program.tables:
        step = [f"(void){'x' if floating else 'token'};", *step]
    if not widths:
        init, step = ["(void)state;"], ["(void)state;", *step]
    macros = {} if x_width is None else {"INPUTS" if floating else "TOKENS": x_width}
    macros["OUTPUTS"] = y_width
    tokens = "A token is an integer" if x_width is None else f"A token is 0 or more and below {upper}_TOKENS"
    rooms = {f"{kind}{i}": width for kind in ("s", "next") for i, width in enumerate(widths)}
    header = _HEADER.format(
        name=name, upper=upper, given="const float *x" if floating else "int32_t token",
        takes=f"x is [{upper}_INPUTS]" if floating else tokens,
        macros="\n".join(f"#define {upper}_{size} {count}" for size, count in macros.items()),
        # C has no empty arrays. What comes after the states is a step's own.
        members="\n".join(f"    float {n}[{room}];" for n, room in {**rooms, "scratch": max(1, program.room)}.items()),
    )  # fmt: skip
    source = _SOURCE.format(
        name=name, pragma=_PRAGMA, arrays="\n".join(_array(*array) for array in arrays.items()),
        functions=text.functions(), init=_indented(init), step=_indented(step),
        given="const float *restrict x" if floating else "int32_t token",
    )  # fmt: skip
    return CSource(name, header, source)


def _checked(model: Recurrent[Any], x: Tensor, name: str) -> tuple[dict[str, Tensor], Tensor]:
    """The weights by name, and x as a step takes it."""
    if not isinstance(model, Recurrent):
        raise TypeError(f"a Recurrent becomes C, and this is a {type(model).__name__}; take a cell, or a Stack")
    must_stream(model)
    if model.training:
        raise ValueError("a trained model becomes C, and this one is in training mode; call model.eval()")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"a name must be an identifier of C, letters, digits and _, and is {name!r}")
    weights = {n: t.detach().cpu() for n, t in (*model.named_parameters(), *model.named_buffers())}
    for n, weight in weights.items():
        if weight.dtype != torch.float32:
            kind = str(weight.dtype).removeprefix("torch.")
            raise ValueError(f"C is written in float32, and {n} is {kind}; call model.float()")
    if x.dim() != int(x.is_floating_point()) or x.is_complex() or x.dtype is torch.bool or not x.numel():
        kind = str(x.dtype).removeprefix("torch.")
        raise ValueError(f"x must be one step, [D] floating or a token's number [], and is {kind} {list(x.shape)}")
    return weights, x.detach().cpu().to(torch.float32 if x.is_floating_point() else torch.int64)


def _array(name: str, values: Tensor) -> str:
    flat = [number(x).strip("()") for x in values.detach().float().reshape(-1).tolist()]
    lines = [", ".join(flat[at : at + _LINE]) for at in range(0, len(flat), _LINE)]
    return f"static const float {name}[{len(flat)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def _loop(to: str, width: int, value: str) -> str:
    return f"for (int j = 0; j < {width}; j++) {{\n    {to}[j] = {value};\n}}"


def _indented(parts: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for part in parts for line in part.splitlines())
