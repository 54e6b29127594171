"""What the variants' constructors promise: torch's `proj_size`, biases at the start, words for what does not fit."""

from typing import Any

import pytest
import torch
from torch import nn

from ostinato.cells import JANET, RAN, IndRNN, LayerNormLSTM, PeepholeLSTM, ProjectedLSTM
from ostinato.initialise import initialise
from ostinato.registry import UnknownNameError


def test_projected_lstm_equals_torch() -> None:
    torch.manual_seed(0)
    cell = ProjectedLSTM(4, 6, d_proj=3).double()
    theirs: Any = nn.LSTM(4, 6, batch_first=True, proj_size=3).double()
    with torch.no_grad():
        cell.w_in.weight.copy_(theirs.weight_ih_l0)
        cell.w_in.bias.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
        cell.w_rec.copy_(theirs.weight_hh_l0)
        cell.w_proj.copy_(theirs.weight_hr_l0)
    x = torch.randn(3, 7, 4, dtype=torch.float64, requires_grad=True)
    h, c = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    y, after = cell(x, type(cell.initial_state(1))(h, c))
    want, (h_n, c_n) = theirs(x, (h[None], c[None]))
    pairs = [(y, want), (after.h, h_n[0]), (after.c, c_n[0])]
    ours = [x, cell.w_in.weight, cell.w_in.bias, cell.w_rec, cell.w_proj]
    named = [x, theirs.weight_ih_l0, theirs.bias_ih_l0, theirs.weight_hh_l0, theirs.weight_hr_l0]
    cots = [torch.randn_like(got) for got, _ in pairs]
    slopes = zip(
        torch.autograd.grad([got for got, _ in pairs], ours, cots),
        torch.autograd.grad([other for _, other in pairs], named, cots),
        strict=True,
    )
    for got, other in (*pairs, *slopes):
        assert (got - other).abs().max() < 1e-12


def test_a_projection_wider_than_the_memory_is_refused() -> None:
    for d_proj in (0, 7):
        with pytest.raises(ValueError, match=rf"d_proj must lie in 1\.\.6, the size of the memory, and is {d_proj}"):
            ProjectedLSTM(4, 6, d_proj=d_proj)


def test_chrono_biases_are_logs_of_times_up_to_the_longest() -> None:
    torch.manual_seed(0)
    times = JANET(2, 4000, t_max=101).w_in.bias[:4000].exp()
    assert times.min() >= 1
    assert times.max() <= 100.001
    assert times.mean().item() == pytest.approx(50.5, abs=4 * 99 / 12**0.5 / 4000**0.5)  # four standard errors
    with pytest.raises(ValueError, match=r"t_max must be at least 2 steps.* and is 1"):
        JANET(2, 3, t_max=1)


@pytest.mark.parametrize("make", [LayerNormLSTM, PeepholeLSTM, ProjectedLSTM, RAN, JANET])
def test_the_forget_bias_starts_at_one_and_can_be_set(make: Any) -> None:
    cell = make(2, 3)
    block = cell.w_in.bias.chunk(cell.gate_blocks)[cell.forget_block]
    assert block.eq(1).all()
    initialise(cell, forget_bias=2.0)
    assert block.eq(2).all()
    assert not cell.w_in.bias.eq(2).all()


def test_layer_norms_gains_start_as_told() -> None:
    cell = LayerNormLSTM(2, 3, gain_rec=0.5)
    assert cell.gain_rec.eq(0.5).all()
    assert all(p.eq(1).all() for p in (cell.gain_in, cell.gain_c))
    assert cell.shift_c.eq(0).all()


def test_independent_units_start_with_memories_of_all_lengths() -> None:
    torch.manual_seed(0)
    u = IndRNN(2, 4000).w_rec
    assert u.min() >= 0
    assert u.max() <= 1
    assert u.mean().item() == pytest.approx(0.5, abs=4 / 12**0.5 / 4000**0.5)  # four standard errors


@pytest.mark.parametrize("make", [IndRNN, RAN])
def test_an_unknown_activation_says_which_are_near(make: Any) -> None:
    with pytest.raises(UnknownNameError, match="no activation is called 'tan'; did you mean tanh"):
        make(4, 5, activation="tan")
