"""Classifier and saliency through the whole model. Oracles: each row alone; a linear model, whose saliency is known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ostinato.cells import GRU, LSTM
from ostinato.layers import TCN, Bidirectional, Dropout, Pointwise, Pool, Stack, TransformerEncoder
from ostinato.layers.pool import KINDS
from ostinato.models import CharacterConvolution, CharacterReader, ClassHead, Embedder, Labeller, saliency

LETTERS = {
    "words": lambda: None,
    "read": lambda: CharacterReader(9, 3, 2, LSTM),
    "convolved": lambda: CharacterConvolution(9, 3, 4),
}
# A body of 6 features from d, and how many directions they are.
BODIES = {
    "lstm": (lambda d: LSTM(d, 6), 1),
    "two directions": (lambda d: Bidirectional(GRU(d, 3), LSTM(d, 3)), 2),
    "two deep": (lambda d: Stack(Bidirectional(GRU(d, 3), GRU(d, 3)), Bidirectional(LSTM(6, 3), LSTM(6, 3))), 2),
    "tcn": (lambda d: TCN(d, [5, 6], causal=False), 1),
    "causal tcn": (lambda d: TCN(d, [5, 6]), 1),
    "transformer": (lambda d: TransformerEncoder(d, 6, heads=2), 1),
}


def labeller(embedder, body, pool, dropout=0.0):
    return Labeller(embedder, body, {"label": ClassHead(pool, 3, dropout)})


def whole(x):
    return torch.full((len(x),), x.shape[1])


def logits_of(model, x, lengths=None):
    return model(x, whole(x) if lengths is None else lengths)["label"]


def classifier(body, pool, letters="words", dropout=0.0):
    embedder = Embedder(20, 5, characters=LETTERS[letters]())
    make, directions = BODIES[body]
    return labeller(embedder, make(embedder.d_out), Pool(pool, 6, directions), dropout).double()


def ids(rows, letters):
    """Words of one to four letters; [rows, 7] or [rows, 7, 5]."""
    words = torch.randint(1, 20, (rows, 7))
    if letters == "words":
        return words
    spelt = torch.randint(1, 9, (rows, 7, 4)).masked_fill(torch.arange(4) >= torch.randint(1, 5, (rows, 7, 1)), 0)
    return torch.cat([words[..., None], spelt], dim=-1)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("pool", KINDS)
@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=5),
    letters=st.sampled_from(list(LETTERS)),
    seed=st.integers(0, 1000),
)
def test_a_ragged_batch_gives_each_row_what_it_gets_alone(pool, body, lengths, letters, seed):
    torch.manual_seed(seed)
    model = classifier(body, pool, letters).eval()
    x = ids(len(lengths), letters)
    real = (torch.arange(7) < torch.tensor(lengths)[:, None]).view(len(lengths), 7, *[1] * (x.ndim - 2))
    got = logits_of(model, torch.where(real, x, 10**9), torch.tensor(lengths))
    assert got.shape == (len(lengths), 3)
    for b, n in enumerate(lengths):
        row = x[b : b + 1, : max(n, 1)]
        want = logits_of(model, row, torch.tensor([n]))
        torch.testing.assert_close(got[b : b + 1], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("letters", LETTERS)
@pytest.mark.parametrize("pool", KINDS)
def test_rows_without_words_give_finite_gradients(pool, letters):
    model = classifier("two directions", pool, letters)
    for lengths in ([3, 0, 7], [0, 0, 0]):
        model.zero_grad()
        logits_of(model, ids(3, letters), torch.tensor(lengths)).square().sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_features_are_what_the_heads_read():
    model, x = classifier("lstm", "max", dropout=0.5).eval(), ids(4, "words")
    assert torch.equal(model.head("label")(model.features(x, whole(x)), whole(x)), logits_of(model, x))


def test_saliency_of_a_linear_model_is_what_each_word_adds_to_the_logit():
    embedder = Embedder(20, 5)
    model = labeller(embedder, Pointwise(nn.Identity()), Pool("mean", 5), dropout=0.5).double()
    x, lengths, target = ids(3, "words"), torch.tensor([7, 3, 0]), torch.tensor([2, 0, 1])
    got, linear = saliency(model, x, lengths, "label", target), model.head("label").linear
    want = (embedder(x, lengths) @ linear.weight[target].unsqueeze(-1)).squeeze(-1) / lengths.clamp(min=1)[:, None]
    inside = torch.arange(7) < lengths[:, None]
    torch.testing.assert_close(got, want * inside)
    assert got[~inside].eq(0).all()
    logits = logits_of(model.eval(), x, lengths)
    torch.testing.assert_close(got.sum(1) + linear.bias[target], logits[torch.arange(3), target])


@torch.no_grad()
def test_saliency_leaves_the_model_as_it_was():
    model, x = classifier("two directions", "attention", "read", dropout=0.5), ids(3, "read")
    model.head("label").pool.eval()
    modes = [part.training for part in model.modules()]
    asked = (x, whole(x), "label", torch.tensor([0, 1, 2]))
    assert torch.equal(saliency(model, *asked), saliency(model, *asked))
    assert [part.training for part in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("body", BODIES)
def test_it_learns_which_word_is_there(body):
    """A row is of class 1 where word 7 stands somewhere in it: 64 rows are learnt by heart."""
    torch.manual_seed(0)
    x = torch.randint(8, 20, (64, 7))
    y = torch.arange(64) % 2
    x[y == 1, torch.randint(7, (64,))[y == 1]] = 7
    model = classifier(body, "max").float()
    adam = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        loss = nn.functional.cross_entropy(logits_of(model, x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert (logits_of(model, x).argmax(-1) == y).float().mean() > 0.95


def test_bad_input_is_told():
    model = classifier("lstm", "max")
    with pytest.raises(ValueError, match=r"x must be ids \[B, T\] int64, no axis empty, and is torch.float32"):
        logits_of(model, torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"lengths must lie in 0..7, the padded length, and reach from 3 to 8"):
        logits_of(model, ids(2, "words"), torch.tensor([8, 3]))
    with pytest.raises(ValueError, match=r"lengths must be int64 of shape \(2,\), one a row, and are torch.int64 of"):
        logits_of(model, ids(2, "words"), torch.tensor([3]))
    with pytest.raises(ValueError, match=r"words 0..19 were expected, and the ids reach from 1 to 20"):
        logits_of(model, torch.tensor([[1, 20]]))


def test_last_step_of_two_directions_is_told_before_it_is_trained():
    """Lecture S1's trap: the backward layer has read the whole row at its first step."""
    embedder, both = Embedder(20, 5), Bidirectional(GRU(5, 3), GRU(5, 3))
    for body in (both, Stack(LSTM(5, 5), Stack(both, Dropout(0.5))), Bidirectional(GRU(5, 6), GRU(5, 6), "sum")):
        with pytest.raises(ValueError, match=r"write Pool\('last', d, directions=2\) over merge 'concat'"):
            labeller(embedder, body, Pool("last", 6))
        labeller(embedder, body, Pool("max", 6))
    with pytest.raises(ValueError, match="LSTM reads in one direction, and this Pool in two; write directions=1"):
        labeller(embedder, Stack(both, LSTM(6, 6)), Pool("last", 6, directions=2))
