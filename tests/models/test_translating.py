"""Learning to copy and to reverse, scheduled sampling, smoothing and mixed precision."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ostinato.cells import cells
from ostinato.kernels.loss import linear_cross_entropy
from ostinato.layers import Bidirectional
from ostinato.models import GoldShare, Seq2Seq, decoder_width
from ostinato.models.seq2seq import drawn

START, END, V, LONGEST = 1, 2, 11, 5


def make(attention: str = "general", feeding: bool = False, width: int = 24, d: int = 32, **options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    gru: Any = cells["gru"]
    body = gru(decoder_width(width, 2 * d, feeding=feeding), d)
    return Seq2Seq(
        V, V, width, Bidirectional(gru(width, d), gru(width, d)), 2 * d, body, d, attention, feeding, **options
    )


def pairs(count: int, backwards: bool, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(source, target, their lengths): a row of words, and the same as it is or from its end."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LONGEST + 1, (count,), generator=draw)
    source = torch.randint(3, V, (count, LONGEST), generator=draw)
    target = torch.full((count, LONGEST + 2), START)
    for b, n in enumerate(lengths.tolist()):
        words = source[b, :n].flip(0) if backwards else source[b, :n]
        target[b, 1 : n + 1], target[b, n + 1] = words, END
    return source, target, lengths, lengths + 2


def batches(backwards: bool, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    for step in range(count):
        yield pairs(64, backwards, seed=step)


@pytest.mark.parametrize(("feeding", "backwards"), [(False, True), (True, False)])
def test_attention_learns_to_copy_and_to_reverse_exactly(feeding: bool, backwards: bool) -> None:
    model = make(feeding=feeding)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    rate = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, 200)
    for source, target, s_lengths, t_lengths in batches(backwards, 200):
        loss = model.loss(source, target, s_lengths, t_lengths)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
    # Other rows: of the 32 768 with five words not one in ten came in training.
    source, target, s_lengths, _ = pairs(100, backwards, seed=10**6)
    found = model.eval().translate(source, s_lengths, start=START, end=END, beam=3)
    want = [target[b, 1 : n + 1].tolist() for b, n in enumerate(s_lengths.tolist())]
    assert [list(h[0].ids) for h in found] == want
    for b, (best, *_) in enumerate(found):  # it has looked where the word stands
        n = int(s_lengths[b])
        assert best.attention is not None
        if n > 1:
            looked = best.attention[:n].argmax(1)
            there = torch.arange(n).flip(0) if backwards else torch.arange(n)
            assert ((looked - there).abs() <= 1).all()


def test_scheduled_sampling_reads_what_the_model_would_say() -> None:
    model = make().train()
    source, target, s_lengths, _ = pairs(400, False, seed=0)
    read = target[:, :-1]
    with torch.no_grad():
        state = model.encode(source, s_lengths)
        model.decoder.head.bias[5] = 50.0  # it always says 5
    torch.manual_seed(0)
    assert torch.equal(drawn(model.decoder, read, state, 1.0), read)
    always = drawn(model.decoder, read, state, 0.0)
    assert torch.equal(always[:, 0], read[:, 0])  # the start symbol is given
    assert (always[:, 1:] == 5).all()
    mixed = drawn(model.decoder, read, state, 0.3)[:, 1:]
    kept = float(((mixed == read[:, 1:]) & (read[:, 1:] != 5)).sum() / (read[:, 1:] != 5).sum())
    assert abs(kept - 0.3) < 4 * math.sqrt(0.3 * 0.7 / (400 * 4))


def test_words_are_drawn_with_the_models_probabilities() -> None:
    model = make().eval()
    source = torch.full((8000, 1), 4)
    state = model.encode(source)
    read = torch.full((8000, 2), START)
    torch.manual_seed(0)
    with torch.no_grad():
        model.decoder.head.weight.mul_(20)
        words = drawn(model.decoder, read, state, 0.0)[:, 1]
        p = model.decoder.step(read[:1, 0], model.encode(source[:1]))[0][0].softmax(-1)
    shares = torch.bincount(words, minlength=V) / 8000
    assert float(((shares - p).abs() / (p * (1 - p) / 8000).sqrt()).max()) < 4


def test_sampling_is_for_training_only_and_learns() -> None:
    model = make()
    source, target, s_lengths, t_lengths = pairs(64, False, seed=0)
    torch.manual_seed(0)
    mixed = model.train().loss(source, target, s_lengths, t_lengths, gold=0.5)
    assert float(mixed.detach()) != float(model.loss(source, target, s_lengths, t_lengths).detach())
    mixed.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    model.eval()
    plain = model.loss(source, target, s_lengths, t_lengths)
    torch.testing.assert_close(model.loss(source, target, s_lengths, t_lengths, gold=0.0), plain)


def test_the_schedules_are_those_of_the_paper() -> None:
    linear, power, sigmoid = (
        GoldShare("linear", 100, floor=0.25),
        GoldShare("exponential", 0.9),
        GoldShare("sigmoid", 10),
    )
    assert [linear(i) for i in (0, 30, 75, 1000)] == pytest.approx([1.0, 0.7, 0.25, 0.25])
    assert [power(i) for i in (0, 1, 3)] == pytest.approx([1.0, 0.9, 0.729])
    assert [sigmoid(i) for i in (0, 20, 10**6)] == pytest.approx([10 / 11, 10 / (10 + math.exp(2)), 0.0])
    with pytest.raises(ValueError, match=r"did you mean linear\?"):
        GoldShare("liner", 5)
    with pytest.raises(ValueError, match=r"takes k in 0\.\.1"):
        GoldShare("exponential", 1.5)


@pytest.mark.parametrize("entries", [50, 2503])
@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothing_is_torchs(entries: int, smoothing: float) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = ((30, 9), (entries, 9), (entries,))
    leaves = [torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes]
    targets = torch.randint(entries, (30,), generator=draw)
    targets[::4] = -100
    ours = linear_cross_entropy(*leaves, targets, smoothing=smoothing)
    theirs = F.cross_entropy(F.linear(*leaves), targets, label_smoothing=smoothing)
    found = [(loss.detach(), *torch.autograd.grad(loss, leaves)) for loss in (ours, theirs)]
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-13)
    nothing = linear_cross_entropy(*leaves, torch.full((30,), -100), smoothing=smoothing)
    assert float(nothing.detach()) == 0


@pytest.mark.parametrize("attention", ["general", "additive", "none"])
@pytest.mark.parametrize("feeding", [False, True])
def test_mixed_precision_stays_near(attention: str, feeding: bool) -> None:
    model = make(attention, feeding)
    given = pairs(32, False, seed=0)
    exact = model.loss(given[0], given[1], given[2], given[3])
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(given[0], given[1], given[2], given[3])
    assert float((loss - exact).detach().abs() / exact.detach()) < 1e-2
    weights = list(model.parameters())
    got, want = (torch.autograd.grad(x, weights, allow_unused=True, materialize_grads=True) for x in (loss, exact))
    gap = sum(float((g - w).square().sum()) for g, w in zip(got, want, strict=True))
    assert math.sqrt(gap / sum(float(w.square().sum()) for w in want)) < 3e-2
