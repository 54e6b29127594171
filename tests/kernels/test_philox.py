"""Masks by counters. Oracle: Philox 4x32-10 in NumPy, itself held to the known answers of Random123."""

import numpy as np
import pytest
import torch
from kept import with_lanes

from ostinato.cells import GRU
from ostinato.kernels import chance
from ostinato.kernels.cpu.library import dropout as own
from ostinato.layers import Zoneout


def philox(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Words [n, 4] of counters [n, 4]."""
    c, (k0, k1) = counters.astype(np.uint64).T.copy(), key
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        first, second = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = np.stack([
            (second >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), second & low,
            (first >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), first & low,
        ])  # fmt: skip
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c.T


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)  # fmt: skip
def test_the_oracle_gives_the_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: str) -> None:
    assert " ".join(f"{w:08x}" for w in philox(np.array([counter]), key)[0]) == words


@pytest.fixture(params=["host", "1", "4"])
def count(request, monkeypatch):
    yield from with_lanes(request.param, monkeypatch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "p"), [((3, 7, 11), 0.3), ((1,), 0.5), ((130,), 0.999), ((2, 64), 0.0)])
def test_a_number_depends_on_the_seed_and_its_place_alone(shape, p, dtype, count) -> None:
    torch.manual_seed(5)
    got = own.bernoulli(shape, p, dtype)
    torch.manual_seed(5)
    key = tuple(torch.empty(2, dtype=torch.int64).random_(1 << 32).tolist())
    stride = -(-got.numel() // 64) * 16
    counters = np.zeros((stride, 4), np.uint64)
    counters[:, 0] = np.arange(stride)
    want = philox(counters, key).T.reshape(-1)[: got.numel()] < round(p * 2**32)
    assert got.dtype == dtype and got.shape == shape
    assert np.array_equal(got.numpy().reshape(-1), want)


def test_the_number_of_threads_changes_nothing() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(1)
            found.append(own.bernoulli((50, 33), 0.2, torch.float32))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_as_many_ones_as_asked_for_and_each_call_its_own() -> None:
    torch.manual_seed(0)
    like = torch.zeros(1)
    for p in (0.01, 0.5, 0.9):
        one, other = (chance.bernoulli(like, (1000, 100), p) for _ in range(2))
        sigma = (p * (1 - p) / one.numel()) ** 0.5
        assert abs(float(one.double().mean()) - p) < 5 * sigma
        assert abs(float((one * other).double().mean()) - p * p) < 5 * sigma


@pytest.mark.parametrize("given", ["half", "few", "vmap"])
def test_elsewhere_torch_draws(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "bernoulli", None)
    like, shape = torch.zeros(1, dtype=torch.bfloat16 if given == "half" else torch.float32), (64, 64)
    if given == "few":
        shape = (64, 63)
    if given == "vmap":  # in place, torch refuses it
        layer = Zoneout(GRU(4, 64), 0.5)  # whose leaf of the state is no row of vmap's
        x = torch.randn(1, 64, 64, 4).expand(2, -1, -1, -1)
        draws = torch.func.vmap(lambda x: layer(x)[0], randomness="different")(x)[:, 0]
        assert draws.shape == (2, 64, 64) and not torch.equal(draws[0], draws[1])
    else:
        assert chance.bernoulli(like, shape, 0.5).mean() > 0.4


@pytest.mark.parametrize("shape", [(5, 7), (64, 64)])
def test_a_seed_is_one_mask_in_any_dtype(shape: tuple[int, int]) -> None:
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(3)
        found.append(chance.bernoulli(torch.zeros(1, dtype=dtype), shape, 0.5))
    assert torch.equal(found[0].double(), found[1])


def test_zoneout_keeps_what_it_draws() -> None:
    """With p near 1 nearly all of the state stays where it was: at zero."""
    torch.manual_seed(0)
    layer, x = Zoneout(GRU(4, 32), 0.99), torch.randn(16, 20, 4)
    y, _ = layer(x)
    assert 0.005 < float((y[:, 0] != 0).float().mean()) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 7, 11), (130,), (5, 1000), (1, 1)])
def test_dropout_is_a_product_with_the_mask_of_its_seed(shape, dtype, count) -> None:
    """Forward and backward, and once more: the oracle is x times `bernoulli`, over the chance, by torch's autograd."""
    torch.manual_seed(7)
    x, cot = torch.randn(shape, dtype=dtype, requires_grad=True), torch.randn(shape, dtype=dtype)
    torch.manual_seed(5)
    got = own.dropout(x, 0.3, None)
    torch.manual_seed(5)
    want = x * own.bernoulli(shape, 0.7, dtype) / (round(0.7 * 2**32) / 2**32)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0)
    (mine,), (true,) = (torch.autograd.grad(y, x, cot, create_graph=y is got) for y in (got, want))
    torch.testing.assert_close(mine, true, rtol=1e-6, atol=0)
    cot2 = cot.clone().requires_grad_()
    (slope,) = torch.autograd.grad(own.dropout(x, 0.5, None), x, cot2, create_graph=True)
    assert torch.autograd.grad(slope.sum(), cot2)[0].shape == shape


def test_dropout_leaves_zeros_past_the_lengths_and_lets_nothing_out_of_there() -> None:
    lengths = torch.tensor([40, 30, 1, 0])
    x = torch.randn(4, 40, 64)
    past = torch.arange(40) >= lengths[:, None]
    x[past] = torch.nan
    x.requires_grad_()
    y = chance.dropout(x, 0.5, lengths)
    assert (y[past] == 0).all() and y.isfinite().all() and 0.4 < float((y[~past] == 0).double().mean()) < 0.6
    cot = torch.full_like(y, 1.0)
    cot[past] = torch.nan
    y.backward(cot)
    assert x.grad is not None and (x.grad[past] == 0).all() and torch.equal(x.grad[~past] != 0, y[~past] != 0)


def test_dropout_elsewhere_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "dropout", None)
    few, half = torch.ones(64, 63), torch.ones(64, 64, dtype=torch.float16)
    for x in (few, half):
        torch.manual_seed(2)
        got = chance.dropout(x, 0.5)
        torch.manual_seed(2)
        assert torch.equal(got, torch.nn.functional.dropout(x, 0.5))
    draws = torch.func.vmap(lambda x: chance.dropout(x, 0.5), randomness="different")(torch.ones(2, 64, 64))
    assert not torch.equal(draws[0], draws[1])


def test_numbers_of_bfloat16_are_dropped_as_those_of_float32() -> None:
    x = torch.randn(64, 65).bfloat16().requires_grad_()
    torch.manual_seed(1)
    got = chance.dropout(x, 0.3)
    torch.manual_seed(1)
    want = chance.dropout(x.detach().float(), 0.3).bfloat16()
    assert got.dtype == torch.bfloat16 and torch.equal(got, want)
    got.float().sum().backward()
    assert x.grad is not None and torch.equal(x.grad != 0, want != 0)
