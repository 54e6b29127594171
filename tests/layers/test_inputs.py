"""What does not fit is told in one sentence: what was expected, what came, what to do. Oracle: the sentences."""

import pytest
import torch
from torch import nn

from ostinato.cells import GRU, LSTM, MGU, Elman
from ostinato.layers import Bidirectional, LearnedState, Pointwise, Residual, Stack
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell

X = torch.ones(2, 7, 5)


@pytest.mark.parametrize("make", [GRU, MGU])
@pytest.mark.parametrize(
    "given, sentence",
    [
        (
            {"lengths": [7, 3]},
            r"lengths must be a tensor, int64 of shape \(2,\).*a list; write torch.tensor\(lengths\)",
        ),
        ({"lengths": (7, 3)}, "a tuple; write"),
        (
            {"resets": [[False] * 7] * 2},
            r"resets must be a tensor, bool of shape \(2, 7\).*write torch.tensor\(resets\)",
        ),
        ({"x": X.tolist()}, r"x must be a tensor, \[B, T, D\] .*a list; write torch.tensor\(x\)"),
        ({"x": X[0]}, r"x must be \[B, T, D\], or ids \[B, T\] int64, and is float32 of shape \(7, 5\); .*unsqueeze"),
        ({"x": X[:, :0]}, r"at least one step, and has shape \(2, 0, 5\)"),
        ({"x": torch.ones(2, 7, 4)}, r"x must be \[B, T, 5\] for this cell, and has shape \(2, 7, 4\)"),
    ],
)
def test_an_input_that_no_cell_takes(make, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(5, 6)(**{"x": X, **given})
    with pytest.raises(ValueError, match=sentence):
        list(make(5, 6).walk(**{"x": X, **given}))


def test_a_step_takes_one_row_a_sequence():
    cell = LSTM(5, 6)
    with pytest.raises(ValueError, match=r"x must be \[B, D\], or ids \[B\] int64, and is float32 of shape \(5,\)"):
        cell.step(X[0, 0], cell.initial_state(1))


class Own(Cell):
    """A drive that is no `Affine`."""

    recurrence = Recurrence("own", lambda d, h: (d + h, d + h))

    def __init__(self, d_in, d_out):
        super().__init__()
        self.w_in = nn.Linear(d_in, d_out)

    def initial_state(self, batch):
        return torch.zeros(batch, self.w_in.out_features)

    def drive(self, x):
        return self.w_in(x)


@pytest.mark.parametrize(
    "second",
    [
        GRU(4, 6),
        MGU(4, 6),
        Own(4, 6),
        LearnedState(LSTM(4, 6)),
        Pointwise(nn.Linear(4, 6)),
        Pointwise(nn.LayerNorm(4)),
        Bidirectional(GRU(4, 6), GRU(4, 6)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parts_of_a_stack_whose_widths_differ(second):
    name = type(second).__name__
    with pytest.raises(ValueError, match=rf"^part 1 of the Stack, {name}, .*\(2, 7, 6\), which part 0, LSTM, gave"):
        Stack(LSTM(5, 6), second)(X)


def test_the_part_inside_another_stack_is_named():
    stack = Stack(Elman(5, 5), Residual(Stack(Elman(5, 6), GRU(5, 5))))
    with pytest.raises(ValueError, match=r"part 1 of the Stack, Residual, .*part 1 of the Stack, GRU, .*\(2, 7, 6\)"):
        stack(X)


def test_the_first_part_got_what_the_stack_got():
    with pytest.raises(ValueError, match=r"^part 0 of the Stack, Own, was to read x of shape \(2, 7, 5\): .*; give"):
        Stack(Own(4, 6))(X)


def test_an_error_of_another_kind_passes_through_a_stack_as_it_is():
    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        Stack(Pointwise(Failing()))(X)


@pytest.mark.parametrize("merge", ["sum", "mean"])
@pytest.mark.parametrize("width", [4, 1])
def test_directions_of_different_widths_can_only_be_concatenated(merge, width):
    pair = LSTM(5, 6), GRU(5, width)
    sentence = (
        rf"merge '{merge}' .* the forward layer gives \[2, 7, 6\] and the backward one \[2, 7, {width}\]; .*concat"
    )
    with pytest.raises(ValueError, match=sentence):
        Bidirectional(*pair, merge)(X)
    assert Bidirectional(*pair)(X)[0].shape == (2, 7, 6 + width)


@pytest.mark.parametrize("make", [lambda: LSTM(5, 7), lambda: Bidirectional(GRU(5, 7), GRU(5, 7))])
def test_a_state_of_another_kind_is_told(make):
    layer = make()
    kind = type(layer.initial_state(1)).__name__
    with pytest.raises(ValueError, match=rf"the state of this {type(layer).__name__} is a {kind}\(.*came as a Tensor"):
        layer(torch.randn(1, 3, 5), torch.zeros(1, 7))


def test_another_dtype_than_the_weights_is_told():
    with pytest.raises(ValueError, match=r"x is float64 and the weights are float32; write x.to\(torch.float32\)"):
        GRU(5, 7)(torch.randn(1, 3, 5).double())
