"""From an encoder's last state to a decoder's first one."""

from typing import Any

import pytest
import torch

from ostinato import tree
from ostinato.cells import cells
from ostinato.layers import Bidirectional, Dropout, Residual, Stack
from ostinato.models import Seq2Seq

V, W, H = 13, 6, 8


@pytest.mark.parametrize("encoder", ["lstm", "gru", "ran", "cornn"])
@pytest.mark.parametrize("decoder", ["lstm", "gru", "elman"])
def test_a_bridge_joins_any_two_cells_and_depths(encoder: str, decoder: str) -> None:
    torch.manual_seed(0)
    one: Any = cells[encoder]
    two: Any = cells[decoder]
    for deep, layers in ((1, 2), (2, 1)):
        parts = [Bidirectional(one(W if n == 0 else 2 * H, H), one(W if n == 0 else 2 * H, H)) for n in range(deep)]
        body = Stack(two(W, 5), Dropout(0.1), *(Residual(two(5, 5)) for _ in range(layers - 1)))
        model = Seq2Seq(V, V, W, Stack(*parts), 2 * H, body, 5, "none").double().eval()
        source, target = torch.randint(V, (5, 6)), torch.randint(V, (5, 6))
        lengths = torch.tensor([1, 3, 6, 2, 6])
        first = model.encode(source, lengths)
        for leaf, empty in zip(tree.leaves(first.body), tree.leaves(body.initial_state(5)), strict=True):
            assert leaf.shape == empty.shape
            assert leaf.dtype == empty.dtype
            assert float((leaf - empty).detach().abs().amax(dim=1).min()) > 1e-3  # every row begins elsewhere
        # Both directions reach the decoder: the first and the last word of a source change what it says.
        for at in (0, 5):
            other = source.clone()
            other[-1, at] = (other[-1, at] + 1) % V
            gap = model(other, target, lengths)[-1] - model(source, target, lengths)[-1]
            assert float(gap.detach().abs().max()) > 1e-9
