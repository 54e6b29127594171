"""Temporal convolutional network (Bai, Kolter & Koltun 2018): a rival of recurrent layers, not one of them.

    block l      y = relu(x' + d(relu(C2 d(relu(C1 x)))))      x' = x, or a linear map of it where the widths differ
    C            convolution over time, size k, dilation 2^l, weight-normalised; d dropout

An output sees 1 + 2 (k - 1)(2^L - 1) steps of L blocks: those up to its own (causal), or as many on both sides of it.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .. import tree
from .dropout import Drop
from .sequences import Stateless


class TCN(Stateless):
    """x [B, T, d_in] -> y [B, T, channels[-1]]. The state is ().

    It keeps no state from call to call, so it cannot stream. Sequences that resets cut a row into are read apart.

    Args:
        d_in: D.
        channels: features of each block; the dilation doubles from block to block.
        size: steps that a convolution sees; odd unless causal.
        dropout: share of the features that is zero while training, after each convolution.
        causal: an output sees no later step. Otherwise it sees both sides.
        normalised: weight normalisation, as published.

    Raises:
        ValueError: there is no block, or an even size has no centre.
    """

    def __init__(
        self,
        d_in: int,
        channels: Sequence[int],
        size: int = 3,
        dropout: float = 0.0,
        causal: bool = True,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("a TCN needs at least one block; give the channels of each, such as [128, 128]")
        if not causal and size % 2 == 0:
            raise ValueError(f"a filter that sees both sides is centred on a step, so its size is odd, and is {size}")
        widths = zip([d_in, *channels], channels, strict=False)
        self.blocks = nn.ModuleList(
            _Block(a, b, size, 2**i, dropout, causal, normalised) for i, (a, b) in enumerate(widths)
        )

    def read(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, lengths)
        return x


class _Block(nn.Module):
    def __init__(
        self, d_in: int, d_out: int, size: int, dilation: int, dropout: float, causal: bool, normalised: bool
    ) -> None:
        super().__init__()
        first = nn.Conv1d(d_in, d_out, size, dilation=dilation)
        second = nn.Conv1d(d_out, d_out, size, dilation=dilation)
        self.first, self.second = (weight_norm(first), weight_norm(second)) if normalised else (first, second)
        self.match = nn.Linear(d_in, d_out) if d_in != d_out else nn.Identity()
        self.dropout = Drop(dropout)
        reach = (size - 1) * dilation
        self.pad = (reach, 0) if causal else (reach // 2, reach // 2)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x [B, T, d_in], zero past each row's length -> [B, T, d_out], likewise."""
        y = x
        for convolution in (self.first, self.second):
            spread = nn.functional.pad(y.transpose(1, 2), self.pad)
            y = self.dropout(convolution(spread).transpose(1, 2).relu())
            # Its bias has filled the padding, which the next convolution would see from a row's last steps.
            y = tree.masked(y, lengths)
        return tree.masked((self.match(x) + y).relu(), lengths)
