"""Sessions whose weights are rounded to bfloat16. Oracle: the model on the whole sequence in float64."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.cells import cells
from ostinato.kernels import REFERENCE, backend
from ostinato.kernels.cpu.gemm import column_parallel
from ostinato.kernels.cpu.runtime import cpu_features
from ostinato.layers import Pointwise, Residual, Stack
from ostinato.models import LanguageModel
from ostinato.recurrent import Recurrent
from ostinato.stream import Session, SessionError, ways

T = 1000
# bfloat16 has 8 significant bits, so a factor is off by 2^-9 of itself at most and a product of two by 2^-8. What the
# cells here carry on shrinks from step to step; so their outputs stay within some such errors of the largest one.
TOLERANCE = 4 * 2**-8


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that multiplies pairs; where it does not, what is done in its stead gives the same."""
    if not cpu_features.has_avx512_bf16():
        monkeypatch.setattr(ways, "has_avx512_bf16", lambda: True)


@pytest.fixture
def threads() -> Iterator[Any]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def exact(model: Recurrent[Any], x: Tensor) -> Tensor:
    """y [T, D'] of x [T, D], in float64."""
    with torch.no_grad(), backend(REFERENCE):
        return copy.deepcopy(model).double()(x[None].double() if x.is_floating_point() else x[None])[0][0]


def off(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("H", [1, 7, 33, 100])
@pytest.mark.parametrize("name", ["elman", "lstm", "gru", "mgu", "peephole_lstm"])
def test_a_thousand_steps_are_off_by_the_bits_of_bfloat16(name: str, H: int) -> None:
    torch.manual_seed(0)
    model, x = cells[name](H, H).eval(), torch.randn(T, H)
    rounded, plain = Session(model, weights="bfloat16"), Session(model)
    y, want = rounded.push(x), exact(model, x)
    assert rounded.explain().startswith("numba") and "products of bfloat16" in rounded.explain()
    assert off(y, want) < TOLERANCE
    # It does round: float32 would be off by a thousandth of that.
    assert off(y, want) > 100 * off(plain.push(x), want)
    assert y.dtype == torch.float32 and all(s.dtype == torch.float32 for s in rounded.state)


def wide() -> Recurrent[Any]:
    """x goes into products and past them."""
    shared = Residual(cells["gru"](33, 33), nn.LayerNorm(33))
    return Stack(Residual(cells["elman"](33, 33)), shared, Pointwise(nn.Linear(33, 5)))


def words() -> Recurrent[Any]:
    return LanguageModel(50, 8, Stack(cells["lstm"](8, 12), cells["gru"](12, 8)), 8)


@pytest.mark.parametrize("weights", [None, "bfloat16"])
@pytest.mark.parametrize("made", ["lstm", "gru", "gru_reset_before", "indrnn", "lem", "wide", "words"])
def test_a_chunk_is_its_steps_bit_for_bit(made: str, weights: str | None) -> None:
    torch.manual_seed(0)
    model = {"wide": wide, "words": words}.get(made, lambda: cells[made](33, 33))().eval()
    x = torch.randint(0, 50, (3, 130)) if made == "words" else torch.randn(3, 130, 33)
    for batch in (1, 3):
        given = x if batch == 3 else x[0]
        whole, single, cut = (Session(model, batch, weights) for _ in range(3))
        y = whole.push(given)
        steps = [single(x[:, t] if batch == 3 else x[0, t]) for t in range(130)]
        assert torch.equal(y, torch.stack(steps, dim=batch // 3))
        cut.push(given[..., :41] if made == "words" else given[..., :41, :])
        rest = cut.push(given[..., 41:] if made == "words" else given[..., 41:, :])
        assert torch.equal(rest, y[:, 41:] if batch == 3 else y[41:])


@pytest.mark.parametrize("weights", [None, "bfloat16"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("H", [1, 7, 33, 100])
def test_the_number_of_threads_changes_no_bit(
    name: str, H: int, weights: str | None, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model, x = cells[name](H, H).eval(), torch.randn(150, H)
    threads(1)
    alone = Session(model, weights=weights)
    want = alone.push(x)
    threads(2)
    monkeypatch.setattr(column_parallel, "WIDE", 0)
    together = Session(model, weights=weights)
    y = torch.cat([together(x[0])[None], together.push(x[1:])])
    assert together._way is not None and together._way.stream.together is not None  # type: ignore[union-attr]
    assert torch.equal(y, want)


def test_the_matrices_take_half_the_room() -> None:
    model = cells["lstm"](64, 64).eval()
    bytes_of = []
    for weights in (None, "bfloat16"):
        session = Session(model, weights=weights)
        session(torch.zeros(64))
        bytes_of.append(sum(w.nbytes for w in session._way.stream.kernel.weights.values()))  # type: ignore[union-attr]
    saved = bytes_of[0] - bytes_of[1]
    assert saved == 2 * sum(p.numel() for p in model.parameters() if p.ndim == 2)


def test_a_fork_has_the_same_weights() -> None:
    model, x = cells["gru"](7, 33).eval(), torch.randn(20, 7)
    session = Session(model, weights="bfloat16")
    session.push(x[:9])
    other = session.fork()
    assert other.weights == "bfloat16"
    assert torch.equal(other.push(x[9:]), session.push(x[9:]))


def test_a_state_goes_on_with_such_weights_and_no_others(tmp_path: Path) -> None:
    model, x, path = cells["lstm"](7, 33).eval(), torch.randn(20, 7), tmp_path / "s.safetensors"
    session = Session(model, weights="bfloat16")
    session.push(x[:9])
    session.save(path)
    other = Session(model, weights="bfloat16")
    other.load(path)
    assert torch.equal(other.push(x[9:]), session.push(x[9:]))
    with pytest.raises(SessionError, match=r"read with weights of bfloat16, .* the model's own .*weights='bfloat16'\)"):
        Session(model).load(path)
    Session(model).save(path)
    with pytest.raises(SessionError, match=r"the model's own weights, .* weights of bfloat16; .*weights=None\)"):
        other.load(path)
    assert other.steps == 20


def test_what_cannot_be_rounded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cells["gru"](7, 33).eval()
    with pytest.raises(ValueError, match="rounded from float32, and the model has float64"):
        Session(copy.deepcopy(model).double(), weights="bfloat16")
    with pytest.raises(ValueError, match="weights must be None, as the model has them, or \"bfloat16\", and is 'int8'"):
        Session(model, weights="int8")
    monkeypatch.setattr(ways, "has_avx512_bf16", lambda: False)
    with pytest.raises(ValueError, match="want a processor that multiplies them"):
        Session(model, weights="bfloat16")


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(dim=-1).values


def test_what_is_not_compiled_says_that_it_is_not_rounded() -> None:
    model, x = Stack(cells["gru"](3, 8), Pointwise(Sorted())).eval(), torch.randn(9, 3)
    session = Session(model, weights="bfloat16")
    assert torch.equal(session.push(x), Session(model).push(x))
    assert session.explain().startswith("reference") and session.explain().endswith("its weights are not rounded)")
