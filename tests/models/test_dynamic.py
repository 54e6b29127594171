"""Dynamic evaluation against the equations written out (Krause et al. 2018), and against cheating."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from ostinato import tree
from ostinato.cells import cells
from ostinato.layers import LockedDropout, Stack
from ostinato.models import LanguageModel, score, score_documents
from ostinato.models.dynamic import dynamic_score, gradient_rms

V, WIDTH, HIDDEN = 11, 5, 7
SEGMENTS = pytest.mark.parametrize("segment", [1, 4, 63, 100])
FORMS = pytest.mark.parametrize("scaled", [False, True], ids=["sgd", "rms"])


def make() -> LanguageModel:
    torch.manual_seed(0)
    parts = [cells["lstm"](WIDTH, HIDDEN), LockedDropout(0.5), cells["gru"](HIDDEN, HIDDEN)]
    model = LanguageModel(V, WIDTH, Stack(*parts), HIDDEN, True, word_dropout=0.3, activation=2.0).double()
    with torch.no_grad():
        model.head.weight.mul_(10)  # a model with opinions
    return model


def text(count: int = 64, seed: int = 1) -> Tensor:
    return torch.randint(V, (count,), generator=torch.Generator().manual_seed(seed))


def settings(model: LanguageModel, scaled: bool, segment: int = 4) -> dict[str, Any]:
    if not scaled:
        return {"lr": 0.3, "decay": 0.05, "segment": segment}
    rms = gradient_rms(model, text(300, 2), segment=segment, streams=6)
    return {"lr": 0.02, "decay": 0.4, "segment": segment, "rms": rms, "epsilon": 1e-3}


def by_hand(model: LanguageModel, ids: Tensor, how: dict[str, Any]) -> Tensor:
    """The printed update, on copies of the weights."""
    names = [name for name, _ in model.named_parameters()]
    first = [p.detach().clone() for p in model.parameters()]
    now, state, nats = first, None, []
    lr, decay, segment = how["lr"], how["decay"], how["segment"]
    for t in range(0, len(ids) - 1, segment):
        weights = dict(zip(names, [w.detach().requires_grad_() for w in now], strict=True))
        x, y = ids[None, t : t + segment][:, : len(ids) - 1 - t], ids[t + 1 : t + segment + 1]
        logits, state = functional_call(model, weights, (x, state))
        state = tree.detach(state)
        each = F.cross_entropy(logits[0], y, reduction="none")
        grads = torch.autograd.grad(each.mean(), list(weights.values()))
        nats.append(each.detach())
        rms = how.get("rms") or [torch.ones((), dtype=torch.float64)] * len(first)
        mean = sum(float(r.mean()) for r in rms) / len(rms)
        epsilon = how.get("epsilon", 0.0)
        now = [
            w - lr * g / (r + epsilon) + (decay * r / mean).clamp(max=1) * (w0 - w)
            for w, w0, g, r in zip(now, first, grads, rms, strict=True)
        ]
    return torch.cat(nats)


@SEGMENTS
@FORMS
def test_it_is_the_printed_update(scaled: bool, segment: int) -> None:
    model = make().eval()
    how = settings(model, scaled, segment)
    want = by_hand(model, text(), how)
    torch.testing.assert_close(dynamic_score(model, text(), **how), want, rtol=1e-9, atol=1e-12)
    if segment < 63:
        assert (want - score(model, text())).abs().max() > 1e-2  # it did learn


@FORMS
@pytest.mark.parametrize("at", [8, 30, 62])
def test_later_text_changes_no_earlier_score(scaled: bool, at: int) -> None:
    model, ids = make(), text()
    how = settings(model, scaled)
    other = torch.cat([ids[: at + 1], (ids[at + 1 :] + 5) % V])
    one, two = dynamic_score(model, ids, **how), dynamic_score(model, other, **how)
    assert torch.equal(one[:at], two[:at])
    assert not torch.equal(one[at:], two[at:])


def test_a_segment_does_not_learn_from_itself() -> None:
    model, ids = make().eval(), text()
    plain, learnt = score(model, ids), dynamic_score(model, ids, lr=0.3, segment=10)
    torch.testing.assert_close(learnt[:10], plain[:10], rtol=1e-12, atol=0)
    assert not torch.allclose(learnt[10:20], plain[10:20], rtol=1e-3, atol=0)


@SEGMENTS
def test_without_a_rate_it_is_the_plain_score(segment: int) -> None:
    model = make()
    got = dynamic_score(model, text(), lr=0.0, segment=segment)
    torch.testing.assert_close(got, score(model.eval(), text()), rtol=1e-12, atol=0)


def test_a_model_of_lines_begins_each_one_anew() -> None:
    model, ids = make().eval(), text()
    got = dynamic_score(model, ids, lr=0.0, segment=7, end=3)
    torch.testing.assert_close(got, score_documents(model, ids, 3), rtol=1e-12, atol=0)


def test_a_text_that_repeats_itself_is_learnt() -> None:
    model, ids = make().eval(), text(4).repeat(60)
    plain, learnt = score(model, ids), dynamic_score(model, ids, lr=0.3, segment=5)
    assert learnt[-100:].mean() < 0.5 * plain[-100:].mean()


@FORMS
def test_the_model_is_as_before(scaled: bool) -> None:
    model = make()
    model.embedding.weight.requires_grad_(False)
    model.head.bias.grad = torch.ones_like(model.head.bias)
    before = {name: w.clone() for name, w in model.state_dict().items()}
    how = settings(model, scaled)
    with torch.no_grad():
        dynamic_score(model, text(), **how)
    with pytest.raises(IndexError):
        dynamic_score(model, torch.tensor([0, 1, 2, V]), lr=0.3, segment=1)  # it fails in the middle
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())
    assert model.training
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["embedding.weight"]
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["head.bias"]


@pytest.mark.parametrize("batches", [None, 3])
def test_statistics_are_the_root_mean_square_of_gradients(batches: int | None) -> None:
    model, ids = make().eval(), text(200, 2)
    rows = ids[:-1][: 4 * 49].view(4, 49), ids[1 : 4 * 49 + 1].view(4, 49)
    squares, state, count = [torch.zeros_like(p) for p in model.parameters()], None, 0
    for t in range(0, 49, 6):
        logits, state = model(rows[0][:, t : t + 6], state)
        state = tree.detach(state)
        loss = F.cross_entropy(logits.flatten(0, 1), rows[1][:, t : t + 6].flatten())
        for square, g in zip(squares, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            square += g**2
        count += 1
        if count == batches:
            break
    want = [(square / count).sqrt() for square in squares]
    got = gradient_rms(model, ids, segment=6, streams=4, batches=batches)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-14)


def test_what_cannot_be_scored_is_told() -> None:
    with pytest.raises(ValueError, match="a text of 1 tokens cannot be scored"):
        dynamic_score(make(), text(1), lr=0.1)
    with pytest.raises(ValueError, match=r"decay from 0 to 1, .*; they are 0\.1, 2\.0 and 5"):
        dynamic_score(make(), text(), lr=0.1, decay=2.0)
    with pytest.raises(ValueError, match="a text of 64 tokens cannot be cut into 100 streams"):
        gradient_rms(make(), text())
