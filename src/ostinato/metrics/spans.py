"""Precision, recall and F1 of chunks by the rules of conlleval, the scoring script of the CoNLL shared tasks.

A chunk counts as found if its first token, its last token and its label are right. Overall figures are over all chunks
together (micro-averaged); where nothing was predicted, or nothing was there, a figure is 0.

Notes: conlleval prints per cent with two digits; these are fractions. It was written before BIOES: here E and S always
end a chunk, and B and S always begin one, as in its later ports.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from ..data.tags import Span, spans, well_formed


@final
@dataclass(frozen=True)
class Score:
    """How many chunks, or tokens, there are, and what follows from it."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.gold + self.predicted) if self.correct else 0.0


@final
@dataclass
class SpanScores:
    """Counts over sentences: `add` each, then read `overall`, `by_label` and `token_accuracy`.

    Attributes:
        strict: a scheme, and only chunks whose tags are as it writes them count; None: the rules of conlleval.
    """

    strict: str | None = None
    _gold: Counter[str] = field(default_factory=Counter)
    _predicted: Counter[str] = field(default_factory=Counter)
    _correct: Counter[str] = field(default_factory=Counter)
    _tokens: int = 0
    _right: int = 0

    def add(self, gold: Sequence[str], predicted: Sequence[str]) -> None:
        """Counts one sentence: its tags, and those that were predicted.

        Raises:
            ValueError: they are not of the same number, or one is no tag.
        """
        if len(gold) != len(predicted):
            raise ValueError(
                f"a sentence must have as many predicted tags as gold ones, and has {len(predicted)} for {len(gold)}; "
                "cut padding off before"
            )
        truth, guess = self._spans(gold), self._spans(predicted)
        self._gold.update(span.label for span in truth)
        self._predicted.update(span.label for span in guess)
        self._correct.update(span.label for span in set(truth) & set(guess))
        self._tokens += len(gold)
        self._right += sum(a == b for a, b in zip(gold, predicted, strict=True))

    @property
    def overall(self) -> Score:
        return Score(self._gold.total(), self._predicted.total(), self._correct.total())

    @property
    def by_label(self) -> dict[str, Score]:
        """The score of each label that is there or was predicted, in alphabetical order."""
        labels = sorted(self._gold.keys() | self._predicted.keys())
        return {label: Score(self._gold[label], self._predicted[label], self._correct[label]) for label in labels}

    @property
    def token_accuracy(self) -> float:
        """The share of tokens with the right tag; 0 without tokens."""
        return self._right / self._tokens if self._tokens else 0.0

    def _spans(self, tags: Sequence[str]) -> list[Span]:
        return spans(tags) if self.strict is None else well_formed(tags, self.strict)


def span_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], strict: str | None = None
) -> SpanScores:
    """The scores of a corpus, one sequence of tags a sentence; `strict` and errors as for `SpanScores`."""
    if len(gold) != len(predicted):
        raise ValueError(f"there must be one prediction a sentence, and there are {len(predicted)} for {len(gold)}")
    scores = SpanScores(strict)
    for row, guess in zip(gold, predicted, strict=True):
        scores.add(row, guess)
    return scores


def token_accuracy(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """The share of tokens with the right tag, of any tags (parts of speech, say); 0 without tokens.

    Raises:
        ValueError: sentences or tokens are not of the same number.
    """
    right = tokens = 0
    if len(gold) != len(predicted):
        raise ValueError(f"there must be one prediction a sentence, and there are {len(predicted)} for {len(gold)}")
    for at, (row, guess) in enumerate(zip(gold, predicted, strict=True)):
        if len(row) != len(guess):
            raise ValueError(f"sentence {at + 1} must have {len(row)} predicted tags, and has {len(guess)}")
        tokens += len(row)
        right += sum(a == b for a, b in zip(row, guess, strict=True))
    return right / tokens if tokens else 0.0
