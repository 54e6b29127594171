"""Which words a text holds, without their order: the baselines of text classification.

The majority class, and logistic regression over words and pairs of neighbours, which is strong on long texts (pairs:
Wang & Manning 2012).

Words and labels come from the caller, who cuts texts as for the network beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Tokens = Sequence[Sequence[str]]
Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

WEIGHTS = ("tfidf", "counts", "presence")


@final
@dataclass(frozen=True, eq=False)
class Majority:
    """The class that is most frequent in training; of several labels a text, those that more than half of them have."""

    shares: Floats  # [C] of the fitted texts
    several: bool

    @classmethod
    def fit(cls, labels: ArrayLike, classes: int | None = None) -> "Majority":
        """
        Args:
            labels: integers [N], or 0/1 [N, C] where a text has several.
            classes: how many there are; None: as many as occur.

        Raises:
            ValueError: there are no labels, or they are no such array.
        """
        given = _labels(labels)
        if given.ndim == 2:
            return cls(given.mean(0), True)
        return cls(np.bincount(given, minlength=classes or 0) / len(given), False)

    def predict(self, texts: int) -> Ids:
        """The same for each of so many texts: int64 [texts], or 0/1 [texts, C]."""
        if self.several:
            return np.tile((self.shares > 0.5).astype(np.int64), (texts, 1))
        return np.full(texts, self.shares.argmax(), np.int64)


@final
@dataclass(frozen=True, eq=False)
class BagOfWords:
    """Logistic regression over the words and neighbours of a text; several labels a text are as many regressions."""

    vectorizer: Any  # scikit-learn's, fitted: texts -> sparse [N, features]
    regression: Any  # scikit-learn's, fitted
    strength: float  # C, the inverse of the penalty's weight
    scores: dict[float, float]  # of each C tried: accuracy on the validation texts; with several labels micro-F1
    classes: int

    @classmethod
    def fit(
        cls,
        texts: Tokens,
        labels: ArrayLike,
        valid_texts: Tokens,
        valid_labels: ArrayLike,
        *,
        order: int = 2,
        weights: str = "tfidf",
        min_count: int = 2,
        strengths: Sequence[float] = (1.0, 3.0, 10.0, 30.0, 100.0),
    ) -> "BagOfWords":
        """Fit one regression for each strength, and keep the best on the validation texts.

        Args:
            texts: N lists of words.
            labels: integers [N], or 0/1 [N, C] where a text has several.
            valid_texts, valid_labels: likewise; not trained on.
            order: the longest run of words that is a feature.
            weights: "tfidf" (1 + ln of counts, times inverse document frequency, rows of length 1), "counts" or
                "presence" (0 or 1).
            min_count: texts that a feature must stand in.
            strengths: C, each to be tried.

        Raises:
            ImportError: scikit-learn is not installed.
            ValueError: texts and labels do not fit, there is one class only, or no such weights.
        """
        given, valid = _labels(labels), _labels(valid_labels)
        for rows, known in ((texts, given), (valid_texts, valid)):
            if len(rows) != len(known):
                raise ValueError(f"each text has a label, and there are {len(rows)} texts and {len(known)} labels")
        if given.ndim == 1 and len(np.unique(given)) < 2:
            raise ValueError("all texts are of one class, so there is nothing to tell apart; give texts of two or more")
        vectorizer = _vectorizer(order, weights, min_count)
        x = vectorizer.fit_transform(texts)
        x_valid = vectorizer.transform(valid_texts)
        best, scores = None, {}
        for strength in strengths:
            regression = _regression(strength, given).fit(x, given)
            scores[strength] = _score(regression.predict(x_valid), valid)
            if best is None or scores[strength] > scores[best[0]]:
                best = strength, regression
        if best is None:
            raise ValueError("no strength was given to try; give at least one, such as 10")
        classes = given.shape[1] if given.ndim == 2 else int(given.max()) + 1
        return cls(vectorizer, best[1], best[0], scores, classes)

    def predict(self, texts: Tokens) -> Ids:
        """int64 [N], or 0/1 [N, C] where a text has several."""
        return np.asarray(self.regression.predict(self.vectorizer.transform(texts)), np.int64)

    def probabilities(self, texts: Tokens) -> Floats:
        """[N, C] float64: they sum to 1 over the classes, or stand for themselves where a text has several labels.

        A class that no training text had has 0.
        """
        found = self.regression.predict_proba(self.vectorizer.transform(texts))
        full = np.zeros((len(texts), self.classes))
        full[:, self.regression.classes_] = found
        return full


def runs(words: Sequence[str], order: int) -> Iterator[str]:
    """All runs of 1 .. order neighbours, joined by blanks."""
    for n in range(1, order + 1):
        for t in range(len(words) - n + 1):
            yield " ".join(words[t : t + n])


def _vectorizer(order: int, weights: str, min_count: int) -> Any:
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {', '.join(WEIGHTS)}, and came as {weights!r}")
    text = _sklearn("feature_extraction.text")
    options = {"analyzer": _Runs(order), "min_df": min_count, "dtype": np.float64}
    if weights == "tfidf":
        return text.TfidfVectorizer(sublinear_tf=True, **options)
    return text.CountVectorizer(binary=weights == "presence", **options)


@dataclass(frozen=True)
class _Runs:
    """`runs` as scikit-learn calls it."""

    order: int

    def __call__(self, words: Sequence[str]) -> list[str]:
        return list(runs(words, self.order))


def _regression(strength: float, labels: Ids) -> Any:
    one = _sklearn("linear_model").LogisticRegression(C=strength, max_iter=1000)
    return _sklearn("multiclass").OneVsRestClassifier(one) if labels.ndim == 2 else one


def _score(predicted: NDArray[Any], truth: Ids) -> float:
    if truth.ndim == 1:
        return float(np.mean(predicted == truth))
    both = int((predicted * truth).sum())
    return 2 * both / max(1, int(predicted.sum() + truth.sum()))


def _labels(labels: ArrayLike) -> Ids:
    given = np.asarray(labels)
    if given.ndim not in (1, 2) or not given.size or given.dtype.kind not in "biu" or given.min() < 0:
        raise ValueError(
            f"labels must be integers [N] from 0 on, or 0/1 [N, C], at least one, and are {given.dtype} of shape "
            f"{given.shape}"
        )
    if given.ndim == 2 and given.max() > 1:
        raise ValueError(f"several labels a text are 0/1 [N, C], and one is {given.max()}")
    return given.astype(np.int64)


def _sklearn(part: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(f"sklearn.{part}")
    except ImportError as error:
        raise ImportError('the bag-of-words baseline needs scikit-learn: pip install "ostinato[baselines]"') from error
