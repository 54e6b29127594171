"""Two directions over one sequence (Schuster & Paliwal 1997), lecture S3 section 2.3.5, S4 section 6.2.

→h_t reads x_1 .. x_t,  ←h_t reads x_T .. x_t,  y_t = [→h_t; ←h_t]
"""

from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from .. import tree
from ..recurrence import scans
from ..recurrent import Cell, Layer, Recurrent
from ..registry import UnknownNameError, near

MERGES = ("concat", "sum", "mean")


class BidirectionalState(NamedTuple):
    forward: Any  # of the layer that reads from left to right
    backward: Any  # of the layer that reads from right to left, after the row's first step


class Bidirectional(Layer):
    """x [B, T, D] -> y [B, T, 2H] (concat) or [B, T, H] (sum, mean).

    Two independent layers. The backward one reads each row from its own last valid step, and where resets cut a row
    into sequences, each of these from its own end. It sees the future, so there is no `step`.

    Args:
        forward, backward: two layers with parameters of their own.
        merge: "concat", "sum" or "mean".

    Raises:
        ValueError: no merge has that name, or both directions are one module. While reading: the widths that they give
            differ, so sum and mean cannot add them.
    """

    def __init__(self, forward: Recurrent[Any], backward: Recurrent[Any], merge: str = "concat") -> None:
        super().__init__()
        if merge not in MERGES:
            raise UnknownNameError(f"no merge is called {merge!r}{near(merge, MERGES)}")
        if forward is backward:
            raise ValueError("the two directions are independent: give two layers, not the same one twice")
        self.rightward = forward  # nn.Module has a method called forward
        self.leftward = backward
        self.merge = merge

    def initial_state(self, batch: int) -> BidirectionalState:
        return BidirectionalState(self.rightward.initial_state(batch), self.leftward.initial_state(batch))

    def scan(
        self, x: Tensor, state: BidirectionalState, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, BidirectionalState]:
        turned = reverse(x, lengths, resets)
        (there, after), (back, before) = self._both(x, turned, state, lengths, resets)
        back = reverse(back, lengths, resets)
        if self.merge == "concat":
            y = torch.cat([there, back], dim=-1)
        else:
            if there.shape != back.shape:
                raise ValueError(
                    f"merge {self.merge!r} adds two directions of one width, but the forward layer gives "
                    f"{list(there.shape)} and the backward one {list(back.shape)}; make them equal, or take 'concat'"
                )
            y = (there + back) / (2 if self.merge == "mean" else 1)
        return y, BidirectionalState(after, before)

    def _both(
        self, x: Tensor, turned: Tensor, state: BidirectionalState, lengths: Tensor | None, resets: Tensor | None
    ) -> list[tuple[Tensor, Any]]:
        """(y, state) of both directions: two cells at once, for a small batch leaves threads idle."""
        one, other = self.rightward, self.leftward
        if not (_plain(one) and _plain(other)):
            there = one.scan(x, state.forward, lengths, resets)
            return [there, other.scan(turned, state.backward, lengths, resets)]
        calls = [one.call(x, state.forward, lengths, resets), other.call(turned, state.backward, lengths, resets)]
        (there, after), (back, before) = scans(calls)
        return [(one.read(there, x, lengths), after), (other.read(back, turned, lengths), before)]


def _plain(layer: Layer) -> TypeGuard[Cell[Any]]:
    """Whether it is one scan of its recurrence."""
    return isinstance(layer, Cell) and type(layer).scan is Cell.scan


def reverse(x: Tensor, lengths: Tensor | None = None, resets: Tensor | None = None) -> Tensor:
    """Each sequence of x [B, T, ...] from its end to its start; what is past a row's length stays. Its own inverse."""
    if lengths is None and resets is None:
        return x.flip(1)
    steps = x.shape[1]
    t = torch.arange(steps, device=x.device).expand(x.shape[0], steps)  # [B, T]
    ends = t.new_full((x.shape[0], 1), steps) if lengths is None else lengths[:, None]
    first, end = torch.zeros_like(t), ends.expand(-1, steps)  # of the sequence that step t belongs to
    if resets is not None:
        first = torch.where(resets, t, 0).cummax(1).values
        # A sequence ends where the next one begins: the nearest reset to the right of t.
        later = torch.where(resets, t, steps).roll(-1, 1)
        later = torch.where(t == steps - 1, steps, later).flip(1).cummin(1).values.flip(1)
        end = torch.minimum(later, end)
    index = torch.where(t < ends, first + end - 1 - t, t)
    # Whole rows are copied, several times as fast as `gather` takes them number by number.
    rows = (index + steps * torch.arange(x.shape[0], device=x.device)[:, None]).flatten()
    return tree.permuted(x.flatten(0, 1), rows, rows).view(x.shape)
