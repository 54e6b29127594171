"""Baselines over words. Oracles: counted features, the regression on them, texts whose words give the answer."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ostinato.baselines import BagOfWords, Majority
from ostinato.baselines.words import runs


def texts(count, seed=0):
    """Reviews of 3 to 8 words, and whether they are good; which word says so may be negated."""
    draw = np.random.default_rng(seed)
    rows, labels = [], []
    for _ in range(count):
        label, negated = draw.integers(2), draw.integers(2)
        said = [["bad"], ["good"]][label] if not negated else [["not", "good"], ["not", "bad"]][label]
        filler = list(draw.choice(["the", "film", "plot", "was", "it"], draw.integers(2, 7)))
        rows.append([*filler, *said])
        labels.append(int(label))
    return rows, labels


def test_runs_are_all_neighbours_up_to_the_order():
    assert list(runs(["a", "b", "c"], 2)) == ["a", "b", "c", "a b", "b c"]
    assert list(runs(["a", "b", "c"], 3))[-1] == "a b c"
    assert list(runs([], 2)) == []


@pytest.mark.parametrize("weights", ["tfidf", "counts", "presence"])
def test_pairs_of_words_tell_what_single_words_cannot(weights):
    train, valid, (test, truth) = texts(300), texts(100, seed=1), texts(200, seed=2)
    pairs = BagOfWords.fit(*train, *valid, weights=weights)
    assert np.mean(pairs.predict(test) == truth) > 0.98
    single = BagOfWords.fit(*train, *valid, weights=weights, order=1)
    assert np.mean(single.predict(test) == truth) < np.mean(pairs.predict(test) == truth)


def test_it_is_the_regression_over_counts_that_the_validation_texts_prefer():
    rows, labels = texts(60)
    valid, known = texts(40, seed=1)
    words = sorted({word for row in rows for word in row})
    x, x_valid = ([[row.count(word) for word in words] for row in part] for part in (rows, valid))
    fitted = {c: LogisticRegression(C=c, max_iter=1000).fit(x, labels) for c in (0.01, 1.0)}
    got = BagOfWords.fit(rows, labels, valid, known, order=1, weights="counts", min_count=1, strengths=(0.01, 1.0))
    assert got.scores == {c: pytest.approx(part.score(x_valid, known)) for c, part in fitted.items()}
    assert got.strength == max(fitted, key=lambda c: fitted[c].score(x_valid, known))
    want = fitted[got.strength].predict_proba(x_valid)
    np.testing.assert_allclose(got.probabilities(valid), want, atol=1e-3)


def test_several_labels_a_text():
    rows, good = texts(300)
    labels = np.stack([good, ["film" in row for row in rows], [len(row) > 4 for row in rows]], axis=1).astype(int)
    got = BagOfWords.fit(rows[:200], labels[:200], rows[200:250], labels[200:250])
    said, p = got.predict(rows[250:]), got.probabilities(rows[250:])
    assert said.shape == p.shape == (50, 3)
    assert np.mean(said[:, :2] == labels[250:, :2]) > 0.97
    assert np.array_equal(said, p > 0.5)


def test_a_class_without_training_texts_has_no_probability():
    rows, labels = texts(60)
    got = BagOfWords.fit(rows, [2 * label for label in labels], rows, [2 * label for label in labels])
    p = got.probabilities(rows)
    assert p.shape == (60, 3)
    assert (p[:, 1] == 0).all()
    np.testing.assert_allclose(p.sum(1), 1)


def test_the_majority():
    assert Majority.fit([2, 0, 2, 1]).predict(3).tolist() == [2, 2, 2]
    assert Majority.fit([[1, 0], [1, 1], [0, 0]]).predict(2).tolist() == [[1, 0], [1, 0]]
    assert Majority.fit([1, 1, 0], classes=4).shares.tolist() == pytest.approx([1 / 3, 2 / 3, 0, 0])


def test_what_does_not_fit_is_told():
    rows, labels = texts(10)
    with pytest.raises(ValueError, match="there are 10 texts and 9 labels"):
        BagOfWords.fit(rows, labels[:9], rows, labels)
    with pytest.raises(ValueError, match="all texts are of one class"):
        BagOfWords.fit(rows, [1] * 10, rows, labels)
    with pytest.raises(ValueError, match="weights are tfidf, counts, presence, and came as 'tf'"):
        BagOfWords.fit(rows, labels, rows, labels, weights="tf")
    with pytest.raises(ValueError, match="no strength was given"):
        BagOfWords.fit(rows, labels, rows, labels, strengths=())
    with pytest.raises(ValueError, match=r"labels must be integers \[N\] from 0 on"):
        Majority.fit([0.5, 1.0])
    with pytest.raises(ValueError, match=r"several labels a text are 0/1 \[N, C\], and one is 2"):
        Majority.fit([[0, 2]])


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'needs scikit-learn: pip install "ostinato\[baselines\]"'):
        BagOfWords.fit(*texts(10), *texts(10))
