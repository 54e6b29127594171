"""A session reads as the model does, step by step. Oracle: the model on the whole sequence, by the reference loop."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.cells import cells
from ostinato.kernels import REFERENCE, backend
from ostinato.layers import Bidirectional, Pointwise, Residual, Stack
from ostinato.models import LanguageModel
from ostinato.recurrent import Recurrent
from ostinato.stream import Session, SessionError

T, D, H = 11, 6, 9


def deep() -> Recurrent[Any]:
    """Cells, norms, shortcuts, a head."""
    head = nn.Sequential(nn.GELU(), nn.Linear(H, 4), nn.LogSoftmax(-1))
    lstm, gru = Residual(cells["lstm"](H, H), nn.LayerNorm(H)), Residual(cells["gru"](H, H))
    return Stack(Pointwise(nn.Linear(D, H)), lstm, gru, Pointwise(head))


def words(**options: Any) -> Recurrent[Any]:
    return LanguageModel(50, 8, Stack(cells["lstm"](8, 12), cells["gru"](12, 8)), 8, **options)


def whole(model: Recurrent[Any], x: Tensor) -> Tensor:
    """x [B, T, ...] to y [B, T, ...] at once."""
    with torch.no_grad(), backend(REFERENCE):
        return model(x)[0]


@pytest.fixture(scope="module")
def model() -> Recurrent[Any]:
    torch.manual_seed(0)
    return deep().eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*cells, "deep", "words", "tied words"])
def test_steps_and_chunks_are_the_whole_sequence(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    made = {"deep": deep, "words": words, "tied words": lambda: words(tied=True)}
    model = made.get(name, lambda: cells[name](D, H))().to(dtype).eval()
    x = torch.randint(0, 50, (T,)) if "words" in name else torch.randn(T, D, dtype=dtype)
    want = whole(model, x[None])[0]
    session = Session(model)
    mixed = torch.cat([session(x[0])[None], session.push(x[1:5]), session(x[5])[None], session.push(x[6:])])
    close = {"rtol": 1e-11, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 2e-6}
    assert session.explain().startswith("numba")
    torch.testing.assert_close(mixed, want, **close)
    assert session.steps == T


@pytest.mark.parametrize("made", [deep, words])
def test_sequences_side_by_side(made: Any) -> None:
    torch.manual_seed(0)
    model = made().double().eval()
    x = torch.randint(0, 50, (3, T)) if made is words else torch.randn(3, T, D, dtype=torch.float64)
    session = Session(model, batch=3)
    got = torch.cat([session.push(x[:, :4]), session(x[:, 4])[:, None], session.push(x[:, 5:])], dim=1)
    torch.testing.assert_close(got, whole(model, x), rtol=1e-11, atol=1e-12)


def test_arrays_come_back_as_arrays(model: Recurrent[Any]) -> None:
    x = np.random.default_rng(0).standard_normal((T, D))  # float64, as NumPy makes them
    session = Session(model)
    got = [session(row) for row in x[:5]] + list(session.push(x[5:]))
    assert all(isinstance(y, np.ndarray) and y.dtype == np.float32 for y in got)
    want = whole(model, torch.from_numpy(x).float()[None])[0]
    np.testing.assert_allclose(np.stack(got), want.numpy(), rtol=1e-4, atol=1e-6)
    assert not np.shares_memory(got[1], got[2])


@pytest.mark.parametrize("kind", ["strided", "float64", "[1, D]"])
def test_any_layout_and_dtype(model: Recurrent[Any], kind: str) -> None:
    x = torch.randn(T, D)
    rows = {"strided": x.T.contiguous().T, "float64": x.double(), "[1, D]": x[:, None]}[kind]
    session = Session(model)
    got = torch.stack([session(row).view(-1) for row in rows])
    torch.testing.assert_close(got, whole(model, x[None])[0], rtol=1e-4, atol=2e-6)


def test_arrays_of_any_memory(model: Recurrent[Any]) -> None:
    x = np.random.default_rng(0).standard_normal((T, D)).astype(np.float32)
    want = Session(model).push(x)
    locked = x.copy()
    locked.setflags(write=False)
    backwards = x[::-1].copy()[::-1]
    for given in (locked, backwards, x.astype(">f4"), np.asfortranarray(x)):
        assert np.array_equal(Session(model).push(given), want)
        session = Session(model)
        assert np.array_equal(np.stack([session(row) for row in given]), want)


def test_a_first_call_that_fails_settles_nothing(model: Recurrent[Any]) -> None:
    session = Session(model)
    with pytest.raises((ValueError, RuntimeError)):
        session(torch.zeros(D + 1))
    assert session.steps == 0 and session.explain().startswith("nothing was read yet")
    x = torch.randn(T, D)
    assert torch.equal(session.push(x), Session(model).push(x))
    assert session.explain().startswith("numba")


def test_a_model_in_bfloat16_gives_arrays_that_numpy_has() -> None:
    session = Session(cells["gru"](D, H).bfloat16().eval())
    assert session(np.zeros(D)).dtype == np.float32
    assert session(torch.zeros(D)).dtype == torch.bfloat16


def test_refreshed_weights_go_on_from_the_same_state() -> None:
    model, x = cells["gru"](D, H).eval(), torch.randn(T, D)
    session = Session(model)
    session.push(x[:5])
    state = session.state
    with torch.no_grad():
        model.w_rec.mul_(2)
    session.refresh()
    assert torch.equal(session.state.h, state.h) and session.steps == 5
    with torch.no_grad(), backend(REFERENCE):
        want, _ = model(x[None, 5:], state)
    torch.testing.assert_close(session.push(x[5:]), want[0], rtol=1e-4, atol=2e-6)
    assert session.steps == T


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_is_refused_with_what_to_do(model: Recurrent[Any], way: Any) -> None:
    with pytest.raises(TypeError, match=r"neither copied nor pickled; fork\(\) .* save\(\) and load\(\)"):
        way(Session(model))


def test_a_fork_goes_its_own_way(model: Recurrent[Any]) -> None:
    x = torch.randn(T, D)
    one = Session(model)
    one.push(x[:4])
    two = one.fork()
    assert two.steps == 4
    other = two.push(torch.randn(3, D))
    torch.testing.assert_close(one.push(x[4:]), whole(model, x[None])[0, 4:], rtol=1e-4, atol=2e-6)
    assert two.steps == 7
    assert not torch.equal(other, one.push(x[:3]))


def test_the_state_is_the_models(model: Recurrent[Any]) -> None:
    x = torch.randn(T, D)
    session = Session(model)
    session.push(x[:5])
    state = session.state
    with torch.no_grad(), backend(REFERENCE):
        y, _ = model(x[None, 5:], state)
    torch.testing.assert_close(session.push(x[5:]), y[0], rtol=1e-4, atol=2e-6)
    session.reset()
    assert session.steps == 0
    torch.testing.assert_close(session.push(x), whole(model, x[None])[0], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("fresh", [True, False])
def test_goes_on_after_a_save(model: Recurrent[Any], tmp_path: Path, fresh: bool) -> None:
    x = torch.randn(T, D)
    session = Session(model)
    session.push(x[:5])
    session.save(tmp_path / "s.safetensors")
    other = Session(model)
    if not fresh:
        other.push(x)
    other.load(tmp_path / "s.safetensors")
    assert other.steps == 5
    assert torch.equal(other.push(x[5:]), session.push(x[5:]))


def test_a_saved_session_must_fit(model: Recurrent[Any], tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    with pytest.raises(SessionError, match="does not exist"):
        Session(model).load(path)
    Session(model, batch=2).save(path)
    with pytest.raises(SessionError, match=r"holds 2 sequences and this session reads 1.*batch=2"):
        Session(model).load(path)
    with pytest.raises(SessionError, match="another model, or of other weights"):
        Session(deep().eval(), batch=2).load(path)


def test_a_state_belongs_to_the_weights_that_made_it(tmp_path: Path) -> None:
    model = cells["gru"](D, H).eval()
    session = Session(model)
    session(torch.zeros(D))
    with torch.no_grad():
        model.w_rec.mul_(2)
    session.save(tmp_path / "s.safetensors")
    with pytest.raises(SessionError, match="another model, or of other weights"):
        Session(model).load(tmp_path / "s.safetensors")
    session.load(tmp_path / "s.safetensors")


def test_bad_input_is_told(model: Recurrent[Any]) -> None:
    session = Session(model)
    with pytest.raises(ValueError, match=r"\[D\] floating.*is float32 of shape \(2, 6\)"):
        session(torch.zeros(2, D))
    session(torch.zeros(D))
    for x, what in [
        (torch.zeros(D + 1), "reads 6 features a step, and x has 7"),
        (torch.zeros(0), "nothing empty"),
        (3, "reads floating numbers, and x is int64"),
        (torch.zeros(1, 2, D), "a step must be"),
    ]:
        with pytest.raises(ValueError, match=what):
            session(x)
    with pytest.raises(ValueError, match="a chunk must be"):
        session.push(torch.zeros(D))
    assert session.steps == 1
    reader = Session(words().eval())
    for token in (-1, 50):
        with pytest.raises(ValueError, match=rf"must lie in 0\.\.49, and reach from {token}"):
            reader(token)
    assert reader(49).shape == (50,)
    for batch in (0, 2.5, True):
        with pytest.raises(ValueError, match="batch is how many sequences a session reads, 1 or more, and is"):
            Session(model, batch=batch)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a session reads with a Recurrent, and got a Linear; take a cell by name"):
        Session(nn.Linear(3, 3).eval())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="training mode"):
        Session(deep())
    with pytest.raises(TypeError, match="reads the whole sequence"):
        Session(Stack(Bidirectional(cells["gru"](D, H), cells["gru"](D, H))).eval())  # type: ignore[arg-type]


class Halting(Recurrent[Tensor]):
    """Branches on a value, as no kernel does."""

    def initial_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, D)

    def scan(self, x: Tensor, state: Tensor, lengths: Any, resets: Any) -> tuple[Tensor, Tensor]:
        ys = []
        for t in range(x.shape[1]):
            state = state + x[:, t] if float(x[:, t].sum()) > 0 else state
            ys.append(state)
        return torch.stack(ys, dim=1), state


def test_what_no_kernel_is_derived_from_streams_all_the_same() -> None:
    x = torch.randn(T, D)
    session = Session(Stack(Halting(), cells["elman"](D, 3)).eval())
    got = torch.cat([session.push(x[:4]), *(session(row)[None] for row in x[4:])])
    assert session.explain().startswith("reference: the model runs layer by layer")
    torch.testing.assert_close(got, whole(session.model, x[None])[0])
    again = session.fork()
    assert torch.equal(again(x[0]), session(x[0]))


def test_odd_numbers_are_refused_at_any_call_and_count_no_step():
    session = Session(cells["gru"](3, 5).eval())
    odd = [
        np.array([1, 2, 3]),
        torch.tensor([1, 2, 3]),
        np.array([True] * 3),
        torch.randn(3) + 1j,
        np.array([None] * 3),
    ]
    for x in odd:
        with pytest.raises(ValueError, match="must be"):
            session(x)
    session(np.ones(3))
    for x in [*odd, np.array(["a", "b", "c"]), None, [1, 2, 3]]:
        with pytest.raises(ValueError, match="must be"):
            session(x)
    assert session.steps == 1


def test_a_fork_does_not_ask_for_the_mode_again():
    model = cells["gru"](3, 5).eval()
    session = Session(model)
    session(torch.ones(3))
    model.train()
    assert torch.equal(session.fork()(torch.ones(3)), session(torch.ones(3)))
