"""Words and letters as vectors. Oracles: a word alone, by the final states of its two cells; numpy; counted draws."""

import numpy as np
import pytest
import torch

from ostinato.cells import GRU, LSTM
from ostinato.models import CharacterConvolution, CharacterReader, Embedder
from ostinato.models.embedder import hashed


def spelt(*words):
    """[len(words), 5] of strings of digits: their letters, then zeros."""
    return torch.tensor([[int(c) for c in word.ljust(5, "0")] for word in words])


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_a_word_is_read_from_both_ends(make):
    reader = CharacterReader(9, 3, 4, make)
    got = reader(spelt("12345", "37", "8"))
    for row, word in zip(got, [[1, 2, 3, 4, 5], [3, 7], [8]], strict=True):
        letters = reader.letters(torch.tensor([word]))
        there, back = reader.body.rightward(letters)[1], reader.body.leftward(letters.flip(1))[1]
        torch.testing.assert_close(row, torch.cat([there.h[0], back.h[0]]))
    assert reader.d_out == 8


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_convolution_takes_the_largest_answer_of_each_filter(size):
    part = CharacterConvolution(9, 3, 4, size=size).double()
    got = part(spelt("12345", "37", "8")).detach().numpy()
    w, b = (p.detach().numpy() for p in part.convolution.parameters())
    for row, word in zip(got, [[1, 2, 3, 4, 5], [3, 7], [8]], strict=True):
        edge = np.zeros((size // 2, 3))
        letters = np.concatenate([edge, part.letters(torch.tensor(word)).detach().numpy(), edge])
        answers = [b + np.einsum("fdk,kd->f", w, letters[t : t + size]) for t in range(len(word))]
        np.testing.assert_allclose(row, np.max(answers, axis=0), rtol=1e-12)


@pytest.mark.parametrize("make", [lambda: CharacterReader(9, 3, 2, LSTM), lambda: CharacterConvolution(9, 3, 4)])
def test_each_different_word_is_spelt_once_and_stands_everywhere(make):
    embedder = Embedder(20, 6, characters=make()).double()
    seen = []
    embedder.characters.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    words = ["12", "345", "12", "6", "345", "12"]
    letters = spelt(*words).view(2, 3, 5)
    x = torch.cat([torch.tensor([[2, 3, 2], [4, 1, 2]])[..., None], letters], dim=-1)
    got = embedder(x)
    assert seen == [(3, 3)]  # three words, of three letters at most
    assert got.shape == (2, 3, embedder.d_out)
    alone = embedder.characters(letters.flatten(0, 1)).view(2, 3, -1)
    torch.testing.assert_close(got, torch.cat([embedder.words(x[..., 0]), alone], dim=-1))


def test_padding_has_the_vector_zero_and_learns_nothing():
    embedder = Embedder(20, 6)
    got = embedder(torch.tensor([[5, 0]]))
    got.sum().backward()
    assert got[0, 1].eq(0).all()
    assert embedder.words.weight.grad[0].eq(0).all()
    assert embedder.words.weight.grad[5].eq(1).all()


def test_word_dropout_takes_whole_words_in_the_whole_batch():
    torch.manual_seed(0)
    embedder = Embedder(2000, 6, word_dropout=0.3)
    x = torch.arange(1, 2000).repeat(3, 1)
    got, whole = embedder(x), embedder.eval()(x)
    dropped = got.eq(0).all(-1)
    assert torch.equal(dropped[0], dropped[1])
    torch.testing.assert_close(got[~dropped], whole[~dropped] / 0.7)
    assert abs(dropped[0].float().mean() - 0.3) < 0.04  # four standard deviations of 1999 draws


def test_unknown_dropout_reads_words_as_unknown_and_spares_their_letters():
    torch.manual_seed(0)
    embedder = Embedder(20, 6, characters=CharacterConvolution(9, 3, 4), unknown_dropout=0.25)
    x = torch.cat([torch.full((40, 100, 1), 7), torch.full((40, 100, 1), 3)], dim=-1)
    x[:, 50:] = 0
    got, whole = embedder(x), embedder.eval()(x)
    unknown = got[..., :6].eq(embedder.words.weight[1]).all(-1)
    assert torch.equal(got[..., 6:], whole[..., 6:])
    assert torch.equal(got[~unknown], whole[~unknown])
    assert not unknown[:, 50:].any()  # padding stays padding
    assert abs(unknown[:, :50].float().mean() - 0.25) < 0.04  # four standard deviations of 2000 draws


def test_unknown_dropout_may_be_of_rare_words_only():
    chances = torch.zeros(20)
    chances[[4, 5]] = 0.9
    embedder = Embedder(20, 6, unknown_dropout=chances)
    x = torch.arange(20).repeat(200, 1)
    changed = embedder(x).ne(embedder.eval()(x)).any(-1).any(0)
    assert changed.nonzero().flatten().tolist() == [4, 5]
    assert list(embedder.state_dict()) == ["words.weight"]  # the chances are no part of a saved model


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match="unknown_dropout is one number or 20, one a word, and has "):
        Embedder(20, 6, unknown_dropout=torch.zeros(19))
    with pytest.raises(ValueError, match="from 0 up to but not including 1"):
        Embedder(20, 6, word_dropout=1.0)
    with pytest.raises(ValueError, match="its size is odd, and is 2"):
        CharacterConvolution(9, 3, 4, size=2)
    embedder = Embedder(20, 6, characters=CharacterConvolution(9, 3, 4))
    with pytest.raises(ValueError, match=r"\[B, T, 1 \+ C\] int64, each word followed by its letters, no axis empty"):
        embedder(torch.ones(2, 3, dtype=torch.int64))


def test_a_pair_of_neighbours_has_a_vector_of_its_own() -> None:
    """Oracle: the two tables by hand; a pair is told by both words and their order, and padding by none."""
    embedder = Embedder(20, 6, pairs=1000).eval()
    assert embedder.pairs is not None
    ids = torch.tensor([[5, 7, 5, 7, 0], [7, 5, 0, 0, 0]])
    lengths = torch.tensor([4, 2])
    assert torch.equal(embedder(ids, lengths), embedder.words(ids))  # it begins at zero
    with torch.no_grad():
        embedder.pairs.weight[1:].normal_()
    pair = (embedder(ids, lengths) - embedder.words(ids)).detach()
    torch.testing.assert_close(pair[0, 1], pair[0, 3])
    torch.testing.assert_close(pair[0, 2], pair[1, 1])
    first = [pair[0, 0], pair[0, 1], pair[0, 2], pair[1, 0]]
    assert all(not torch.allclose(a, b) for i, a in enumerate(first) for b in first[:i])
    assert not pair[0, 4].any() and not pair[1, 2:].any()
    assert int(hashed(torch.randint(2, 10**6, (50, 50)), 1000).max()) == 999
    with pytest.raises(ValueError, match="2 or more"):
        Embedder(20, 6, pairs=1)


def test_pairs_are_dropped_as_words_are() -> None:
    torch.manual_seed(0)
    embedder = Embedder(20, 6, pairs=5000, word_dropout=0.4).train()
    assert embedder.pairs is not None
    torch.nn.init.ones_(embedder.pairs.weight)
    torch.nn.init.zeros_(embedder.words.weight)
    y = embedder(torch.randint(2, 20, (30, 40)))
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert 0.3 < float((y[..., 0] == 0).double().mean()) < 0.5
