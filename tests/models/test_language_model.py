"""The language model against NumPy written from the equations, token by token."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ostinato.cells import cells
from ostinato.layers import LockedDropout, Stack
from ostinato.models import LanguageModel, score

V, WIDTH, HIDDEN = 11, 5, 7


def make(cell: str = "lstm", tied: bool = False, layers: int = 2, **options: Any) -> LanguageModel:
    torch.manual_seed(0)
    parts = [cells[cell](WIDTH if layer == 0 else HIDDEN, HIDDEN) for layer in range(layers)]
    return LanguageModel(V, WIDTH, Stack(*parts), HIDDEN, tied, **options).double()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(V, (64,), generator=torch.Generator().manual_seed(1))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def numpy_nats(weights: dict[str, np.ndarray], ids: list[int], layers: int) -> list[float]:
    """-log p of every token but the first, by the LSTM's equations and a softmax."""
    h = [np.zeros(HIDDEN) for _ in range(layers)]
    c = [np.zeros(HIDDEN) for _ in range(layers)]
    nats = []
    for now, after in pairwise(ids):
        x = weights["embedding.weight"][now]
        for n in range(layers):
            part = f"body.parts.{n}."
            pre = weights[part + "w_in.weight"] @ x + weights[part + "w_in.bias"] + weights[part + "w_rec"] @ h[n]
            i, f, g, o = np.split(pre, 4)
            c[n] = sigmoid(f) * c[n] + sigmoid(i) * np.tanh(g)
            h[n] = sigmoid(o) * np.tanh(c[n])
            x = h[n]
        if "projection.weight" in weights:
            x = weights["projection.weight"] @ x
        logits = weights["head.weight"] @ x + weights["head.bias"]
        nats.append(float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[after]))
    return nats


@pytest.mark.parametrize("tied", [False, True])
def test_scores_are_those_of_the_equations(ids: Tensor, tied: bool) -> None:
    model = make(tied=tied).eval()
    with torch.no_grad():
        model.head.weight.mul_(20)  # a model with opinions
    weights = {name: w.numpy() for name, w in model.state_dict().items()}
    want = numpy_nats(weights, ids.tolist(), layers=2)
    assert np.ptp(want) > 1
    np.testing.assert_allclose(score(model, ids).numpy(), want, rtol=1e-10)


@pytest.mark.parametrize("chunk", [1, 7, 63, 1000])
def test_a_score_does_not_depend_on_the_chunk(ids: Tensor, chunk: int) -> None:
    model = make().eval()
    torch.testing.assert_close(score(model, ids, chunk=chunk), score(model, ids), rtol=1e-12, atol=0)


def test_one_stream_is_the_model_stepped_through_the_text(ids: Tensor) -> None:
    model = make("gru").eval()
    state, nats = model.initial_state(1), []
    with torch.no_grad():
        for now, after in pairwise(ids):
            logits, state = model.step(now[None], state)
            nats.append(-logits[0].log_softmax(0)[after])
    torch.testing.assert_close(score(model, ids), torch.stack(nats), rtol=1e-12, atol=0)


