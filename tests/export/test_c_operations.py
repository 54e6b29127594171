"""Each operation in C on numbers of all kinds. Oracle: its meaning in ir/ops.py, in float64."""

import math
import subprocess
from itertools import product

import numpy as np
import pytest
from c_programs import FLAGS, GCC

from ostinato.kernels.ir.buffers import OUT, Buffer, Kind
from ostinato.kernels.ir.expressions import Base, Int, LoadVector, Pointwise, Type, Var
from ostinato.kernels.ir.loops import For, StoreVector
from ostinato.kernels.ir.ops import OPS, POINTWISE
from ostinato.kernels.render.c import CText, Place, number

EDGES = (0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 1e-8, -1e-3, 1e-40, 3.7, -20.5, 88.0, -95.0, 130.0, -130.0, 3e38,
         math.inf, -math.inf, math.nan)  # fmt: skip
MANY = tuple(np.linspace(-12, 12, 301, dtype=np.float32).tolist())
ULP = 2.0**-23


def meaning(op: str, *numbers: float) -> float:
    """NaN and infinities where Python raises instead."""
    function = OPS[op].meaning
    assert function is not None
    with np.errstate(all="ignore"):
        peer = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "expm1": np.expm1,
                "div": np.divide, "log2": np.log2, "log10": np.log10, "fmod": np.fmod}  # fmt: skip
        if op in peer:
            return float(peer[op](*map(np.float64, numbers)))
        if op == "pow" and not math.isinf(numbers[0]):  # of which NumPy's has no root
            return float(np.power(*map(np.float64, numbers)))
        if op == "sigmoid":
            return float(1 / (1 + np.exp(-np.float64(numbers[0]))))
        return function(*numbers)


if GCC:  # without one there is nothing to compile with

    @pytest.fixture(scope="module")
    def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[tuple[float, ...]], np.ndarray]]:
        """The arguments of each operation, and what it gives for them."""
        folder = tmp_path_factory.mktemp("operations")
        j, places, given, loops = Var("j"), {OUT: Place("y")}, {}, []
        for i in range(3):
            places[Buffer(Kind.VECTOR, i)] = Place(f"x{i}")
        text = CText(places, "the")
        for op, arity in POINTWISE.items():
            single = [(x,) for x in (*EDGES, *MANY)]
            rows = single if arity == 1 else [*product(EDGES, repeat=2)]
            rows = rows if arity < 3 else [(x, 2.0, y) for x, y in rows]
            args = tuple(LoadVector(Base(Buffer(Kind.VECTOR, i)), j) for i in range(arity))
            body = text.block((For(j, Int(len(rows)), (StoreVector(Base(OUT), j, Pointwise(op, args, Type.VECTOR)),)),))
            arrays = [
                f"static const float x{i}[] = {{{', '.join(number(row[i]) for row in rows)}}};" for i in range(arity)
            ]
            loops += ["{", *arrays, f"float y[{len(rows)}];", *body, "fwrite(y, sizeof y, 1, stdout);", "}"]
            given[op] = rows
        lines = ["#include <math.h>", "#include <stddef.h>", "#include <stdint.h>", "#include <stdio.h>"]
        main = "\n".join([*lines, text.functions(), "int main(void)", "{", *loops, "return 0;", "}", ""])
        (folder / "main.c").write_text(main)
        assert GCC is not None
        subprocess.run([GCC, *FLAGS, "main.c", "-lm", "-o", "main"], cwd=folder, check=True)
        out = np.frombuffer(subprocess.run([folder / "main"], check=True, capture_output=True).stdout, np.float32)
        ends = np.cumsum([len(rows) for rows in given.values()])
        return dict(zip(given, zip(given.values(), np.split(out, ends[:-1]), strict=True), strict=True))

    @pytest.mark.parametrize("op", POINTWISE)
    def test_an_operation_means_what_the_table_says(
        op: str, computed: dict[str, tuple[list[tuple[float, ...]], np.ndarray]]
    ) -> None:
        rows, got = computed[op]
        exact = [tuple(float(np.float32(x)) for x in row) for row in rows]
        with np.errstate(over="ignore"):
            want = np.array([meaning(op, *row) for row in exact]).astype(np.float32)
        # Eight units in the last place, and among denormals some of theirs.
        np.testing.assert_allclose(got, want, rtol=8 * ULP, atol=1e-38, err_msg=op)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (1.0, "1.0f"), (-2.5, "(-2.5f)"), (-0.0, "(-0.0f)"), (0.1, "0.100000001f"), (2.0**100, "1.2676506e+30f"),
        (1 / 3, "0.333333343f"), (math.inf, "INFINITY"), (-math.inf, "(-INFINITY)"), (math.nan, "NAN"),
        (1e39, "INFINITY"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_float_has_them(x: float, text: str) -> None:
    assert number(x) == text


@pytest.mark.parametrize("x", np.random.default_rng(0).standard_normal(20).astype(np.float32).tolist())
def test_a_written_number_is_read_as_itself(x: float) -> None:
    assert np.float32(number(x).strip("(f)")) == np.float32(x)
