"""A model's step in C. Oracles: a session of the same model; of single operations, what ir/ops.py says they mean.

Without GCC the text alone is looked at.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from c_programs import FLAGS, GCC, SANITIZED, compiled, run
from torch import Tensor, nn
from torch.nn import functional as F

from matrix_steps import DeltaDrive, gated_delta
from ostinato import tree
from ostinato.cells import cells
from ostinato.export import CSource, c_source
from ostinato.layers import Bidirectional, LearnedState, Pointwise, Residual, Stack
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell, Recurrent
from ostinato.stream import Session

D, H, WORDS, STEPS = 6, 9, 50, 1000
LIBM = {f"{name}f" for name in ("log", "sqrt", "erf", "expm1", "sin", "cos", "atan", "pow", "floor", "nearbyint")}
BUILT_IN = {"fabsf", "copysignf"}


class GatedDelta(Cell[Tensor]):
    """Two heads, each of a matrix as state."""

    recurrence = Recurrence("gated_delta", gated_delta)

    def __init__(self) -> None:
        super().__init__()
        self.w_in = nn.Linear(D, 2 * (2 * 4 + 3 + 2))

    def initial_state(self, batch: int) -> Tensor:
        return self.w_in.weight.new_zeros(batch, 2, 4, 3)

    def drive(self, x: Tensor) -> DeltaDrive:
        q, k, v, alpha, beta = self.w_in(x).unflatten(-1, (2, -1)).split([4, 4, 3, 1, 1], dim=-1)
        alpha, beta = (alpha + 3).sigmoid().squeeze(-1), beta.sigmoid().squeeze(-1)
        return DeltaDrive(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, alpha, beta)

    def emit(self, out: Tensor, x: Tensor) -> Tensor:
        return out.flatten(2)


def words() -> Recurrent[Any]:
    """An embedding, a stack of three with norms and residuals, a linear head."""
    lstm, gru = Residual(cells["lstm"](H, H), nn.LayerNorm(H)), Residual(cells["gru"](H, H), nn.LayerNorm(H))
    return Stack(
        Pointwise(nn.Embedding(WORDS, H)), lstm, gru, Residual(cells["layernorm_lstm"](H, H)),
        Pointwise(nn.Linear(H, WORDS)),
    )  # fmt: skip


def deep() -> Recurrent[Any]:
    """A shortcut around a cell, and a head of softmax, which takes sums and maxima of rows."""
    head = nn.Sequential(nn.GELU(), nn.Linear(H, 4), nn.LogSoftmax(-1))
    return Stack(Pointwise(nn.Linear(D, H)), Residual(cells["gru"](H, H)), Pointwise(head))


def learned() -> Recurrent[Any]:
    """It starts from numbers of its own."""
    layer = LearnedState(cells["lstm"](D, H))
    for start in layer.start:
        nn.init.normal_(start)
    return layer


class Numbered(nn.Module):
    """Reads a token as a row of a table, and as a number too."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, D)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids) * (ids.float().unsqueeze(-1) / WORDS)


class Counted(nn.Module):
    """Reads a token as a number alone."""

    def forward(self, ids: Tensor) -> Tensor:
        return ids.float().unsqueeze(-1) / WORDS


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(-1).values


def fading() -> Recurrent[Any]:
    """Not the default, whose state adds up all that it reads: a session's own error is 3e-5 there after 1000 steps."""
    return cells["antisymmetric"](D, H, gamma=0.3)


def numbered() -> Recurrent[Any]:
    return Stack(Pointwise(Numbered()), cells["gru"](D, H))


def nothing_kept() -> Recurrent[Any]:
    """No state at all."""
    return Stack(Pointwise(nn.Linear(D, H)), Pointwise(nn.Tanh()))


OTHERS = {
    "antisymmetric": fading,
    "numbered": numbered,
    "nothing_kept": nothing_kept,
    "words": words,
    "deep": deep,
    "learned": learned,
    "gated_delta": GatedDelta,
}
NAMES = tuple({**cells, **OTHERS})


def model_of(name: str) -> Recurrent[Any]:
    torch.manual_seed(0)
    return OTHERS.get(name, lambda: cells[name](D, H))().eval()


def steps_of(name: str) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(WORDS, (STEPS,)) if name in ("words", "numbered") else torch.randn(STEPS, D)


