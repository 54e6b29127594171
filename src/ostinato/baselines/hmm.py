"""A hidden Markov model over words: counted where the tags are known, and fitted by Baum-Welch where they are not.

Source: Rabiner, A Tutorial on Hidden Markov Models and Selected Applications in Speech Recognition, 1989.

    p(words, tags) = start[y_1] Π_t between[y_t, y_t+1] Π_t emission[y_t, w_t]

Its forward algorithm is that of a linear chain with the logarithms of these as scores, so it runs on the same scan. The
expected counts that Baum-Welch wants are the derivatives of log p(words) by the logarithms of the probabilities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..recurrences.chain import Chain, log_partition, reach
from ..recurrences.viterbi import viterbi

ROWS = 256  # of a batch; rows of like length share one
NONE = -1e29  # a logarithm below it is that of 0


@final
@dataclass(frozen=True, eq=False)
class HMM:
    """A categorical hidden Markov model of K tags and V words; all probabilities, float64.

    Rows are sequences of word numbers, each in 0..V-1, of any lengths, 0 too.
    """

    start: Tensor  # [K] of the first tag
    between: Tensor  # [K, K] [i, j]: of j after i
    emission: Tensor  # [K, V] of a word, given its tag

    @classmethod
    def random(cls, tags: int, words: int, seed: int = 0) -> "HMM":
        """Rows of probabilities drawn uniformly from all that there are: where Baum-Welch may begin."""
        source = torch.Generator().manual_seed(seed)
        drawn = (torch.empty(*shape, dtype=torch.float64).exponential_(generator=source) for shape in
                 ((tags,), (tags, tags), (tags, words)))  # fmt: skip
        return cls(*map(_shares, drawn))

    @classmethod
    def fit_counts(
        cls, rows: Sequence[Sequence[int]], tags: Sequence[Sequence[int]], sizes: tuple[int, int], k: float = 1.0
    ) -> "HMM":
        """Relative frequencies, with k added to every count.

        Args:
            rows: the words. tags: as many, each in 0..K-1.
            sizes: (K, V).
            k: 0 gives maximum likelihood; what nothing was counted for is then uniform.

        Raises:
            ValueError: a row has another number of tags than words, or a number is out of range.
        """
        for at, (row, labels) in enumerate(zip(rows, tags, strict=True)):
            if len(row) != len(labels):
                raise ValueError(f"row {at} must have a tag for each of its {len(row)} words, and has {len(labels)}")
        K, V = sizes
        words, found = _flat(rows, V, "words"), _flat(tags, K, "tags")
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        begins = torch.zeros(len(found), dtype=torch.bool)
        begins[(lengths.cumsum(0) - lengths)[lengths > 0]] = True
        after = (~begins).nonzero().squeeze(1)
        start = torch.bincount(found[begins], minlength=K)
        between = torch.bincount(found[after - 1] * K + found[after], minlength=K * K).view(K, K)
        emission = torch.bincount(found * V + words, minlength=K * V).view(K, V)
        return cls(*(_shares(counts.double() + k) for counts in (start, between, emission)))

    def fit(
        self, rows: Sequence[Sequence[int]], steps: int = 100, tolerance: float = 1e-4, k: float = 0.0
    ) -> tuple["HMM", list[float]]:
        """Baum-Welch from this model on: (the last model, log p of all rows before each step).

        Args:
            rows: at least one word in all.
            steps: at most so many.
            tolerance: it ends where log p grows by less than this share of itself.
            k: added to every expected count.
        """
        model, history = self, list[float]()
        for _ in range(steps):
            total, counts = model.expected(rows)
            history.append(total)
            if len(history) > 1 and total - history[-2] < tolerance * abs(total):
                break
            model = HMM(*(_shares(c + k) for c in counts))
        return model, history

    def expected(self, rows: Sequence[Sequence[int]]) -> tuple[float, tuple[Tensor, Tensor, Tensor]]:
        """log p of all rows, and how often each start, transition and emission is expected in them, given the words."""
        logs = tuple(part.log().requires_grad_() for part in (self.start, self.between, self.emission))
        counts, total = tuple(map(torch.zeros_like, logs)), 0.0
        for _, words, lengths in self._batches(rows):
            with torch.enable_grad():
                found = log_partition(logs[2].t()[words], self._chain(*logs[:2]), lengths).sum()
                slopes = torch.autograd.grad(found, logs)
            total += float(found.detach())
            counts = tuple(c + s for c, s in zip(counts, slopes, strict=True))
        return total, (counts[0], counts[1], counts[2])

    @torch.no_grad()
    def log_likelihood(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """log p(words) of each row, natural: [N] float64; -inf for what cannot be, 0 for an empty row."""
        found = torch.zeros(len(rows), dtype=torch.float64)
        for which, words, lengths in self._batches(rows):
            found[which] = log_partition(self._scores(words), self._chain(), lengths)
        return found.masked_fill(found < NONE, -torch.inf)

    def viterbi(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """The most probable tags of each row.

        Raises:
            ValueError: a row that no tags can give, or a word out of range.
        """
        found: list[list[int]] = [[] for _ in rows]
        for which, words, lengths in self._batches(rows):
            paths, worth = viterbi(self._scores(words), self._chain(), lengths)
            for at, path, size, score in zip(which, paths.tolist(), lengths.tolist(), worth.tolist(), strict=True):
                if score == -torch.inf:
                    raise ValueError(f"no tags can give row {at}; add k to the counts")
                found[at] = path[:size]
        return found

    def _scores(self, words: Tensor) -> Tensor:
        return self.emission.log().t()[words]  # [B, T, K]

    def _chain(self, start: Tensor | None = None, between: Tensor | None = None) -> Chain:
        start, between = (
            (self.start.log(), self.between.log()) if start is None or between is None else (start, between)
        )
        return Chain(start, between, torch.zeros_like(start), reach(between.detach() > -torch.inf))

    def _batches(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """(their numbers, words [B, T], lengths [B]) of rows of like length."""
        _flat(rows, self.emission.shape[1], "words")
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
        for first in range(0, len(order), ROWS):
            which = order[first : first + ROWS]
            lengths = torch.tensor([len(rows[at]) for at in which])
            words = torch.zeros(len(which), max(1, int(lengths.max())), dtype=torch.int64)
            for at, row in zip(which, words, strict=True):
                row[: len(rows[at])] = torch.as_tensor(rows[at], dtype=torch.int64)
            yield which, words, lengths


def _shares(counts: Tensor) -> Tensor:
    """Counts [..., n] as probabilities; uniform where there are none."""
    total = counts.sum(-1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=torch.finfo(counts.dtype).tiny), 1 / counts.shape[-1])


def _flat(rows: Sequence[Sequence[int]], size: int, name: str) -> Tensor:
    """All numbers, one row after the other; raises ValueError where one is not in 0..size-1."""
    found = torch.tensor([number for row in rows for number in row], dtype=torch.int64)
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < size:
        raise ValueError(f"{name} must lie in 0..{size - 1}, and reach from {int(found.min())} to {int(found.max())}")
    return found
