"""What is asked of a sequence: one class, several labels, or a tag for every step.

A head reads what an encoder gave, [B, T, D], scores, and turns scores into a loss and into decisions. Losses are means
over ROWS, so that several heads, and several processes, add up.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import tree
from .._torch import buffer
from ..layers import CRF, Pool
from ..layers.dropout import Drop


class Decision(NamedTuple):
    """What a head says of one row, and how sure it is (a probability)."""

    ids: list[int]  # one class; labels that apply; one tag a step
    confidence: list[float]  # of each of them


class Head(nn.Module, ABC):
    """Scores, loss and decisions of one question."""

    linear: nn.Linear  # the last map: features -> scores
    asks = "classes"  # what the scores are of
    pooled = True  # one answer a row, not one a step

    @abstractmethod
    def forward(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Scores: [B, C] of a row, or [B, T, C] of its steps. y [B, T, D], lengths [B] int64."""

    @abstractmethod
    def loss(self, scores: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Mean over rows of the negative log-likelihood in nats."""

    @abstractmethod
    def decide(self, scores: Tensor, lengths: Tensor) -> list[Decision]:
        """The best answer for each row."""

    @abstractmethod
    def nbest(self, scores: Tensor, lengths: Tensor, n: int) -> list[list[Decision]]:
        """Up to n answers for each row, the best first; the confidence is each answer's own probability."""


class Heads(nn.ModuleDict):
    """Heads by name, side by side over the same features.

    Args:
        heads: name -> what is asked.
        weights: name -> how much a head's loss counts; 1 where it is not named.
        learned: the weights are learnt instead: Σ_h exp(-s_h) L_h + s_h (Kendall et al. 2018, eq. 10, for classes).
    """

    def __init__(self, heads: Mapping[str, Head], weights: Mapping[str, float] | None, learned: bool) -> None:
        super().__init__(heads)
        self.weights = {name: (weights or {}).get(name, 1.0) for name in heads}
        self.log_variance = nn.Parameter(torch.zeros(len(heads))) if learned else None  # s of each head

    @classmethod
    def refuses(cls, name: str) -> bool:
        """Whether no head can have that name: its own attributes have it, or it is none."""
        return not name or "." in name or hasattr(cls, name) or name in ("weights", "log_variance")

    def sum(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the heads' losses."""
        if self.log_variance is None:
            return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        s = dict(zip(self, self.log_variance, strict=True))
        return torch.stack([(-s[name]).exp() * loss + s[name] for name, loss in losses.items()]).sum()

    @property
    def pooled(self) -> bool:
        """Whether every answer is one a row."""
        return all(head.pooled for head in self.values() if isinstance(head, Head))

    def drawn(self) -> str:
        """One box of a drawing, for they stand side by side."""
        heads = {name: head for name, head in self.items() if isinstance(head, Head)}
        return "Heads " + ", ".join(f"{name} -> {head.linear.out_features} {head.asks}" for name, head in heads.items())


class ClassHead(Head):
    """One of C classes: pool -> dropout -> linear -> softmax.

    Args:
        pool: [B, T, D] -> [B, pool.d_out].
        classes: C.
        dropout: share of the pooled features that is zero while training.
        weights: [C] float: how much each class counts in the loss; None: all alike.
        smoothing: share of the target that goes to all classes alike (Szegedy et al. 2016).
    """

    def __init__(
        self, pool: Pool, classes: int, dropout: float = 0.0, weights: Tensor | None = None, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.pool = pool
        self.linear = _linear(pool.d_out, classes)
        self.dropout = Drop(dropout)
        self.smoothing = smoothing
        self.register_buffer("class_weights", weights, persistent=False)  # of training only

    def forward(self, y: Tensor, lengths: Tensor) -> Tensor:
        return self.linear(self.dropout(self.pool(y, lengths)))

    def loss(self, scores: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        weight = buffer(self, "class_weights")
        each = F.cross_entropy(_wide(scores), target, weight, reduction="none", label_smoothing=self.smoothing)
        return each.mean()

    def decide(self, scores: Tensor, lengths: Tensor) -> list[Decision]:
        sure, best = scores.double().softmax(-1).max(-1)
        return [Decision([i], [p]) for i, p in zip(best.tolist(), sure.tolist(), strict=True)]

    def nbest(self, scores: Tensor, lengths: Tensor, n: int) -> list[list[Decision]]:
        sure, best = scores.double().softmax(-1).topk(min(n, scores.shape[-1]), dim=-1)
        return [
            [Decision([i], [p]) for i, p in zip(*row, strict=True)]
            for row in zip(best.tolist(), sure.tolist(), strict=True)
        ]


class LabelsHead(Head):
    """Any number of C labels: pool -> dropout -> linear -> a sigmoid for each; target [B, C] of 0 and 1.

    Args: as for `ClassHead`; `weights` [C] multiply the loss where the label applies. threshold: a label applies from
        this probability on.
    """

    asks = "labels"

    def __init__(
        self, pool: Pool, labels: int, dropout: float = 0.0, weights: Tensor | None = None, threshold: float = 0.5
    ) -> None:
        super().__init__()
        self.pool = pool
        self.linear = _linear(pool.d_out, labels)
        self.dropout = Drop(dropout)
        self.threshold = threshold
        self.register_buffer("label_weights", weights, persistent=False)

    def forward(self, y: Tensor, lengths: Tensor) -> Tensor:
        return self.linear(self.dropout(self.pool(y, lengths)))

    def loss(self, scores: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        weight, scores = buffer(self, "label_weights"), _wide(scores)
        return (
            F.binary_cross_entropy_with_logits(scores, target.to(scores.dtype), pos_weight=weight, reduction="none")
            .sum(-1)
            .mean()
        )

    def decide(self, scores: Tensor, lengths: Tensor) -> list[Decision]:
        decisions = []
        for row in scores.double().sigmoid().tolist():
            chosen = [i for i, p in enumerate(row) if p >= self.threshold]
            decisions.append(Decision(chosen, [row[i] for i in chosen]))
        return decisions

    def nbest(self, scores: Tensor, lengths: Tensor, n: int) -> list[list[Decision]]:
        """The n likeliest labels, each by itself."""
        sure, best = scores.double().sigmoid().topk(min(n, scores.shape[-1]), dim=-1)
        return [
            [Decision([i], [p]) for i, p in zip(*row, strict=True)]
            for row in zip(best.tolist(), sure.tolist(), strict=True)
        ]


class TagHead(Head):
    """A tag for every step: dropout -> linear -> softmax of each step, or a conditional random field over all.

    Args:
        d_in: D. tags: K.
        crf: CRF(K); None: each step by itself.
        dropout: share of the features that is zero while training.
        length: the mean length of the rows that are learnt. A row's loss, a sum over its steps, is divided by it: so
            it is of the size of a step's loss whatever the rows are, and still a mean over rows.
    """

    asks, pooled = "tags", False

    def __init__(self, d_in: int, tags: int, crf: CRF | None = None, dropout: float = 0.0, length: float = 1.0) -> None:
        super().__init__()
        self.dropout = Drop(dropout)
        self.linear = _linear(d_in, tags)
        self.crf = crf
        self.length = length

    def forward(self, y: Tensor, lengths: Tensor) -> Tensor:
        return tree.masked(self.linear(self.dropout(y)), lengths)

    def loss(self, scores: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        scores = tree.masked(_wide(scores), lengths)
        if self.crf is not None:
            return self.crf.loss(scores, target, lengths) / self.length
        each = F.cross_entropy(scores.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        return tree.masked(each, lengths).sum() / (len(scores) * self.length)

    def decide(self, scores: Tensor, lengths: Tensor) -> list[Decision]:
        scores = _wide(scores)
        if self.crf is not None:
            sure = self.crf.marginals(scores, lengths)
            paths = self.crf.decode(scores, lengths)
        else:
            sure = scores.softmax(-1)
            paths = [row[:n] for row, n in zip(scores.argmax(-1).tolist(), lengths.tolist(), strict=True)]
        found = []
        for path, row in zip(paths, sure.tolist(), strict=True):
            found.append(Decision(list(path), [row[t][tag] for t, tag in enumerate(path)]))
        return found

    def nbest(self, scores: Tensor, lengths: Tensor, n: int) -> list[list[Decision]]:
        """The n likeliest whole sequences by the CRF; each step carries the probability of the sequence."""
        if self.crf is None:
            raise ValueError(
                "n-best sequences of tags need a CRF, and this head tags each step by itself; train with crf = true"
            )
        ranked = self.crf.nbest(_wide(scores), n, lengths)
        return [[Decision(list(path), [math.exp(p)] * len(path)) for path, p in row] for row in ranked]


def _wide(scores: Tensor) -> Tensor:
    """Scores in float32 at least: bfloat16 is too coarse for sums of exponentials."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _linear(d_in: int, d_out: int) -> nn.Linear:
    made = nn.Linear(d_in, d_out)
    nn.init.zeros_(made.bias)
    return made
