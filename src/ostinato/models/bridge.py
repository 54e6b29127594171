"""From the state in which an encoder ends to the one in which a decoder begins."""

from typing import Any

import torch
from torch import Tensor, nn

from .. import tree
from ..layers import BidirectionalState
from ..recurrent import Layer, Recurrent


class Bridge(nn.Module):
    """The states of an encoder -> the state of a decoder's body: tanh(W s + b) for each leaf (Bahdanau et al. 2015).

    Layers correspond from the top: the decoder's last one begins from the encoder's last one. Both directions of
    a Bidirectional are read. Where two layers have as many leaves, each is made from its counterpart (LSTM: h from h,
    c from c), else from all of the layer's. Leaves of integers stay as they are.

    Raises:
        ValueError: the encoder or the body has no state.
    """

    def __init__(self, encoder: Layer, body: Recurrent[Any]) -> None:
        super().__init__()
        sources, targets = layers(encoder.initial_state(1)), layers(body.initial_state(1))
        for part, found in ((encoder, sources), (body, targets)):
            if not any(found):
                raise ValueError(f"a bridge joins two states, and {type(part).__name__} has none; give it a cell")
        pairs = _paired(sources, targets)
        self.maps = nn.ModuleList(nn.Linear(read.shape[1], leaf[0].numel()) for read, leaf in pairs)

    def forward(self, state: Any, initial: Any) -> Any:
        """The body's state after an encoder's `state`; `initial`: the body's own one, for as many rows."""
        mapped = iter(
            [m(read).tanh() for m, (read, _) in zip(self.maps, _paired(layers(state), layers(initial)), strict=True)]
        )
        new = [
            next(mapped).view_as(leaf).to(leaf.dtype) if leaf.is_floating_point() else leaf
            for leaf in tree.leaves(initial)
        ]
        return tree.like(initial, new)


def layers(state: Any) -> list[list[Tensor]]:
    """The floating leaves of each layer in a state, as [B, N]; two directions side by side."""
    if isinstance(state, BidirectionalState):
        return [_beside(*pair) for pair in zip(layers(state.forward), layers(state.backward), strict=True)]
    leaf = isinstance(state, Tensor) or hasattr(state, "_fields")
    if not leaf and isinstance(state, tuple | list) and not (state and all(isinstance(s, Tensor) for s in state)):
        return [layer for part in state for layer in layers(part)]
    return [[s.flatten(1) for s in tree.leaves(state) if s.is_floating_point()]]


def top(state: Any) -> Tensor:
    """All floating leaves of a state's last layer, [B, N]."""
    return torch.cat(layers(state)[-1], dim=1)


def _beside(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    if len(one) != len(other):
        return one + other
    return [torch.cat(pair, dim=1) for pair in zip(one, other, strict=True)]


def _paired(sources: list[list[Tensor]], targets: list[list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """(what is read, the leaf that is made of it), leaf by leaf of the targets."""
    pairs = []
    for number, target in enumerate(targets):
        source = sources[max(0, number + len(sources) - len(targets))]
        alike = len(source) == len(target)
        pairs += [(source[i] if alike else torch.cat(source, dim=1), leaf) for i, leaf in enumerate(target)]
    return pairs