@pytest.fixture(scope="module")
def sources() -> dict[str, CSource]:
    return {name: c_source(model_of(name), steps_of(name)[0], f"the_{name}") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_called_but_its_own_functions_and_libm(name: str, sources: dict[str, CSource]) -> None:
    text = sources[name].source
    code = text[text.index(f"void the_{name}_init") :]
    own = set(re.findall(r"^(?:static inline \w+|void) (\w+)\(", text, re.MULTILINE))
    called = set(re.findall(r"(\w+)\(", re.sub(r"/\*.*?\*/", "", code)))
    assert called <= own | LIBM | BUILT_IN | {"for"}
    assert text.count("{") == text.count("}") and "static float" not in text
    assert set(re.findall(r"\bstatic (\w+)", text)) <= {"inline", "const"}  # nothing that steps could share


if GCC:  # without one there is nothing to compile with

    @pytest.fixture(scope="module")
    def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where what is compiled without sanitizers lies."""
        return tmp_path_factory.mktemp("c")

    @pytest.fixture(scope="module")
    def outputs(sources: dict[str, CSource], folder: Path) -> dict[str, np.ndarray]:
        return outputs_with(FLAGS, sources, folder)

    def outputs_with(flags: tuple[str, ...], sources: dict[str, CSource], folder: Path) -> dict[str, np.ndarray]:
        inputs, kept = {}, {}
        for name, source in sources.items():
            x = steps_of(name).numpy()
            inputs[source] = x.astype(np.int32) if x.ndim == 1 else x
            kept[source] = sum(leaf.numel() for leaf in tree.leaves(model_of(name).initial_state(1)))
        return run(inputs, folder, flags, kept)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_thousand_steps_are_those_of_a_session(name: str, outputs: dict[str, np.ndarray]) -> None:
        want = Session(model_of(name)).push(steps_of(name))
        torch.testing.assert_close(torch.from_numpy(outputs[f"the_{name}"]), want, rtol=0, atol=1e-5)

    def test_a_state_that_adds_up_adds_up_its_rounding_as_a_session_does(tmp_path: Path) -> None:
        """In units of the largest number: each has half of float32's 1e-7 of it at each of 1000 steps."""
        torch.manual_seed(0)
        cell, x = cells["antisymmetric"](D, H).eval(), steps_of("antisymmetric")
        source = c_source(cell, x[0], "adds")
        want = Session(cell).push(x)
        y = torch.from_numpy(run({source: x.numpy()}, tmp_path, FLAGS, {source: H})["adds"])
        torch.testing.assert_close(y, want, rtol=0, atol=3e-5 * float(want.abs().max()))

    def test_sanitizers_find_nothing(
        sources: dict[str, CSource], outputs: dict[str, np.ndarray], tmp_path: Path
    ) -> None:
        """`run` wants an exit code of 0 and no message."""
        checked = outputs_with((*FLAGS[:-1], *SANITIZED), sources, tmp_path)
        for name, y in outputs.items():
            np.testing.assert_allclose(checked[name], y, rtol=0, atol=1e-5)

    @pytest.mark.parametrize("tuned", [(), ("-march=native",)])
    def test_objects_want_libm_alone_and_hold_nothing_that_changes(
        tuned: tuple[str, ...], sources: dict[str, CSource], outputs: dict[str, np.ndarray], folder: Path,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        wide = c_source(cells["lstm"](64, 64).eval(), torch.zeros(64), "wide")  # whose loops a copy could pay for
        some = [wide, *(sources[name] for name in ("words", "gated_delta") if tuned)]
        objects = compiled(some, tmp_path, (*FLAGS, *tuned))
        objects += [] if tuned else [folder / f"{source.name}.o" for source in sources.values()]
        listed = subprocess.run(["nm", *map(str, objects)], check=True, capture_output=True, text=True).stdout
        symbols = [line.split()[-2:] for line in listed.splitlines() if line and not line.endswith(":")]
        assert {name for kind, name in symbols if kind == "U"} <= LIBM
        assert {kind for kind, _ in symbols} <= set("UTtr")  # functions and constants


def test_files_are_written_side_by_side(sources: dict[str, CSource], tmp_path: Path) -> None:
    header, source = sources["words"].write(tmp_path / "new")
    assert (header.name, source.name) == ("the_words.h", "the_words.c")
    assert (header.read_text(), source.read_text()) == (sources["words"].header, sources["words"].source)
    assert sorted(path.name for path in header.parent.iterdir()) == ["the_words.c", "the_words.h"]
    assert f"#define THE_WORDS_TOKENS {WORDS}\n#define THE_WORDS_OUTPUTS {WORDS}\n" in header.read_text()
    assert "int32_t token" in header.read_text()


def test_a_token_that_chooses_no_row_has_no_limit() -> None:
    source = c_source(Stack(Pointwise(Counted()), cells["gru"](1, H)).eval(), torch.tensor(3), "counted")
    assert "TOKENS" not in source.header and "(float)token" in source.source


@pytest.mark.parametrize(
    ("model", "x", "name", "error", "says"),
    [
        (cells["gru"](D, H), torch.zeros(D), "gru", ValueError, r"call model\.eval\(\)"),
        (cells["gru"](D, H).double().eval(), torch.zeros(D), "gru", ValueError, r"float64; call model\.float\(\)"),
        (cells["gru"](D, H).eval(), torch.zeros(1, D), "gru", ValueError, r"one step, \[D\] floating .* \[1, 6\]"),
        (cells["gru"](D, H).eval(), torch.tensor(True), "gru", ValueError, "a token's number .* bool"),
        (cells["gru"](D, H).eval(), torch.zeros(D), "my gru", ValueError, r"an identifier of C, .* 'my gru'"),
        (nn.Linear(D, H).eval(), torch.zeros(D), "head", TypeError, "this is a Linear"),
        (
            Stack(Bidirectional(cells["gru"](D, H), cells["gru"](D, H))).eval(), torch.zeros(D), "both", TypeError,
            "Bidirectional",
        ),
        (Stack(Pointwise(Sorted())).eval(), torch.zeros(D), "sorted", ValueError, "no C is derived .*sort"),
    ],
)  # fmt: skip
def test_what_becomes_no_c_is_told(model: Any, x: Any, name: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        c_source(model, x, name)
