"""Two directions. Oracle: each sequence cut out, turned round by hand and read alone."""

import pytest
import torch

from ostinato.cells import GRU, LSTM
from ostinato.layers import Bidirectional
from ostinato.layers.bidirectional import reverse
from ostinato.registry import UnknownNameError


def test_the_backward_layer_reads_each_row_from_its_own_end():
    part = Bidirectional(LSTM(5, 6), GRU(5, 4))
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 3, 0])
    y, state = part(x, lengths=lengths)
    for b, n in ((0, 7), (1, 3)):
        want, after = part.leftward(x[b : b + 1, :n].flip(1))
        assert torch.allclose(y[b, :n, 6:], want[0].flip(0), atol=1e-6)
        assert torch.allclose(state.backward.h[b], after.h[0], atol=1e-6)
    assert y[1, 3:].eq(0).all()
    assert y[2].eq(0).all()


def test_reverse_turns_each_sequence_round_within_lengths_and_resets():
    x = torch.arange(16).view(2, 8)
    resets = torch.zeros(2, 8, dtype=torch.bool)
    resets[0, 3] = resets[1, 0] = resets[1, 1] = resets[1, 6] = True
    lengths = torch.tensor([8, 5])
    want = [[2, 1, 0, 7, 6, 5, 4, 3], [8, 12, 11, 10, 9, 13, 14, 15]]
    assert reverse(x, lengths, resets).tolist() == want
    assert reverse(reverse(x, lengths, resets), lengths, resets).tolist() == x.tolist()
    assert reverse(x, lengths)[1].tolist() == [12, 11, 10, 9, 8, 13, 14, 15]
    assert reverse(x, None, resets)[1].tolist() == [8, 13, 12, 11, 10, 9, 15, 14]
    assert reverse(x)[0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_merges():
    there, back = GRU(5, 6), GRU(5, 6)
    x = torch.randn(2, 7, 5)
    y = Bidirectional(there, back)(x)[0]
    first, second = y.chunk(2, dim=-1)
    assert torch.equal(first, there(x)[0])
    assert torch.equal(Bidirectional(there, back, "sum")(x)[0], first + second)
    assert torch.equal(Bidirectional(there, back, "mean")(x)[0], (first + second) / 2)
    with pytest.raises(UnknownNameError, match="no merge is called 'concatt'; did you mean concat"):
        Bidirectional(there, back, "concatt")


def test_the_two_layers_are_independent():
    cell = GRU(5, 6)
    with pytest.raises(ValueError, match="give two layers"):
        Bidirectional(cell, cell)


def test_it_refuses_to_stream():
    part = Bidirectional(GRU(5, 6), GRU(5, 6))
    with pytest.raises(TypeError) as told:
        part.step(torch.randn(2, 5), part.initial_state(2))
    assert str(told.value) == "Bidirectional reads the whole sequence, so it cannot stream; use a Stack"


def test_it_fills_a_blank_from_both_sides():
    """Lecture S3 2.3.5: both a change before and a change after a step reach its output."""
    part = Bidirectional(GRU(5, 6), GRU(5, 6)).double()
    x = torch.randn(1, 7, 5, dtype=torch.float64)
    for t in (2, 4):
        other = x.clone()
        other[:, t] += 1
        assert (part(other)[0][:, 3] - part(x)[0][:, 3]).abs().max() > 1e-4
