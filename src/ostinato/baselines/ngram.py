"""Count-based language models: the unigram model, and modified Kneser-Ney.

Source: Chen & Goodman, An Empirical Study of Smoothing Techniques for Language Modeling, TR-10-98, Harvard 1998
(interpolated modified Kneser-Ney); Kneser & Ney, Improved Backing-off for M-gram Language Modeling, 1995.

For a context h and a word w, with h' = h without its oldest token, at each order n:

    p_n(w | h) = (c(h w) - D(c(h w))) / sum_v c(h v)  +  g(h) p_{n-1}(w | h')        p_0(w) = 1 / V
    g(h)       = sum_v D(c(h v)) / sum_v c(h v)                                      1 if nothing ever followed h
    D(0) = 0,   D(1) = D1 = 1 - 2 Y n2/n1,   D(2) = D2 = 2 - 3 Y n3/n2,   D(3 or more) = D3 = 3 - 4 Y n4/n3
    Y = n1 / (n1 + 2 n2),   n_r = how many n-grams have c = r

c counts occurrences at the highest order; below it c(h w) is the number of different tokens that precede `h w`.

Glossary: N tokens in a text, V words in the vocabulary, U_n different n-grams of order n (U_0 = 1, the empty one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Unigram:
    """p(w) = (c(w) + 1) / (N + V): relative frequency with add-one (Laplace) smoothing; the context is ignored."""

    counts: Ids  # [V] how often each word occurs in the fitted text

    @classmethod
    def fit(cls, ids: ArrayLike, vocabulary: int) -> "Unigram":
        """Count the words of `ids`: integers [N], N >= 1, in 0 .. vocabulary - 1. Raises ValueError for others."""
        return cls(np.bincount(_checked(ids, vocabulary, least=1), minlength=vocabulary))

    @property
    def parameters(self) -> int:
        """How many different words the fitted text has."""
        return int(np.count_nonzero(self.counts))

    def log_probs(self, ids: ArrayLike) -> Floats:
        """Natural logarithm of p(ids[t]) for every t: float64 [N]. Raises ValueError as `fit` does, but N may be 0."""
        return np.log(self.distribution())[_checked(ids, len(self.counts))]

    def distribution(self, context: Sequence[int] = ()) -> Floats:
        """p(w) for every word w of the vocabulary, float64 [V], whatever the context. Sums to 1."""
        return (self.counts + 1.0) / (self.counts.sum() + len(self.counts))


class Level(NamedTuple):
    """The n-grams of one order n. An n-gram is known by its rank in `keys`."""

    keys: Ids  # [U_n] ascending: rank of the first n - 1 tokens among the (n-1)-grams * V + last token
    share: Floats  # [U_n] (c - D(c)) / sum of c over the context
    weight: Floats  # [U_{n-1}] g of each context: what the order below is multiplied with


@final
@dataclass(frozen=True, eq=False)
class KneserNey:
    """Interpolated modified Kneser-Ney over one contiguous stream of tokens; build it with `fit`.

    The stream has no padding: an end-of-sentence token is a token like any other, contexts reach across it, and the
    first tokens of a stream are predicted by the orders that fit (the first one by order 1).
    """

    vocabulary: int  # V
    discounts: Floats  # [order, 3] the D1, D2, D3 in use; row n - 1 belongs to order n
    levels: tuple[Level, ...]  # the n-grams of orders 1 .. order

    @classmethod
    def fit(cls, ids: ArrayLike, vocabulary: int, order: int = 5, discounts: ArrayLike | None = None) -> "KneserNey":
        """Count the n-grams of a text and smooth them.

        Args:
            ids: integers [N], N >= 1, the text as one stream; each id in 0 .. vocabulary - 1.
            vocabulary: V.
            order: length of the longest n-gram, at least 1; the context is at most order - 1 tokens.
            discounts: None estimates D1, D2, D3 for each order from n1 .. n4. Or fixed values with 0 <= Dk <= k: shape
                [3] for all orders or [order, 3], row n - 1 for order n. (D, D, D) is the original, single-discount
                Kneser-Ney. A zero gives up the promise that every word has a probability above zero.

        Raises ValueError for an order below 1, and for ids or discounts other than these.

        Notes: on a small text (and for characters at order 1) one of n1 .. n4 may be 0, or an estimate may come out at
        or below 0. That order then takes D1, D2, D3 = 0.5, 1, 1.5 instead, all three.
        """
        if order < 1:
            raise ValueError(f"order must be at least 1, but it is {order}; 1 is a model without context")
        ids = _checked(ids, vocabulary, least=1)
        fixed = None if discounts is None else _checked_discounts(discounts, order)
        tables: list[tuple[Ids, Ids]] = []  # keys and counts of each order
        ranks = np.zeros(len(ids) + 1, np.int64)  # of the (n-1)-gram that begins at each position
        for n in range(1, order + 1):
            packed = ranks[:-1] * vocabulary + ids[n - 1 :]
            keys, first, inverse, counts = np.unique(packed, return_index=True, return_inverse=True, return_counts=True)
            if n > 1:
                # Every n-gram is one (preceding token, (n-1)-gram) pair, and that (n-1)-gram begins one token later.
                tables[-1] = (tables[-1][0], np.bincount(ranks[first + 1], minlength=len(tables[-1][0])))
            tables.append((keys, counts))
            ranks = inverse
        used = np.stack([_estimate(counts) for _, counts in tables]) if fixed is None else fixed
        sizes = [1, *(len(keys) for keys, _ in tables)]
        levels = [_level(*tables[n], vocabulary, sizes[n], used[n]) for n in range(order)]
        return cls(vocabulary, used, tuple(levels))

    @property
    def parameters(self) -> int:
        """How many n-grams are stored: the different ones of the fitted text, of all orders 1 .. order together."""
        return sum(len(level.keys) for level in self.levels)

    def log_probs(self, ids: ArrayLike) -> Floats:
        """Natural logarithm of p(ids[t] | up to order - 1 tokens before t in `ids`) for every t: float64 [N].

        Position 0 has no context. Raises ValueError as `fit` does, but N may be 0.
        """
        ids = _checked(ids, self.vocabulary)
        p = np.full(len(ids), 1.0 / self.vocabulary)
        ranks = np.zeros(len(ids) + 1, np.int64)  # of the (n-1)-gram that begins at each position, -1 if it is unknown
        for n, level in enumerate(self.levels):
            context, reached = ranks[:-1], p[n:]
            reached[context >= 0] *= level.weight[context[context >= 0]]
            ranks = _find(level.keys, context * self.vocabulary + ids[n:])
            reached[ranks >= 0] += level.share[ranks[ranks >= 0]]
        with np.errstate(divide="ignore"):  # fixed discounts of zero may give a probability of zero
            return np.log(p)

    def distribution(self, context: Sequence[int] = ()) -> Floats:
        """p(w | context) for every word w of the vocabulary: float64 [V], sums to 1.

        Only the last order - 1 tokens of `context` count; it may be shorter. Raises ValueError as `log_probs` does.
        """
        tokens = _checked(context, self.vocabulary)
        p = np.full(self.vocabulary, 1.0 / self.vocabulary)
        ranks = np.zeros(len(tokens) + 1, np.int64)
        for n, level in enumerate(self.levels[: len(tokens) + 1]):
            if ranks[-1] < 0:
                break  # a longer context that ends in this one is unknown too
            first = ranks[-1] * self.vocabulary
            low, high = np.searchsorted(level.keys, (first, first + self.vocabulary))
            p *= level.weight[ranks[-1]]
            p[level.keys[low:high] - first] += level.share[low:high]
            ranks = _find(level.keys, ranks[:-1] * self.vocabulary + tokens[n:])
        return p


def _level(keys: Ids, counts: Ids, vocabulary: int, contexts: int, discounts: Floats) -> Level:
    context = keys // vocabulary
    discount = np.concatenate(([0.0], discounts))[np.minimum(counts, 3)]
    total = np.bincount(context, counts, contexts)
    # A context without a counted follower (the end of the text, or its beginning below the highest order) says nothing.
    weight = np.where(total > 0, np.bincount(context, discount, contexts) / np.maximum(total, 1), 1.0)
    return Level(keys, (counts - discount) / np.maximum(total, 1)[context], weight)


def _estimate(counts: Ids) -> Floats:
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        estimated = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if estimated.min() > 0:
            return estimated
    return np.array([0.5, 1.0, 1.5])


def _find(keys: Ids, wanted: Ids) -> Ids:
    """The rank in ascending `keys` of each wanted key, -1 where it is absent (as every negative key is)."""
    if len(keys) == 0:
        return np.full(len(wanted), -1)
    rank = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[rank] == wanted, rank, -1)


def _checked(given: ArrayLike, vocabulary: int, least: int = 0) -> Ids:
    ids = np.asarray(given)
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
        raise ValueError(f"ids must be integers of shape [N], but they are {ids.dtype} of shape {list(ids.shape)}")
    if len(ids) < least:
        raise ValueError("ids must hold at least one token to fit a model to, but they are empty; pass a text")
    if len(ids) and not 0 <= ids.min() <= ids.max() < vocabulary:
        raise ValueError(
            f"ids must lie in 0 .. {vocabulary - 1}, but they reach from {ids.min()} to {ids.max()}; "
            "fit with a larger vocabulary or map unknown words to a known id"
        )
    return ids.astype(np.int64, copy=False)


def _checked_discounts(discounts: ArrayLike, order: int) -> Floats:
    given = np.asarray(discounts, np.float64)
    if given.shape not in ((3,), (order, 3)) or not ((given >= 0) & (given <= (1, 2, 3))).all():
        raise ValueError(
            f"discounts must have shape [3] or [{order}, 3] with 0 <= Dk <= k, but they are {given.tolist()}; "
            "pass None to estimate them"
        )
    return np.broadcast_to(given, (order, 3))
