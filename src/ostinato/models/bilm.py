"""Language models over whole documents, from left to right and from right to left, that share their embedding.

What a classifier starts from: one direction is Dai & Le 2015, two are the biLM of Peters et al. 2018 (ELMo).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.loss import IGNORED, linear_cross_entropy
from ..layers import Dropout
from ..layers.penalties import activation, silent, temporal
from ..recurrent import Recurrent
from .embedder import UNKNOWN, Embedder

_AT_ONCE = 4096  # tokens whose logits are held while a text is scored


class BiLM(nn.Module):
    """Direction d reads ids x[d] [B, T] and says p(target); the second direction reads documents from their ends.

    embedder -> body of the direction -> (dropout) -> (projection) -> softmax over the `answers` most frequent words;
    rarer ones are read as they are, and predicted as the unknown word. That keeps the softmax small: it is where most
    of the time goes, and the rarest words take most of it and teach least.

    Args:
        embedder: ids -> [B, T, width]; ids run from the most frequent word to the least.
        directions: one body, or two, each [B, T, width] -> [B, T, d_body], with no dropout at its end.
        d_body: features that each body gives.
        answers: K, at most the vocabulary.
        tied: the softmax uses the embedding's first K rows (Press & Wolf 2017), and a projection bridges widths.
        dropout: of what each body gives.
        activation, temporal: factors of AR and TAR, as `LanguageModel` has them.

    Raises:
        ValueError: neither one direction nor two, or K beyond the vocabulary.
    """

    def __init__(
        self,
        embedder: Embedder,
        directions: Sequence[Recurrent[Any]],
        d_body: int,
        answers: int,
        tied: bool = True,
        dropout: Dropout | None = None,
        activation: float = 0.0,
        temporal: float = 0.0,
    ) -> None:
        super().__init__()
        words, width = embedder.words.weight.shape
        if len(directions) not in (1, 2) or not UNKNOWN < answers <= words:
            raise ValueError(
                f"one direction or two, and {UNKNOWN + 1} to {words} answers were expected; got {len(directions)} and "
                f"{answers}"
            )
        self.activation, self.temporal = activation, temporal
        self.answers, self.tied = answers, tied
        self.embedder = embedder
        self.directions = nn.ModuleList(directions)
        self.dropout = dropout
        bridge = tied and d_body != width
        self.projections = nn.ModuleList(nn.Linear(d_body, width, bias=False) for _ in directions if bridge)
        self.heads = nn.ModuleList(nn.Linear(d_body, answers, bias=False) for _ in directions if not tied)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(answers)) for _ in directions)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return tuple(self._body(d).initial_state(batch) for d in range(len(self.directions)))

    def loss(
        self, x: Tensor, targets: Tensor, state: tuple[Any, ...] | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """(mean cross-entropy in nats over the targets of all directions that are not -100, the state after it).

        Args:
            x, targets: [D, B, T] int64; D is the number of directions.
            resets: [D, B, T] bool: a document begins at that step.
        """
        state = self.initial_state(x.shape[1]) if state is None else state
        counts = (targets != IGNORED).flatten(1).sum(1)
        losses, after = [], []
        for d in range(len(self.directions)):
            cuts = None if resets is None else resets[d]
            raw, last = self._body(d)(self.embedder(x[d]), state[d], None, cuts)
            dropped = raw if self.dropout is None else self.dropout(raw)[0]
            h, weight, bias = self._softmax(d, dropped)
            loss = linear_cross_entropy(h.flatten(0, 1), weight, bias, self._answer(targets[d]).flatten())
            if self.training and self.activation:
                loss = silent(loss, self.activation * activation(dropped))
            if self.training and self.temporal:
                loss = silent(loss, self.temporal * temporal(raw, None, cuts))
            losses.append(loss * counts[d])
            after.append(last)
        return torch.stack(losses).sum() / counts.sum().clamp(min=1), tuple(after)

    @torch.no_grad()
    def score(self, x: Tensor, targets: Tensor, lengths: Tensor) -> tuple[float, int]:
        """-log p in nats and the number of targets, summed over documents and directions.

        Each document is read from the initial state. x and targets [D, B, T] as for `loss`, padded; lengths [B].
        """
        nats, count = 0.0, 0
        for d in range(len(self.directions)):
            y, _ = self._body(d)(self.embedder(x[d], lengths), None, lengths)
            h, weight, bias = self._softmax(d, y)
            real = targets[d] != IGNORED
            wanted, h = self._answer(targets[d][real]), h[real]
            for some, answer in zip(h.split(_AT_ONCE), wanted.split(_AT_ONCE), strict=True):
                nats += float(F.cross_entropy(F.linear(some, weight, bias), answer, reduction="sum"))
            count += len(wanted)
        return nats, count

    def _body(self, d: int) -> Recurrent[Any]:
        body = self.directions[d]
        assert isinstance(body, Recurrent)
        return body

    def _softmax(self, d: int, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the softmax of a direction reads, its matrix and its bias."""
        h = self.projections[d](y) if len(self.projections) else y
        head = self.embedder.words.weight[: self.answers] if self.tied else self.heads[d].weight
        assert isinstance(head, Tensor)
        return h, head, self.biases[d]

    def _answer(self, ids: Tensor) -> Tensor:
        return ids.masked_fill(ids >= self.answers, UNKNOWN)