@pytest.mark.parametrize("streams", [2, 5, 63, 200])
def test_side_by_side_each_piece_begins_anew(ids: Tensor, streams: int) -> None:
    model = make().eval()
    size = math.ceil(63 / streams)
    pieces = [ids[at : at + size + 1] for at in range(0, 63, size)]
    want = torch.cat([score(model, piece) for piece in pieces])
    torch.testing.assert_close(score(model, ids, streams=streams), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("count", [0, 1])
def test_too_short_to_score_is_told(count: int) -> None:
    with pytest.raises(ValueError, match=f"a text of {count} tokens cannot be scored"):
        score(make(), torch.zeros(count, dtype=torch.int64))


def test_padding_is_never_counted(ids: Tensor) -> None:
    model = make()
    lengths = torch.tensor([9, 1, 20, 4])
    rows = [ids[start : start + n + 1] for start, n in zip((0, 5, 11, 40), lengths.tolist(), strict=True)]
    inputs, targets = torch.randint(V, (4, 20)), torch.full((4, 20), -100)
    for b, row in enumerate(rows):
        inputs[b, : len(row) - 1], targets[b, : len(row) - 1] = row[:-1], row[1:]
    loss, _ = model.loss(inputs, targets, None, lengths)
    loss.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    alone = sum(score(model, row).sum() for row in rows) / int(lengths.sum())
    torch.testing.assert_close(loss.detach(), alone, rtol=1e-12, atol=0)
    # Other garbage in the padding, and more of it, changes neither the loss nor a gradient.
    model.zero_grad()
    wider = torch.cat([inputs.flip(0).where(targets == -100, inputs), torch.zeros(4, 3, dtype=torch.int64)], dim=1)
    again, _ = model.loss(wider, torch.nn.functional.pad(targets, (0, 3), value=-100), None, lengths)
    again.backward()
    torch.testing.assert_close(again, loss, rtol=1e-12, atol=0)
    torch.testing.assert_close([p.grad for p in model.parameters()], grads, rtol=1e-9, atol=1e-15)


def test_a_batch_of_padding_alone_costs_nothing() -> None:
    model = make()
    nothing = torch.full((2, 3), -100)
    loss, _ = model.loss(torch.zeros(2, 3, dtype=torch.int64), nothing, None, torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_the_state_is_carried_from_chunk_to_chunk(ids: Tensor) -> None:
    model = make()
    x, y = ids[:-1].view(3, 21), ids[1:].view(3, 21)
    whole, end = model.loss(x, y, None)
    first, state = model.loss(x[:, :8], y[:, :8], None)
    second, state = model.loss(x[:, 8:], y[:, 8:], state)
    torch.testing.assert_close((first * 8 + second * 13) / 21, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(state, end, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("ragged", [False, True])
def test_penalties_are_in_the_gradient_and_not_in_the_loss(ragged: bool) -> None:
    x = torch.randint(V, (3, 9), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([9, 2, 5]) if ragged else None
    y = x.roll(1) if lengths is None else x.roll(1).masked_fill(torch.arange(9) >= lengths[:, None], -100)

    def slopes(**options: Any) -> tuple[float, list[Tensor | None]]:
        model = make(tied=True, dropout=LockedDropout(0.4), **options)
        torch.manual_seed(7)  # the masks
        loss, _ = model.loss(x, y, None, lengths)
        loss.backward()
        return loss.item(), [p.grad for p in model.parameters()]

    model = make(tied=True)
    torch.manual_seed(7)
    raw, _ = model.body(model._embed(x), None, lengths)
    dropped = LockedDropout(0.4)(raw)[0]
    live = (torch.ones(3, 9) if lengths is None else (torch.arange(9) < lengths[:, None])).bool()
    pairs = live[:, 1:, None]
    small = dropped[live].square().mean()
    slow = ((raw[:, 1:] - raw[:, :-1]) ** 2 * pairs).sum() / (pairs.sum() * HIDDEN)
    # The softmax layer and the projection stand above what is penalised.
    extra = torch.autograd.grad(2.0 * small + 0.5 * slow, list(model.parameters()), allow_unused=True)
    plain, both = slopes(), slopes(activation=2.0, temporal=0.5)
    assert both[0] == plain[0]
    want = [g if more is None else g + more for g, more in zip(plain[1], extra, strict=True)]  # type: ignore[operator]
    torch.testing.assert_close(both[1], want, rtol=1e-9, atol=1e-14)
    assert any(more is not None and more.abs().max() > 1e-3 for more in extra)


def test_groups_hold_each_weight_once_from_the_bottom_up() -> None:
    for tied in (False, True):
        model = make(tied=tied)
        names = {p: name for name, p in model.named_parameters()}
        said = [sorted(names[p] for p in group) for group in model.groups()]
        top = ["head.bias", "projection.weight"] if tied else ["head.bias", "head.weight"]
        assert said[0] == ["embedding.weight"]
        assert [{name[:13] for name in group} for group in said[1:3]] == [{"body.parts.0."}, {"body.parts.1."}]
        assert said[3:] == [top]
        assert sum(len(group) for group in said) == len(names)


def test_tied_weights_are_one_matrix() -> None:
    model = make(tied=True)
    assert model.head.weight is model.embedding.weight
    assert model.head.weight.data_ptr() == model.embedding.weight.data_ptr()
    assert isinstance(model.projection, nn.Linear)  # it bridges 7 -> 5
    untied = make()
    assert untied.projection is None
    sizes = [sum(p.numel() for p in m.parameters()) for m in (untied, model)]
    assert sizes[0] - sizes[1] == V * HIDDEN - HIDDEN * WIDTH
    inputs = torch.arange(6)[None]
    model.loss(inputs, inputs, None)[0].backward()
    assert model.embedding.weight.grad is not None
    assert bool(model.embedding.weight.grad.abs().sum(1).all())  # words that were not read are still scored


def test_word_dropout_takes_whole_words_and_only_in_training() -> None:
    model = make(word_dropout=0.5)
    everything = torch.arange(V).repeat(3)[None]
    embedded = model._embed(everything)[0].view(3, V, WIDTH)
    assert torch.equal(embedded[0], embedded[1])  # one and the same word is kept or not all through the batch
    gone = (embedded[0] == 0).all(1)
    assert 0 < int(gone.sum()) < V
    torch.testing.assert_close(embedded[0][~gone], 2 * model.embedding.weight[~gone])
    assert torch.equal(model.eval()._embed(everything)[0, :V], model.embedding.weight)
