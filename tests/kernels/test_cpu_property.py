"""ScanKernel kernels on calls that nobody chose by hand. Oracles: the reference walk in float64; one thread, for bits.

A kernel is compiled for each cell, width and dtype, and those are few; all else of a call is drawn.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import kernels, tree
from ostinato.cells import cells
from ostinato.kernels.cpu.gemm import column_parallel
from ostinato.kernels.cpu.runtime import cpu_features
from ostinato.layers import DropConnect, LearnedState, RecurrentDropout, Stack, Zoneout
from ostinato.models import LanguageModel
from ostinato.recurrence import Affine, Recurrence
from ostinato.recurrent import Cell, Recurrent
from ostinato.stream import Session

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-11}
STEPS = 5
WIDTHS = ((1, 7), (3, 33), (5, 100), (6, 1))  # (D, H)
drawn = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def norm_gates(drive: Tensor, h: Tensor, w: Tensor, gain: Tensor, a: Tensor) -> Tensor:
    return F.layer_norm(drive + h @ w.T, drive.shape[-1:], gain) + a * h


class OwnCell(Cell[Tensor]):
    """A cell of no library: norm, softmax, a scalar weight, an initial state that is learnt."""

    recurrence = Recurrence("own", lambda a, h: (F.softmax(a, -1) * h, 0.9 * h + a.tanh()), norm_gates)

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, d_hidden)
        self.w_rec = nn.Parameter(torch.randn(d_hidden, d_hidden) / d_hidden**0.5)
        self.gain, self.start = nn.Parameter(torch.rand(d_hidden) + 0.5), nn.Parameter(torch.rand(d_hidden))
        self.a = nn.Parameter(torch.tensor(0.1))

    def initial_state(self, batch: int) -> Tensor:
        return self.start.expand(batch, -1)

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, ...]:
        return self.w_rec, self.gain, self.a


def widths(name: str) -> tuple[int, int]:
    return WIDTHS[list(cells).index(name) % len(WIDTHS)]


MODELS: dict[str, tuple[Callable[[], Recurrent[Any]], int, torch.dtype]] = {
    **{name: (lambda name=name: cells[name](*widths(name)), widths(name)[0], torch.float32) for name in cells},
    "own": (lambda: OwnCell(3, 33), 3, torch.float64),
    "zoneout": (lambda: Zoneout(cells["lstm"](3, 7), (0.3, 0.6)), 3, torch.float32),
    "dropconnect": (lambda: DropConnect(cells["gru"](1, 7), 0.4), 1, torch.float32),
    "recurrent dropout": (lambda: RecurrentDropout(cells["mgu"](*widths("mgu")), 0.4), widths("mgu")[0], torch.float32),
    "nested": (lambda: LearnedState(Zoneout(DropConnect(cells["elman"](3, 7), 0.2), 0.1)), 3, torch.float64),
}


@dataclass(frozen=True)
class Call:
    """How a model is called; numbers come from `seed`."""

    seed: int
    rows: int
    steps: int
    layout: str  # of x
    lengths: tuple[int, ...] | None
    resets: float | None  # the chance of one
    given: bool  # a state, by columns
    learns: tuple[bool, ...]  # x, each leaf of the state, each parameter; the rest as the last
    ends: str  # what the loss sees
    training: bool
    threads: int
    wide: int


@st.composite
def calls(draw: Any) -> Call:
    rows, steps = draw(st.integers(1, 9)), draw(st.integers(1, 13))
    each = st.tuples(*[st.integers(0, steps)] * rows)
    lengths = draw(st.none() | st.sampled_from([(0,) * rows, (steps,) * rows]) | each)
    return Call(
        draw(st.integers(0, 999)), rows, steps, draw(st.sampled_from(("whole", "by steps", "strided", "repeated"))),
        lengths, draw(st.sampled_from((None, 0.0, 0.2, 1.0))), draw(st.booleans()),
        draw(st.just((True,)) | st.lists(st.booleans(), min_size=1, max_size=6).map(tuple)),
        draw(st.sampled_from(("all", "out", "state"))), draw(st.booleans()), draw(st.sampled_from((1, 2))),
        draw(st.sampled_from((0, 1 << 60))),
    )  # fmt: skip


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The numbers of x [B, T, D], or some of them, in memory of another order."""
    match layout:
        case "by steps":
            return x.transpose(0, 1).contiguous().transpose(0, 1)
        case "strided":
            return torch.stack([x, torch.full_like(x, torch.nan)], dim=-1)[..., 0]
        case "repeated":
            return x[:1].expand_as(x)
    return x


