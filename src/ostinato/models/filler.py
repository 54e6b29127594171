"""The word that stands at a blank: lecture S3 section 2.3.5, "The ___ sat on the mat." """

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.loss import linear_cross_entropy
from ..layers.dropout import Drop
from ..recurrent import Layer
from .embedder import Embedder


class Filler(nn.Module):
    """Word ids with blanks [B, T] -> the logits of the word at each blank.

    embedder -> body -> (projection) -> softmax. What a blank is filled by is read off where it stands: a body that
    reads from left to right has seen the words before it, a bidirectional one those on both sides.

    Args:
        embedder: ids -> [B, T, width].
        body: any Layer, [B, T, width] -> [B, T, d_body].
        d_body: features that the body gives.
        specials: so many ids, the first ones, are no words and are never the answer.
        tied: the softmax uses the embedding's matrix, and a projection bridges widths (Press & Wolf 2017).
        dropout: share of the features before the softmax that is zero while training.
    """

    def __init__(
        self, embedder: Embedder, body: Layer, d_body: int, specials: int, tied: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        words, width = embedder.words.weight.shape
        self.specials = specials
        self.embedder, self.body = embedder, body
        self.dropout = Drop(dropout)
        bridged = tied and d_body != width
        self.projection = nn.Linear(d_body, width, bias=False) if bridged else None
        self.head = None if tied else nn.Linear(d_body, words - specials, bias=False)
        self.bias = nn.Parameter(torch.zeros(words - specials))

    def forward(self, x: Tensor, blanks: Tensor, lengths: Tensor) -> Tensor:
        """Logits [N, words] of the N blanks, row by row from left to right; specials have -inf.

        Args:
            x: [B, T] int64. blanks: [B, T] bool, inside the rows. lengths: [B] int64.
        """
        h, weight = self._features(x, blanks, lengths)
        logits = F.linear(h, weight, self.bias)
        return torch.cat([logits.new_full((len(logits), self.specials), -torch.inf), logits], dim=-1)

    def loss(self, x: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
        """Mean cross-entropy in nats over the blanks; targets [B, T] int64 hold a word at each, and -100 elsewhere."""
        blanks = targets >= 0
        h, weight = self._features(x, blanks, lengths)
        return linear_cross_entropy(h, weight, self.bias, targets[blanks] - self.specials)

    def _features(self, x: Tensor, blanks: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the softmax reads at the blanks [N, width or d_body], and its matrix."""
        y, _ = self.body(self.embedder(x, lengths), None, lengths)
        h = self.dropout(y[blanks])
        h = h if self.projection is None else self.projection(h)
        weight = self.embedder.words.weight[self.specials :] if self.head is None else self.head.weight
        return h, weight
