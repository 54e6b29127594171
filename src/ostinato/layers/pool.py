"""Many steps become one: what a classifier reads of a sequence (lecture S1 section 5).

    last         y_n of a layer that reads from left to right; [→y_n; ←y_1] of two directions
    first_last   [y_1; y_n]
    mean         1/n Σ y_t
    max          max_t y_t, feature by feature
    max_mean     [max; mean]
    concat       [last; max; mean]                              (Howard & Ruder 2018)
    attention    Σ a_t y_t,   a = softmax_t(v · tanh(W y_t + b))     (Yang et al. 2016)

n is the row's own length. A backward layer has read the whole row at its FIRST step; at the last one it has seen one
word.
"""

import torch
from torch import Tensor, nn

from .. import tree
from ..registry import UnknownNameError, near
from .ragged import last

KINDS = ("last", "first_last", "mean", "max", "max_mean", "concat", "attention")
WIDER = {"first_last": 2, "max_mean": 2, "concat": 3}  # times d_in


class Pool(nn.Module):
    """y [B, T, d_in] -> [B, d_out], zeros for a row of length 0. What stands past a row's length changes nothing.

    Args:
        kind: see above.
        d_in: features of a step.
        directions: 2 where they are [forward; backward], as Bidirectional concatenates them; "last" and "concat" ask
            for it.

    Attributes:
        d_out: d_in, or twice that for "first_last" and "max_mean", or three times for "concat".

    Raises:
        ValueError: no kind has that name, or two directions do not share d_in evenly.
    """

    def __init__(self, kind: str, d_in: int, directions: int = 1) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UnknownNameError(f"no pooling is called {kind!r}{near(kind, KINDS)}")
        if directions not in (1, 2) or d_in % directions:
            raise ValueError(f"directions are 1 or 2 and share the {d_in} features evenly, and are {directions!r}")
        self.kind = kind
        self.directions = directions
        self.d_out = d_in * WIDER.get(kind, 1)
        self.scores = None
        if kind == "attention":
            self.scores = nn.Sequential(nn.Linear(d_in, d_in), nn.Tanh(), nn.Linear(d_in, 1, bias=False))

    def forward(self, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        """
        Args:
            y: [B, T, d_in] floating, T >= 1.
            lengths: [B] int64 in 0..T; None: all rows are T long.
        """
        y = tree.masked(y, lengths)  # NaN in the padding would survive a weight of zero
        match self.kind:
            case "last":
                return self._last(y, lengths)
            case "first_last":
                return torch.cat([y[:, 0], last(y, lengths)], dim=-1)
            case "mean":
                return _mean(y, lengths)
            case "max":
                return _max(y, lengths)
            case "max_mean":
                return torch.cat([_max(y, lengths), _mean(y, lengths)], dim=-1)
            case "concat":
                return torch.cat([self._last(y, lengths), _max(y, lengths), _mean(y, lengths)], dim=-1)
            case _:
                return (self.attend(y, lengths).unsqueeze(1) @ y).squeeze(1)

    def attend(self, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        """How much each step counts, [B, T]: a row sums to 1, and holds zeros only if its length is 0.

        Raises:
            ValueError: the kind is not "attention".
        """
        if self.scores is None:
            raise ValueError(f"{self.kind!r} pooling has no attention weights; make the Pool with kind 'attention'")
        scores = self.scores(tree.masked(y, lengths)).squeeze(-1)  # [B, T]
        if lengths is None:
            return scores.softmax(1)
        inside = torch.arange(y.shape[1], device=y.device) < lengths[:, None]
        # Not -inf: a row of length 0 would be NaN, and come back as NaN in gradients.
        return scores.masked_fill(~inside, torch.finfo(scores.dtype).min).softmax(1) * inside

    def _last(self, y: Tensor, lengths: Tensor | None) -> Tensor:
        if self.directions == 1:
            return last(y, lengths)
        there, back = y.chunk(2, dim=-1)
        return torch.cat([last(there, lengths), back[:, 0]], dim=-1)


def _mean(y: Tensor, lengths: Tensor | None) -> Tensor:
    return y.mean(1) if lengths is None else y.sum(1) / lengths.clamp(min=1)[:, None]


def _max(y: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is not None:
        past = torch.arange(y.shape[1], device=y.device) >= lengths[:, None].clamp(min=1)
        y = torch.where(past.unsqueeze(-1), torch.finfo(y.dtype).min, y)
    return y.max(1).values  # not amax, whose gradient compares all steps again to share it between equals