@contextmanager
def conditions(threads: int, wide: int = 1 << 60) -> Iterator[None]:
    """So many threads, which share a row from so many bytes of weights on; fresh memory is full of NaN."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with mock.patch.object(column_parallel, "WIDE", wide):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def everything(model: Recurrent[Any], d_in: int, dtype: torch.dtype, backend: str, call: Call) -> list[Tensor]:
    """Outputs, the state, and the gradients of what learns."""
    model = copy.deepcopy(model).to(dtype).train(call.training)
    torch.manual_seed(call.seed)
    x = laid_out(torch.randn(call.rows, call.steps, d_in).to(dtype), call.layout)
    leaves = [torch.randn(*s.shape[1:], len(s)).to(dtype).T for s in tree.leaves(model.initial_state(call.rows))]
    resets = None if call.resets is None else torch.rand(call.rows, call.steps) < call.resets
    tensors = [x, *leaves, *model.parameters()]
    for number, t in enumerate(tensors):
        t.requires_grad_(call.learns[min(number, len(call.learns) - 1)])
    state = tree.like(model.initial_state(call.rows), leaves) if call.given else None
    with kernels.backend(backend):
        y, last = model(x, state, None if call.lengths is None else torch.tensor(call.lengths), resets)
        found = [y, *tree.leaves(last)]
        ends = {"all": found, "out": found[:1], "state": found[1:]}[call.ends]
        ends = [t for t in ends if t.requires_grad]
        learning = [t for t in tensors if t.requires_grad]
        slopes = [torch.linspace(1, 2, t.numel(), dtype=dtype).view_as(t) for t in ends]
        if ends:
            found += torch.autograd.grad(ends, learning, slopes, materialize_grads=True)
    return [t.detach() for t in found]


@pytest.mark.parametrize("name", MODELS)
@given(call=calls())
@settings(drawn, max_examples=9)
def test_a_kernel_is_the_walk(name: str, call: Call) -> None:
    make, d_in, dtype = MODELS[name]
    torch.manual_seed(0)
    model = make()
    if name not in ("lstm", "own", "zoneout") and not any(call.learns):  # or one more kernel each is compiled
        call = replace(call, learns=(True,))
    with conditions(call.threads, call.wide):
        got = everything(model, d_in, dtype, "numba", call)
    want = everything(model, d_in, torch.float64, "reference", call)
    for number, (g, w) in enumerate(zip(got, want, strict=True)):
        gap = (g.double() - w).abs().max() / w.abs().max().clamp(min=1)
        assert g.dtype == dtype
        assert gap <= TOLERANCE[dtype], f"result {number} differs by {gap:.1e}"


def scanned(cell: Cell[Any], drive: Any, rows: int, threads: int, wide: int, mixed: bool) -> list[Tensor]:
    """A scan alone: outputs, the state, all gradients. What a cell computes around it is torch's."""
    torch.manual_seed(0)
    state, fresh = (tree.map(torch.randn_like, cell.initial_state(rows)) for _ in range(2))
    given = drive, state, cell.weights(), fresh
    drive, state, weights, fresh = tree.map(lambda t: None if t is None else t.detach().requires_grad_(), given)
    lengths = torch.arange(rows).mul(3).add(STEPS).remainder(STEPS + 1)
    with conditions(threads, wide), kernels.backend("numba"):
        with torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext():
            out, last = cell.recurrence.scan(
                drive, state, *weights, lengths=lengths, resets=torch.rand(rows, STEPS) < 0.2, initial=fresh
            )
        ends = [out, *tree.leaves(last)]
        slopes = [torch.linspace(1, 2, t.numel()).view_as(t) for t in ends]
        learning = [t for t in tree.leaves((drive, state, weights, fresh)) if t is not None]
        return [t.detach() for t in (*ends, *torch.autograd.grad(ends, learning, slopes, materialize_grads=True))]


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", cells)
def test_the_number_of_threads_changes_no_bit(name: str, mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_features, "has_avx512_bf16", lambda: True)  # elsewhere the same, more slowly
    torch.manual_seed(0)
    d_in, d_hidden = widths(name)
    cell = cells[name](d_in, d_hidden)
    for rows, wide, counts in ((29, 1 << 60, (1, 2, 3)), (1, 0, (1, 2))):  # threads take rows, or columns
        drive = cell.drive(torch.randn(rows, STEPS, d_in))
        alone, *others = (scanned(cell, drive, rows, threads, wide, mixed) for threads in counts)
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(alone, other, strict=True))


