"""A model's step as C99: one header and one source file, which need a C compiler and libm, and nothing else."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import tree
from ..kernels import Outside
from ..kernels.build.build import build_step
from ..kernels.compiler import compile_step
from ..kernels.ir.buffers import OUT, SCRATCH, Buffer, Kind
from ..kernels.lower.evaluate import Evaluated
from ..kernels.render.c import CText, Place, number
from ..pure_step import pure_step
from ..recurrent import Recurrent, must_stream
from ..storage import atomic_write

_X = Buffer(Kind.DRIVE, 0)
_LINE = 8  # numbers in a line
# Beside these a name of the step's own would be another thing.
_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while".split()
)


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
    except Outside as error:
        raise ValueError(f"no C is derived of this model's step: {error}") from error
    program = build_step(compiled.plan, inference.placed, inference.stages)
    value = Evaluated(zip(compiled.plan.reading.trace.weights, weights.values(), strict=True))
    widths = compiled.plan.state_widths
    y_width = compiled.plan.sequences[OUT]
    arrays = {b: value(n) for b, n in {**program.vectors, **program.tables, **program.matrices}.items()}

    token = "" if x.is_floating_point() else "token"
    places = {b: Place(f"{name}_{b}") for b in arrays}
    places |= {_X: Place("x"), OUT: Place("y"), SCRATCH: Place("state->scratch", -program.first)}
    for i in range(len(widths)):
        places |= {Buffer(Kind.STATE, i): Place(f"state->s{i}"), Buffer(Kind.NEXT, i): Place(f"state->next{i}")}
    text = CText(places, name, token)
    step = text.block(program.body)
    reads = _X in text.used
    tables = [len(arrays[b]) for b in program.tables]
    sizes = {"TOKENS": min(tables, default=0)} if token else {"INPUTS": x.numel()}
    given = "int32_t token" if token else "const float *{0}x"
    signature = f"void {name}_step({name}_state *{{0}}state, {given}, float *{{0}}y)"
    after = [_copy(f"state->s{i}", f"state->next{i}", width) for i, width in enumerate(widths)]
    before = [f"const float x[1] = {{(float)token}};"] if token and reads else []
    before += ["(void)x;"] if not token and not reads else ["(void)token;"] if token and not tables and not reads else []
    before += ["(void)state;"] if not widths and SCRATCH not in text.used else []
    starts = [s.detach().reshape(-1) for s in tree.leaves(start)]
    held = {f"{name}_start{i}": s for i, s in enumerate(starts) if bool(s.ne(0).any())}
    source = [
        f"/* {name}.c: see {name}.h */",
        f'#include "{name}.h"',
        "",
        "#include <math.h>",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "/* No loop becomes a call of memcpy or memset; and loops that choose become vectors, which GCC does not dare",
        "   where a number that is not chosen could trap. */",
        "#if defined(__GNUC__) && !defined(__clang__)",
        '#pragma GCC optimize("no-tree-loop-distribute-patterns", "no-trapping-math")',
        "#endif",
        "",
        *(_array(str(places[b]), numbers) for b, numbers in arrays.items()),
        *(_array(array, numbers) for array, numbers in held.items()),
        text.functions().lstrip("\n"),
        f"void {name}_init({name}_state *state)",
        "{",
        *_indented(
            _copy(f"state->s{i}", f"{name}_start{i}" if f"{name}_start{i}" in held else "", width)
            for i, width in enumerate(widths)
        ),
        *(["    (void)state;"] if not widths else []),
        "}",
        "",
        signature.format("restrict "),
        "{",
        *_indented([*before, *step, *after]),
        "}",
    ]
    return CSource(name, _header(name, sizes, y_width, widths, program.room, signature.format("")), "\n".join(source) + "\n")


def _checked(model: Recurrent[Any], x: Tensor, name: str) -> tuple[dict[str, Tensor], Tensor]:
    """The weights by name, and x as a step takes it."""
    if not isinstance(model, Recurrent):
        raise TypeError(f"a Recurrent becomes C, and this is a {type(model).__name__}; take a cell, or a Stack")
    must_stream(model)
    if model.training:
        raise ValueError("a trained model becomes C, and this one is in training mode; call model.eval()")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _KEYWORDS:
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


def _header(
    name: str, sizes: dict[str, int], y_width: int, widths: Sequence[int], room: int, step: str
) -> str:
    what = "a token's number, 0 <= token < {0}_TOKENS" if "TOKENS" in sizes else "x [{0}_INPUTS]"
    lines = [
        f"/* {name}: one step of a recurrent model, in float. Written by Ostinato.",
        " *",
        f" * {name}_init(&state) once, then {name}_step(&state, ...) at each step; a state is all that it remembers, and",
        f" * each thread may have its own. A step takes {what.format(name.upper())}",
        f" * and writes y [{name.upper()}_OUTPUTS], which must not overlap what it reads.",
        " */",
        f"#ifndef {name.upper()}_H",
        f"#define {name.upper()}_H",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        *(f"#define {name.upper()}_{size} {count}" for size, count in {**sizes, "OUTPUTS": y_width}.items()),
        "",
        "typedef struct {",
        *(f"    float s{i}[{width}];" for i, width in enumerate(widths)),
        "    /* of one step */",
        *(f"    float next{i}[{width}];" for i, width in enumerate(widths)),
        f"    float scratch[{max(1, room)}];",
        f"}} {name}_state;",
        "",
        f"void {name}_init({name}_state *state);",
        f"{step};",
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _array(name: str, values: Tensor) -> str:
    flat = [number(x).strip("()") for x in values.detach().float().reshape(-1).tolist()]
    lines = [", ".join(flat[at : at + _LINE]) for at in range(0, len(flat), _LINE)]
    return f"static const float {name}[{len(flat)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def _copy(to: str, source: str, width: int) -> str:
    """A loop; without a source, of zeros."""
    value = f"{source}[j]" if source else "0.0f"
    return f"for (int j = 0; j < {width}; j++) {{\n    {to}[j] = {value};\n}}"


def _indented(parts: Iterable[str]) -> list[str]:
    return [f"    {line}" for part in parts for line in part.splitlines()]
