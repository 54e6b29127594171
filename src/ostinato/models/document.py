"""Sentences as vectors, so that documents are read in two storeys: words make sentences, sentences the document.

Sources: hierarchical networks over words and sentences, Yang et al. 2016; labels of the sentences of abstracts,
Dernoncourt, Lee & Szolovits 2017, Jin & Szolovits 2018.
"""

import torch
from torch import Tensor, nn

from .. import tree
from ..layers import Pool
from ..layers.dropout import Drop
from ..recurrent import Layer
from .embedder import Embedder, spans


class Sentences(nn.Module):
    """Word ids of sentences [B, S, W] -> a vector for each sentence [B, S, d_out]: what a `Labeller` may read.

    embedder -> body -> pool -> dropout. A sentence without words is a vector of zeros.

    Args:
        embedder: ids -> [N, W, embedder.d_out].
        body: any Layer over words, -> [N, W, D].
        pool: [N, W, D] -> [N, pool.d_out].
        dropout: share of the vectors that is zero while training.

    Attributes:
        d_out: pool.d_out.
    """

    def __init__(self, embedder: Embedder, body: Layer, pool: Pool, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedder = embedder
        self.body = body
        self.pool = pool
        self.dropout = Drop(dropout)
        self.d_out = pool.d_out

    def drawn(self) -> str:
        """One box of a drawing, whose steps are sentences: what it reads within one has steps of its own."""
        return f"Sentences, {type(self.body).__name__} over their words -> {self.d_out}"

    def forward(self, x: Tensor, sentences: Tensor | None = None) -> Tensor:
        """A vector for each sentence, zeros past each document's last.

        Args:
            x: ids [B, S, W], 0 = padding on the right of each sentence; [B, S, W, 1 + C] with letters.
            sentences: [B] int64 in 0..S, how many each document has; None: all have S.

        Raises:
            ValueError: a shape, dtype, length or id does not fit.
        """
        axes = 3 if self.embedder.characters is None else 4
        if x.ndim != axes or x.dtype != torch.int64 or 0 in x.shape:
            wanted = "[B, S, W]" if axes == 3 else "[B, S, W, 1 + C]"
            raise ValueError(
                f"x must be int64 ids of sentences, {wanted}, no axis empty, and is {x.dtype} of shape {tuple(x.shape)}"
            )
        if sentences is not None and (sentences.dtype != torch.int64 or sentences.shape != x.shape[:1]):
            raise ValueError(
                f"sentences must be int64 of shape ({len(x)},), one a document, and are {sentences.dtype} of shape "
                f"{tuple(sentences.shape)}"
            )
        words = spans(tree.masked(x if axes == 3 else x[..., 0], sentences))  # [B, S]
        # Only sentences that hold a word are read, as rows of one batch that is no wider than the longest of them.
        held = words > 0
        vectors = self.embedder.words.weight.new_zeros(*held.shape, self.d_out)
        if not held.any():
            return vectors
        lengths = words[held]
        rows = x[held][:, : int(lengths.max())]
        y, _ = self.body(self.embedder(rows, lengths), None, lengths)
        return self.dropout(vectors.index_put((held,), self.pool(y, lengths).to(vectors.dtype)))
