"""Words as vectors: of the word itself, and of its letters, which know words that were never seen.

Sources: letters by a recurrent network, Ling et al. 2015, Lample et al. 2016; by a convolution, dos Santos & Zadrozny
2014, Ma & Hovy 2016; word dropout over the vocabulary, Gal & Ghahramani 2016; hashed pairs, Joulin et al. 2017.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import tree
from ..kernels.chance import dropout
from ..layers import Bidirectional, Pool
from ..layers.dropout import Drop
from ..recurrent import Recurrent

UNKNOWN = 1  # the vocabulary's second special word; the first, 0, is padding


class Characters(nn.Module, ABC):
    """Letters [N, C] int64, 0 = padding on the right -> one vector a word [N, d_out]."""

    d_out: int

    @abstractmethod
    def forward(self, letters: Tensor) -> Tensor: ...


class CharacterReader(Characters):
    """A cell reads each word from its left, another from its right; their last outputs stand side by side.

    Args:
        characters: how many different ids, padding included.
        width: of a letter's vector.
        hidden: H of each direction; d_out is 2H where the cell gives H features.
        cell: (d_in, hidden) -> a cell, such as the class LSTM.
        dropout: share of the letters' features that is zero while training.
    """

    def __init__(
        self, characters: int, width: int, hidden: int, cell: Callable[[int, int], Recurrent[Any]], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.letters = _embedding(characters, width)
        self.dropout = Drop(dropout)
        self.body = Bidirectional(cell(width, hidden), cell(width, hidden))
        self.d_out = 2 * hidden
        self.pool = Pool("last", self.d_out, directions=2)

    def forward(self, letters: Tensor) -> Tensor:
        lengths = spans(letters)
        y, _ = self.body(self.dropout(self.letters(letters)), None, lengths)
        return self.pool(y, lengths)


class CharacterConvolution(Characters):
    """A convolution over the letters of each word, and the maximum over its places.

    Args:
        characters: how many different ids, padding included.
        width: of a letter's vector.
        filters: d_out.
        size: letters that a filter sees, an odd number.
        dropout: share of the letters' features that is zero while training.

    Raises:
        ValueError: the size is even.
    """

    def __init__(self, characters: int, width: int, filters: int, size: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"a filter is centred on a letter, so its size is odd, and is {size}")
        self.letters = _embedding(characters, width)
        self.dropout = Drop(dropout)
        self.convolution = nn.Conv1d(width, filters, size, padding=size // 2)
        self.d_out = filters
        self.pool = Pool("max", filters)

    def forward(self, letters: Tensor) -> Tensor:
        # Padding has the vector zero, as what the convolution adds at both ends: a word does not see its neighbours.
        y = self.convolution(self.dropout(self.letters(letters)).transpose(1, 2)).transpose(1, 2)
        return self.pool(y, spans(letters))


class Embedder(nn.Module):
    """Word ids -> vectors [B, T, d_out].

    x is int64 [B, T]; with `characters` it is [B, T, 1 + C]: the word, then its letters, 0 where there are fewer.
    Each different word of a batch is spelt once.

    Args:
        words: the vocabulary's size. Word 0 is padding and has the vector zero; word 1 is the unknown word.
        width: of a word's vector.
        characters: CharacterReader or CharacterConvolution; None: words only.
        word_dropout: share of the vocabulary whose vectors are zero in a training batch.
        unknown_dropout: chance of each word to be read as the unknown one while training, so that this one is learnt;
            its letters stay. One number, or [words] with one a word: for rare words only.
        pairs: rows of a second table, whose vector for a word and the one before it is added to the word's; a hash says
            which row a pair has. It begins at zero, so that a pair that was never seen says nothing. 0: no such table.

    Attributes:
        d_out: width, and the letters' d_out if they are read.
        words: the nn.Embedding, to be filled with pretrained vectors.

    Raises:
        ValueError: a chance lies outside [0, 1), or there is not one for each word.
    """

    def __init__(
        self,
        words: int,
        width: int,
        *,
        characters: Characters | None = None,
        word_dropout: float = 0.0,
        unknown_dropout: float | Tensor = 0.0,
        pairs: int = 0,
    ) -> None:
        super().__init__()
        if pairs < 0 or pairs == 1:
            raise ValueError(f"pairs is 0, or the rows of a table of 2 or more, and is {pairs}")
        self.words = _embedding(words, width)
        self.pairs = None
        if pairs:
            self.pairs = nn.Embedding(pairs, width, padding_idx=0)
            nn.init.zeros_(self.pairs.weight)
        self.characters = characters
        self.word_dropout = word_dropout
        chances = torch.as_tensor(unknown_dropout, dtype=torch.float32)
        if chances.shape not in (torch.Size(), (words,)):
            raise ValueError(f"unknown_dropout is one number or {words}, one a word, and has {tuple(chances.shape)}")
        if not 0 <= word_dropout < 1 or not ((chances >= 0) & (chances < 1)).all():
            raise ValueError("a chance to drop lies from 0 up to but not including 1; give such ones")
        # Of training only: it is no part of the model that is saved.
        self.register_buffer("unknown_dropout", chances, persistent=False)
        self.d_out = width + (0 if characters is None else characters.d_out)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """
        Args:
            x: as above. What stands past a row's length is read as padding, whatever it is.
            lengths: [B] int64 in 0..T.

        Raises:
            ValueError: a shape, dtype, length or id does not fit.
        """
        self._check(x, lengths)
        x = tree.masked(x, lengths)
        try:
            if self.characters is None:
                return self._look_up(x)
            return torch.cat([self._look_up(x[..., 0]), self._spelt(x[..., 1:], self.characters)], dim=-1)
        except IndexError as error:
            raise ValueError(
                f"an id lies outside the vocabulary: words 0..{self.words.num_embeddings - 1} were expected, and the "
                f"ids reach from {int(x.min())} to {int(x.max())}; encode with the vocabulary of this model"
            ) from error

    def drawn(self) -> str:
        """One box of a drawing: its tables stand side by side."""
        more = ", pairs" * (self.pairs is not None) + ", letters" * (self.characters is not None)
        return f"Embedding {self.words.num_embeddings} words{more} -> {self.d_out}"

    def _look_up(self, ids: Tensor) -> Tensor:
        if not self.training:
            return self._summed(ids)
        chances = self.get_buffer("unknown_dropout")
        if chances.any():
            chance = chances[ids] if chances.ndim else chances.expand(ids.shape)
            ids = ids.masked_fill(chance.bernoulli().bool() & (ids != 0), UNKNOWN)
        return self._summed(ids)

    def _summed(self, ids: Tensor) -> Tensor:
        vectors = self._rows(self.words, ids)
        return (
            vectors if self.pairs is None else vectors + self._rows(self.pairs, hashed(ids, self.pairs.num_embeddings))
        )

    def _rows(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        vectors = table(ids)
        if not (self.training and self.word_dropout):
            return vectors
        kept = dropout(torch.ones_like(table.weight[:, :1]), self.word_dropout)
        return vectors * F.embedding(ids, kept)

    def _spelt(self, letters: Tensor, characters: Characters) -> Tensor:
        different, which = letters.flatten(0, -2).unique(dim=0, return_inverse=True)
        # Letters past the longest word of the batch cost time and change nothing.
        different = different[:, : max(1, int(spans(different).max()))]
        return characters(different)[which].unflatten(0, letters.shape[:-1])

    def _check(self, x: Tensor, lengths: Tensor | None) -> None:
        wanted = "[B, T] int64" if self.characters is None else "[B, T, 1 + C] int64, each word followed by its letters"
        axes = 2 if self.characters is None else 3
        if x.dtype != torch.int64 or x.ndim != axes or 0 in x.shape or (axes == 3 and x.shape[2] < 2):
            raise ValueError(f"x must be ids {wanted}, no axis empty, and is {x.dtype} of shape {tuple(x.shape)}")
        if lengths is None:
            return
        if lengths.dtype != torch.int64 or lengths.shape != x.shape[:1]:
            raise ValueError(
                f"lengths must be int64 of shape ({len(x)},), one a row, and are {lengths.dtype} of shape "
                f"{tuple(lengths.shape)}"
            )
        if not 0 <= int(lengths.min()) <= int(lengths.max()) <= x.shape[1]:
            raise ValueError(
                f"lengths must lie in 0..{x.shape[1]}, the padded length, and reach from {int(lengths.min())} to "
                f"{int(lengths.max())}"
            )


def hashed(ids: Tensor, rows: int) -> Tensor:
    """For each of the ids [B, T] the number, 1 .. rows - 1, of the pair that it ends; 0 for padding."""
    before = F.pad(ids[:, :-1], (1, 0))
    # A prime far above any vocabulary: pairs that are near each other lie apart.
    return torch.where(ids == 0, 0, (before * 15_485_863 + ids) % (rows - 1) + 1)


def spans(ids: Tensor) -> Tensor:
    """How long each row of ids [..., T] is up to its last one that is not 0, [...] int64."""
    places = torch.arange(1, ids.shape[-1] + 1, device=ids.device)
    return (places * (ids != 0)).amax(-1)


def _embedding(count: int, width: int) -> nn.Embedding:
    made = nn.Embedding(count, width, padding_idx=0)
    nn.init.uniform_(made.weight, -0.1, 0.1)
    with torch.no_grad():
        made.weight[0] = 0
    return made
