"""Cells against torch.nn: outputs, final states and gradients. Oracle: torch's own modules."""

import pytest
import torch
from torch import nn

from ostinato import kernels
from ostinato.cells import GRU, LSTM, Elman
from ostinato.layers import Bidirectional, Stack

TOLERANCE = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-6, 1e-5)}


def copy_lstm(cell, theirs, end):
    w_in, w_rec, b_in, b_rec = (getattr(theirs, f"{n}_{end}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    cell.w_in.weight.copy_(w_in)
    cell.w_rec.copy_(w_rec)
    cell.w_in.bias.copy_(b_in + b_rec)


def copy_gru(cell, theirs, end):
    copy_lstm(cell, theirs, end)
    d = cell.b_n.shape[0]
    cell.b_n.copy_(getattr(theirs, f"bias_hh_{end}")[2 * d :])
    cell.w_in.bias[2 * d :] = getattr(theirs, f"bias_ih_{end}")[2 * d :]


PAIRS = {
    "lstm": (LSTM, copy_lstm, nn.LSTM, {}),
    "gru": (GRU, copy_gru, nn.GRU, {}),
    "elman tanh": (Elman, copy_lstm, nn.RNN, {"nonlinearity": "tanh"}),
    "elman relu": (lambda d, h: Elman(d, h, "relu"), copy_lstm, nn.RNN, {"nonlinearity": "relu"}),
}
SHAPES = {"one layer": (1, False), "two layers": (2, False), "two directions": (1, True), "both": (2, True)}


def build(pair, shape, dtype):
    make, copy, module, options = PAIRS[pair]
    layers, both = SHAPES[shape]
    torch.manual_seed(3)
    theirs = module(5, 6, layers, batch_first=True, bidirectional=both, **options).to(dtype)
    parts, cells = [], []
    for layer in range(layers):
        width = 5 if layer == 0 else 12 if both else 6
        directions = [make(width, 6).to(dtype) for _ in range(2 if both else 1)]
        for cell, end in zip(directions, (f"l{layer}", f"l{layer}_reverse"), strict=False):
            with torch.no_grad():
                copy(cell, theirs, end)
        cells += directions
        parts.append(Bidirectional(*directions) if both else directions[0])
    return Stack(*parts), cells, theirs


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("backend", ["reference", "aten"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pair", PAIRS)
def test_equals_torch(pair, shape, backend, dtype):
    ours, cells, theirs = build(pair, shape, dtype)
    x = torch.randn(4, 9, 5, dtype=dtype)
    lengths = torch.tensor([9, 3, 6, 1])
    ours_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    with kernels.backend(backend):
        y, state = ours(ours_x, lengths=lengths)
    packed = nn.utils.rnn.pack_padded_sequence(their_x, lengths, batch_first=True, enforce_sorted=False)
    packed_want, final = theirs(packed)
    want, _ = nn.utils.rnn.pad_packed_sequence(packed_want, batch_first=True, total_length=9)
    near, near_gradient = TOLERANCE[dtype]
    assert (y - want).abs().max() <= near
    h = torch.stack([leaf.h for part in state for leaf in (part if SHAPES[shape][1] else (part,))])
    assert (h - (final[0] if isinstance(final, tuple) else final)).abs().max() <= near

    weight = torch.linspace(-1, 1, y.numel(), dtype=dtype).view_as(y)
    (y * weight).sum().backward()
    (want * weight).sum().backward()
    assert (ours_x.grad - their_x.grad).abs().max() <= near_gradient
    for i, cell in enumerate(cells):
        layer, back = divmod(i, 2 if SHAPES[shape][1] else 1)
        end = f"l{layer}" + ("_reverse" if back else "")
        scale = max(1.0, getattr(theirs, f"weight_hh_{end}").grad.abs().max().item())
        assert (cell.w_rec.grad - getattr(theirs, f"weight_hh_{end}").grad).abs().max() <= near_gradient * scale
        assert (cell.w_in.weight.grad - getattr(theirs, f"weight_ih_{end}").grad).abs().max() <= near_gradient * scale
        assert (cell.w_in.bias.grad - getattr(theirs, f"bias_ih_{end}").grad).abs().max() <= near_gradient * scale


def test_lstm_forget_bias_starts_at_one():
    assert LSTM(5, 6).w_in.bias[6:12].eq(1).all()
    assert LSTM(5, 6, forget_bias=0.0).w_in.bias[6:12].eq(0).all()
