"""Tagging by a hidden Markov model whose states are pairs of tags, or tags, with unknown words judged by their form.

Source: Brants, TnT: a Statistical Part-of-Speech Tagger, ANLP 2000.

    score(y) = Σ_t log p(y_t | y_t-1, y_t-2) + Σ_t log p(y_t | w_t) - log p(y_t)

By Bayes' rule the last two are log p(w_t | y_t) but for what does not depend on the tags. p(tag | word) is counted, and
drawn to what the form of the word says:

    p(tag | word) = (c(word, tag) + k p(tag | form)) / (c(word) + k)

The form is the word's shape (letters large or small, digits, signs) with ever longer endings, each drawn to the shorter
one in the same way, with a weight of 1. Forms are counted over rare words only.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..recurrences.chain import Chain
from ..recurrences.viterbi import viterbi

Floats = NDArray[np.float64]
Corpus = Sequence[tuple[Sequence[str], Sequence[str]]]  # words and tags of each sentence
KS = (0.1, 0.3, 1.0, 3.0)  # tried on the validation part
RARE = 10  # a word that occurs at most so often tells what unknown words are like
ROWS = 128
MOST_PAIRED = 40  # tags: the states are their square, and the weights between states the square of that


@final
@dataclass(eq=False)
class HMMTagger:
    """Counts of a tagged corpus; build it with `fit`.

    Attributes:
        tags: their names, in the order of their first occurrence.
        k: how much a word's form counts beside the word.
        order: how many tags before one tell of it: two, or one where there are more than MOST_PAIRED tags.
    """

    tags: list[str]
    k: float
    endings: int
    _words: dict[str, Floats]  # how often each word has each tag
    _forms: dict[str, Floats]  # the same of forms
    _share: Floats  # p(tag)
    _chain: Chain  # over pairs of tags, log p(tag | the two before), or over tags
    order: int
    _known: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def fit(cls, train: Corpus, valid: Corpus = (), k: float = 1.0, endings: int = 5) -> "HMMTagger":
        """Counts a corpus.

        Args:
            train: at least one word.
            valid: where it is given, k is the one of KS that tags it best.
            endings: of how many characters, at most.

        Raises:
            ValueError: no words, or a sentence has another number of tags than words.
        """
        for at, (words, tags) in enumerate(train):
            if len(words) != len(tags):
                raise ValueError(f"sentence {at + 1} must have a tag for each of {len(words)} words, has {len(tags)}")
        names = list(dict.fromkeys(tag for _, tags in train for tag in tags))
        if not names:
            raise ValueError("a tagger needs at least one tagged word to count, and got none")
        number = {name: at for at, name in enumerate(names)}
        words = _counted(((w, number[t]) for row, tags in train for w, t in zip(row, tags, strict=True)), len(names))
        forms = _counted(
            (
                (form, int(tag))
                for word, counts in words.items() if counts.sum() <= RARE
                for tag in np.repeat(np.arange(len(names)), counts.astype(int))
                for form in _forms(word, endings)
            ), len(names),
        )  # fmt: skip
        share = np.sum(list(words.values()), axis=0) / sum(c.sum() for c in words.values())
        order = 2 if len(names) <= MOST_PAIRED else 1
        chain = (_pairs if order == 2 else _singles)([[number[tag] for tag in tags] for _, tags in train], len(names))
        made = [cls(names, each, endings, words, forms, share, chain, order) for each in (KS if valid else (k,))]
        return max(made, key=lambda tagger: tagger.accuracy(valid)) if valid else made[0]

    def accuracy(self, corpus: Corpus) -> float:
        """The share of words that get the right tag; 0 without words."""
        found = self.predict([words for words, _ in corpus])
        pairs = [(a, b) for (_, tags), row in zip(corpus, found, strict=True) for a, b in zip(tags, row, strict=True)]
        return sum(a == b for a, b in pairs) / len(pairs) if pairs else 0.0

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The most probable tags of each sentence, one a word."""
        found: list[list[str]] = [[] for _ in sentences]
        order = sorted((at for at, row in enumerate(sentences) if row), key=lambda at: len(sentences[at]))
        K = len(self.tags)
        for first in range(0, len(order), ROWS):
            which = order[first : first + ROWS]
            lengths = torch.tensor([len(sentences[at]) for at in which])
            scores = torch.zeros(len(which), int(lengths.max()), K, dtype=torch.float32)
            for at, row in zip(which, scores, strict=True):
                row[: len(sentences[at])] = torch.from_numpy(np.stack([self._scores(w) for w in sentences[at]]))
            paths, _ = viterbi(scores.repeat(1, 1, K + 1 if self.order == 2 else 1), self._chain, lengths)
            for at, path, size in zip(which, paths.tolist(), lengths.tolist(), strict=True):
                found[at] = [self.tags[state % K] for state in path[:size]]
        return found

    def _scores(self, word: str) -> Floats:
        """log p(tag | word) - log p(tag) for every tag."""
        if (found := self._known.get(word)) is None:
            shares = self._share
            for form in _forms(word, self.endings):
                if (counts := self._forms.get(form)) is None:
                    break
                shares = _drawn(counts, shares, 1.0)
            if (counts := self._words.get(word)) is not None:
                shares = _drawn(counts, shares, self.k)
            elif (counts := self._words.get(word.lower())) is not None:
                shares = _drawn(counts, shares, 3 * self.k)
            found = self._known[word] = np.log(shares) - np.log(self._share)
        return found