def reader(**options: Any) -> Recurrent[Any]:
    return LanguageModel(50, 8, Stack(cells["lstm"](8, 33), cells["gru"](33, 8)), 8, **options)


STREAMS: dict[str, tuple[Callable[[], Recurrent[Any]], torch.dtype]] = {
    "own": (lambda: Stack(OwnCell(3, 7), cells["lem"](7, 33)), torch.float32),
    "tied words": (lambda: reader(tied=True), torch.float32),
    "zoneout": (lambda: Stack(Zoneout(cells["lstm"](3, 1), 0.3)), torch.float64),
}


@pytest.mark.parametrize("name", STREAMS)
@given(
    seed=st.integers(0, 999), batch=st.integers(1, 4), threads=st.sampled_from((1, 2)),
    chunks=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    layout=st.sampled_from(("whole", "by steps", "strided")), wide=st.sampled_from((0, 1 << 60)),
    arrays=st.booleans(), fork=st.integers(0, 6),
)  # fmt: skip
@settings(drawn, max_examples=8)
def test_a_stream_is_the_walk(
    name: str, seed: int, batch: int, threads: int, chunks: list[int], layout: str, wide: int, arrays: bool, fork: int
) -> None:
    """`chunks`: how many steps are read at once; 0: one, by a call."""
    make, dtype = STREAMS[name]
    torch.manual_seed(seed)
    model = make().to(dtype).eval()
    shape = batch, sum(max(1, n) for n in chunks)
    x = torch.randint(50, shape) if "words" in name else laid_out(torch.randn(*shape, 3, dtype=dtype), layout)
    with torch.no_grad(), kernels.backend("reference"):
        want, after = model(x)
    ys, at = [], 0
    with conditions(threads, wide):
        session = Session(model, batch)
        for number, n in enumerate(chunks):
            session = session.fork() if number == fork else session
            part = x[:, at] if n == 0 else x[:, at : at + n]
            part = part[0] if batch == 1 else part
            y = session(part.numpy() if arrays else part) if n == 0 else session.push(part.numpy() if arrays else part)
            ys.append(torch.as_tensor(y).view(batch, max(1, n), -1))
            at += max(1, n)
    assert session.explain().startswith("numba") and session.steps == shape[1]
    rtol, atol = (1e-4, 1e-5) if dtype is torch.float32 else (1e-10, 1e-11)
    torch.testing.assert_close(torch.cat(ys, dim=1), want, rtol=rtol, atol=atol)
    for mine, theirs in zip(tree.leaves(session.state), tree.leaves(after), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=atol)
