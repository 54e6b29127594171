"""Labels of the sentences of documents. Oracles: each document alone, and its sentences one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.cells import GRU, LSTM
from ostinato.layers import TCN, Bidirectional, Pool, TransformerEncoder
from ostinato.models import CharacterConvolution, Embedder, Labeller, Sentences, TagHead

OVER = {
    "lstm": lambda d: LSTM(d, 6),
    "two directions": lambda d: Bidirectional(GRU(d, 3), GRU(d, 3)),
    "tcn": lambda d: TCN(d, [6], causal=False),
    "transformer": lambda d: TransformerEncoder(d, 6, heads=2),
}


def document(over="two directions", pool="max_mean", letters=False):
    embedder = Embedder(20, 5, characters=CharacterConvolution(9, 3, 4) if letters else None)
    body, pooled = Bidirectional(LSTM(embedder.d_out, 2), LSTM(embedder.d_out, 2)), Pool(pool, 4, directions=2)
    sentences = Sentences(embedder, body, pooled)
    return Labeller(sentences, OVER[over](pooled.d_out), {"label": TagHead(6, 3)}).double().eval()


def logits_of(model, x, sentences=None):
    count = torch.full((len(x),), x.shape[1]) if sentences is None else sentences
    return model(x, count)["label"]


def texts(documents, letters=False):
    """Documents of 5 sentences of 0 to 6 words: [documents, 5, 6] or [documents, 5, 6, 1 + 3]."""
    words = torch.randint(1, 20, (documents, 5, 6))
    words = words.masked_fill(torch.arange(6) >= torch.randint(0, 7, (documents, 5, 1)), 0)
    spelt = torch.randint(1, 9, (documents, 5, 6, 3)) * (words != 0)[..., None]
    return torch.cat([words[..., None], spelt], dim=-1) if letters else words


@pytest.mark.parametrize("pool", ["last", "max", "attention"])
@pytest.mark.parametrize("over", OVER)
@settings(max_examples=12, deadline=None)
@given(sentences=st.lists(st.integers(0, 5), min_size=1, max_size=4), letters=st.booleans(), seed=st.integers(0, 1000))
def test_a_ragged_batch_gives_each_document_what_it_gets_alone(over, pool, sentences, letters, seed):
    torch.manual_seed(seed)
    model, x = document(over, pool, letters), texts(len(sentences), letters)
    real = (torch.arange(5) < torch.tensor(sentences)[:, None]).view(len(sentences), 5, *[1] * (x.ndim - 2))
    got = logits_of(model, torch.where(real, x, 10**9), torch.tensor(sentences))
    assert got.shape == (len(sentences), 5, 3)
    for b, n in enumerate(sentences):
        assert got[b, n:].eq(0).all()
        if n:
            torch.testing.assert_close(got[b, :n], logits_of(model, x[b : b + 1, :n])[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("letters", [False, True])
def test_a_sentence_is_read_as_if_it_stood_alone(letters):
    model, x = document(letters=letters), texts(3, letters)
    reader, head = model.embedder, model.head("label")
    vectors = reader(x)
    for b in range(3):
        for s in range(5):
            row = x[b, s]
            n = int((row if not letters else row[:, 0]).ne(0).sum())
            want = torch.zeros(reader.d_out, dtype=torch.float64)
            if n:
                y, _ = reader.body(reader.embedder(row[None, :n]))
                want = reader.pool(y)[0]
            torch.testing.assert_close(vectors[b, s], want)
    torch.testing.assert_close(logits_of(model, x), head.linear(model.body(vectors)[0]))


def test_what_stands_in_one_sentence_reaches_the_labels_of_the_others():
    model, x = document(), texts(1).clamp(min=1)
    other = x.clone()
    other[0, 2] = 1 + (x[0, 2] + 5) % 19
    moved = (logits_of(model, other) - logits_of(model, x)).abs().amax(-1)[0]
    assert moved.min() > 0


def test_documents_without_words_give_finite_gradients():
    model, x = document(), texts(3)
    x[1] = 0
    for sentences in ([5, 2, 0], [0, 0, 0]):
        model.zero_grad()
        logits = logits_of(model, x, torch.tensor(sentences))
        assert logits.isfinite().all()
        logits.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_bad_input_is_told():
    with pytest.raises(ValueError, match=r"ids of sentences, \[B, S, W\], no axis empty, and is torch.int64 of shape"):
        document().embedder(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"sentences must be int64 of shape \(2,\), one a document"):
        document().embedder(texts(2), torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match=r"lengths must lie in 0..5, the padded length, and reach from 1 to 6"):
        document()(texts(2), torch.tensor([1, 6]))
