"""A Transformer encoder (Vaswani et al. 2017) with the normalisation before each part (Xiong et al. 2020).

    x_0 = √width · W x + p_t
    a = x + Attention(LN(x)),   x' = a + W_2 relu(W_1 LN(a)),   y = LN(x_L)

A rival of recurrent layers under the same recipe, not one of them.

Notes:
    torch's fast attention has no second derivatives and no vmap; both work within
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import tree
from ..registry import UnknownNameError, near
from .dropout import Drop
from .sequences import Stateless

POSITIONS = ("sinusoidal", "learned")


class TransformerEncoder(Stateless):
    """x [B, T, d_in] -> y [B, T, width]; each step sees all steps of its row. The state is ().

    It keeps no state from call to call, so it cannot stream. Sequences that resets cut a row into are read apart.

    Args:
        d_in: D.
        width: features within, a multiple of heads.
        layers: how many.
        heads: of the attention.
        hidden: W_1's outputs; None: 4 width.
        dropout: share that is zero while training: of the sum with positions, of the hidden features, and of what each
            part adds. Not of the attention weights, as published: torch's fast attention on a CPU takes none there,
            and its slow one took six times as long for 16 rows of 400 steps.
        positions: "sinusoidal" or "learned".
        longest: T that learned positions reach to.

    Raises:
        ValueError: the heads do not share the width evenly, or no positions have that name. While reading: T is past
            the learned positions.
    """

    def __init__(
        self,
        d_in: int,
        width: int,
        layers: int = 2,
        heads: int = 4,
        hidden: int | None = None,
        dropout: float = 0.0,
        positions: str = "sinusoidal",
        longest: int = 512,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the heads share the width evenly: {width} features do not go into {heads} heads")
        if positions not in POSITIONS:
            raise UnknownNameError(f"no positions are called {positions!r}{near(positions, POSITIONS)}")
        self.width = width
        self.project = nn.Linear(d_in, width)
        self.places = nn.Parameter(torch.randn(longest, width) * 0.02) if positions == "learned" else None
        self.dropout = Drop(dropout)
        self.parts = nn.ModuleList(_Part(width, heads, hidden or 4 * width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def read(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        y = self.dropout(self.project(x) * math.sqrt(self.width) + self._positions(x.shape[1], x))
        seen = None
        if lengths is not None:
            # A row of length 0 looks at its first step: at nothing, its softmax would be NaN.
            steps = torch.arange(x.shape[1], device=x.device)
            seen = (steps < lengths.clamp(min=1)[:, None])[:, None, None]  # [B, 1, 1, T]
        for part in self.parts:
            y = part(y, seen)
        return tree.masked(self.norm(y), lengths)

    def _positions(self, steps: int, x: Tensor) -> Tensor:
        if self.places is None:
            return sinusoids(steps, self.width, x)
        if steps > len(self.places):
            raise ValueError(
                f"{len(self.places)} positions are learned and the sequences have {steps} steps; cut them, "
                "or take sinusoidal positions"
            )
        return self.places[:steps]


class _Part(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        drop = Drop(dropout)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), drop, nn.Linear(hidden, width))
        self.dropout = drop

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        mixed = self.queries_keys_values(self.before_attention(x))
        q, k, v = mixed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, T, width / heads]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = x + self.dropout(self.out(found.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.hidden(self.before_hidden(x)))


def sinusoids(steps: int, width: int, like: Tensor) -> Tensor:
    """p[t, 2i] = sin(t / 10000^(2i / width)), p[t, 2i + 1] = cos of the same: [steps, width], dtype as `like`."""
    t = torch.arange(steps, device=like.device, dtype=torch.float64)[:, None]
    i = torch.arange(width, device=like.device)
    angles = t / 10000 ** ((i - i % 2) / width)
    return torch.where(i % 2 == 0, angles.sin(), angles.cos()).to(like.dtype)