def _drawn(counts: Floats, shares: Floats, k: float) -> Floats:
    return (counts + k * shares) / (counts.sum() + k)


def _counted(pairs: Iterator[tuple[str, int]], tags: int) -> dict[str, Floats]:
    found: defaultdict[str, Floats] = defaultdict(lambda: np.zeros(tags))
    for (name, tag), count in Counter(pairs).items():
        found[name][tag] += count
    return dict(found)


def _forms(word: str, endings: int) -> list[str]:
    """From the most general form to the most special one."""
    shape = _shape(word)
    return [shape, *(f"{shape} {word[-n:].lower()}" for n in range(1, min(endings, len(word)) + 1))]


def _shape(word: str) -> str:
    """What kinds of characters a word is made of: "Xx" for Vienna, "d-d" for 10-20."""
    kinds = ""
    for c in word:
        kind = "d" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() and c.isascii() else c
        kind = "z" if c.isalpha() and not c.isascii() else kind
        if not kinds.endswith(kind):
            kinds += kind
    return kinds[:6]


def _pairs(rows: list[list[int]], tags: int) -> Chain:
    """log p(c | a, b) as a chain over pairs: state a K + b, a = K before the first tag; interpolated as TnT does."""
    K = tags
    three, two, one = np.zeros((K + 1, K + 1, K)), np.zeros((K + 1, K)), np.zeros(K)
    for row in rows:
        a = b = K
        for c in row:
            three[a, b, c] += 1
            two[b, c] += 1
            one[c] += 1
            a, b = b, c
    with np.errstate(invalid="ignore", divide="ignore"):
        less = [(n - 1) / (n.sum(-1, keepdims=True) - 1) for n in (three, two, one)]
    ratios = np.stack([np.nan_to_num(np.broadcast_to(x, three.shape), posinf=0.0) for x in less])
    weights = np.array([three[ratios.argmax(0) == i].sum() for i in range(3)]) + 1.0
    weights /= weights.sum()
    shares = [n / np.maximum(n.sum(-1, keepdims=True), 1) for n in (three, two, one)]
    p = weights[0] * shares[0] + weights[1] * shares[1] + weights[2] * (one + 1) / (one + 1).sum()
    logs = np.log(p)
    size = (K + 1) * K
    between = np.full((size, size), -np.inf)
    for a in range(K + 1):
        for b in range(K):
            between[a * K + b, b * K : (b + 1) * K] = logs[a, b]
    start = np.full(size, -np.inf)
    start[K * K :] = logs[K, K]
    made: list[Tensor] = [torch.from_numpy(x).float() for x in (start, between, np.zeros(size))]
    return Chain(*made[:3], reach=3)


def _singles(rows: list[list[int]], tags: int) -> Chain:
    """log p(b | a) as a chain over tags, each share drawn to p(b) with a weight of 1."""
    start, between, one = np.zeros(tags), np.zeros((tags, tags)), np.ones(tags)
    for row in rows:
        for a, b in zip([None, *row], row, strict=False):
            (start if a is None else between[a])[b] += 1
            one[b] += 1
    one /= one.sum()
    shares = [(counts + one) / (counts.sum(-1, keepdims=True) + 1) for counts in (start, between)]
    made = [torch.from_numpy(np.log(x)).float() for x in (*shares, np.ones(tags))]
    return Chain(made[0], made[1], made[2])
