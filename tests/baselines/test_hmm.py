"""Hidden Markov models: the oracle is hmmlearn; the tagger's is a corpus whose rule is known."""

import itertools
import random

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM

from ostinato.baselines import HMM, HMMTagger, tagger

ROWS = [[0, 3, 1, 1], [2], [5, 4, 0, 1, 2, 3], [3, 3, 5]]


def twin(model):
    tags, words = model.emission.shape
    peer = CategoricalHMM(tags, n_iter=1, tol=-np.inf, init_params="", params="ste")
    peer.n_features = words
    peer.startprob_, peer.transmat_ = model.start.numpy(), model.between.numpy()
    peer.emissionprob_ = model.emission.numpy()
    return peer


def test_likelihoods_and_best_tags_are_those_of_hmmlearn():
    model = HMM.random(3, 6, seed=1)
    peer = twin(model)
    columns = [np.array(row)[:, None] for row in ROWS]
    want = torch.tensor([peer.score(x) for x in columns], dtype=torch.float64)
    torch.testing.assert_close(model.log_likelihood(ROWS), want, rtol=0, atol=1e-10)
    assert model.viterbi(ROWS) == [peer.predict(x).tolist() for x in columns]


def test_a_step_of_baum_welch_is_that_of_hmmlearn():
    model = HMM.random(3, 6, seed=1)
    peer = twin(model).fit(np.concatenate(ROWS)[:, None], [len(row) for row in ROWS])
    fitted, history = model.fit(ROWS, steps=1)
    assert history == [pytest.approx(float(model.log_likelihood(ROWS).sum()))]
    for mine, theirs in zip(
        (fitted.start, fitted.between, fitted.emission),
        (peer.startprob_, peer.transmat_, peer.emissionprob_),
        strict=True,
    ):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=0, atol=1e-12)


def test_baum_welch_never_loses():
    fitted, history = HMM.random(3, 6, seed=2).fit([*ROWS, []], steps=60)
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(history))
    assert history[-1] > history[0] + 5
    assert fitted.log_likelihood(ROWS).sum() >= history[-1] - 1e-9


def test_counts_are_relative_frequencies():
    words, tags = [[0, 1, 0], [2]], [[0, 1, 1], [0]]
    model = HMM.fit_counts(words, tags, (2, 3), k=0)
    assert model.start.tolist() == [1, 0]
    assert model.between.tolist() == [[0, 1], [0, 1]]
    assert model.emission.tolist() == [[0.5, 0, 0.5], [0.5, 0.5, 0]]
    smooth = HMM.fit_counts(words, tags, (2, 3), k=1)
    assert smooth.start.tolist() == [0.75, 0.25]
    torch.testing.assert_close(smooth.between, torch.tensor([[1 / 3, 2 / 3]] * 2).double())
    empty = HMM.fit_counts([], [], (2, 4), k=0)
    assert empty.start.tolist() == [0.5, 0.5] and empty.emission.tolist() == [[0.25] * 4] * 2


def test_what_cannot_be_has_no_likelihood():
    model = HMM.fit_counts([[0, 1, 0], [2]], [[0, 1, 1], [0]], (2, 3), k=0)
    assert model.log_likelihood([[1], [], [0, 2]]).tolist() == [-np.inf, 0, -np.inf]
    with pytest.raises(ValueError, match="no tags can give row 1; add k"):
        model.viterbi([[0], [1]])


def test_wrong_numbers_are_told():
    with pytest.raises(ValueError, match="row 0 must have a tag for each of its 2 words, and has 1"):
        HMM.fit_counts([[0, 1]], [[0]], (1, 2))
    with pytest.raises(ValueError, match=r"words must lie in 0..1, and reach from 0 to 2"):
        HMM.fit_counts([[0, 2]], [[0, 0]], (1, 2))
    with pytest.raises(ValueError, match=r"words must lie in 0..5"):
        HMM.random(2, 6).log_likelihood([[6]])


def corpus(seed, size):
    """Words end in their tag, but for "can", which is a verb after "they" and a noun after "the"."""
    draw, found = random.Random(seed), []
    for _ in range(size):
        stem = "".join(draw.choices("bdgklmprt", k=4))
        found.append((["the", "can", f"{stem}ed", "."], ["DET", "NOUN", "VERB", "PUNCT"]))
        found.append((["they", "can", "the", f"{stem}ness"], ["PRON", "VERB", "DET", "NOUN"]))
    return found


def test_the_tagger_reads_context_and_the_forms_of_unknown_words():
    train, test = corpus(0, 60), corpus(1, 20)
    tagger = HMMTagger.fit(train, corpus(2, 10))
    assert tagger.predict([words for words, _ in test]) == [tags for _, tags in test]
    assert tagger.predict([["they", "can", "the", "qqness"], [], ["qqed"]])[0][-1] == "NOUN"
    assert tagger.accuracy(test) == 1 and tagger.accuracy([]) == 0


def test_a_sentence_of_a_batch_is_tagged_as_alone():
    tagger = HMMTagger.fit(corpus(0, 20))
    rows = [words[:n] for (words, _), n in zip(corpus(3, 4), itertools.cycle([4, 0, 1, 3]), strict=False)]
    assert tagger.predict(rows) == [tagger.predict([row])[0] for row in rows]
    assert [len(row) for row in tagger.predict(rows)] == [len(row) for row in rows]


def test_a_corpus_to_count_is_wanted():
    with pytest.raises(ValueError, match="at least one tagged word"):
        HMMTagger.fit([])
    with pytest.raises(ValueError, match="sentence 2 must have a tag for each of 1 words, has 2"):
        HMMTagger.fit([(["a"], ["X"]), (["a"], ["X", "Y"])])


def test_where_tags_are_many_single_ones_are_the_states(monkeypatch):
    """The best of all sequences by log p(b | a) + log p(tag | word) - log p(tag), tried one by one."""
    monkeypatch.setattr(tagger, "MOST_PAIRED", 2)
    corpus = [(["the", "dog", "runs"], list("DNV")), (["a", "man", "sees", "the", "man"], list("DNVDN"))]
    model = HMMTagger.fit(corpus)
    assert model.order == 1
    words = ["the", "man", "runs", "a", "dog"]
    start, between, end, _ = model._chain
    K = len(model.tags)
    assert between.shape == (K, K)
    torch.testing.assert_close(between.exp().sum(-1), torch.ones(K))

    def score(path):
        given = sum(model._scores(word)[tag] for word, tag in zip(words, path, strict=True))
        return given + float(start[path[0]]) + sum(float(between[a, b]) for a, b in itertools.pairwise(path))

    best = max(itertools.product(range(K), repeat=len(words)), key=score)
    assert model.predict([words]) == [[model.tags[tag] for tag in best]]
    assert float(end.abs().max()) == 0
