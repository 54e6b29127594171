"""What the drop-in modules refuse. Oracle: torch's own modules refuse the same, with the same type of error."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import ostinato.nn
from torch_twins import pair

# torch says so of its own module, the oracle.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

WRONG_INPUTS = {
    "width": lambda: (torch.zeros(3, 4, 7), None),
    "axes": lambda: (torch.zeros(3), None),
    "packed width": lambda: (pack_padded_sequence(torch.zeros(3, 2, 7), torch.tensor([3, 2])), None),
    "dtype": lambda: (torch.zeros(3, 4, 5).double(), None),
    "no step": lambda: (torch.zeros(0, 4, 5), None),
    "h for other rows": lambda: (torch.zeros(3, 4, 5), (torch.zeros(1, 3, 6), torch.zeros(1, 4, 6))),
    "c of another width": lambda: (torch.zeros(3, 4, 5), (torch.zeros(1, 4, 6), torch.zeros(1, 4, 5))),
    "batched hx, one sequence": lambda: (torch.zeros(3, 5), (torch.zeros(1, 1, 6), torch.zeros(1, 1, 6))),
}


@pytest.mark.parametrize("wrong", WRONG_INPUTS)
def test_a_wrong_input_raises_what_torch_raises(wrong):
    ours, theirs = pair("lstm", torch.float32)
    with pytest.raises((ValueError, RuntimeError)) as want:
        theirs(*WRONG_INPUTS[wrong]())
    with pytest.raises(want.type) as got:
        ours(*WRONG_INPUTS[wrong]())
    assert isinstance(got.value, ValueError)


def test_messages_say_what_was_expected_and_what_came():
    gru = ostinato.nn.GRU(5, 6)
    with pytest.raises(ValueError, match=r"hx must have the shape \(1, 4, 6\) for this input, and has \(2, 4, 6\)"):
        gru(torch.zeros(3, 4, 5), torch.zeros(2, 4, 6))
    with pytest.raises(ValueError, match=r"D = input_size = 5, and has shape \(3, 4, 7\)"):
        gru(torch.zeros(3, 4, 7))
    with pytest.raises(ValueError, match=r"hx must be a pair of tensors, \(h, c\)"):
        ostinato.nn.LSTM(5, 6)(torch.zeros(3, 4, 5), torch.zeros(1, 4, 6))
    with pytest.raises(ValueError, match="a tensor or a PackedSequence, and is a list"):
        gru([[1.0]])


WRONG_OPTIONS = [
    ("LSTM", {"input_size": 0}), ("LSTM", {"input_size": 5.0}), ("LSTM", {"hidden_size": -1}),
    ("LSTM", {"num_layers": 0}), ("LSTM", {"num_layers": 1.5}), ("GRU", {"bias": 1}), ("GRU", {"batch_first": "yes"}),
    ("RNN", {"dropout": 1.5}), ("RNN", {"dropout": True}), ("RNN", {"dropout": "0.5"}),
    ("RNN", {"nonlinearity": "sigmoid"}), ("LSTM", {"proj_size": -1}), ("LSTM", {"proj_size": 6}),
]  # fmt: skip


@pytest.mark.parametrize("name, wrong", WRONG_OPTIONS)
def test_a_wrong_option_raises_what_torch_raises(name, wrong):
    options = {"input_size": 5, "hidden_size": 6} | wrong
    with pytest.raises((TypeError, ValueError)) as want:
        getattr(nn, name)(**options)
    with pytest.raises(want.type, match=next(iter(wrong))):
        getattr(ostinato.nn, name)(**options)


def test_dropout_on_one_layer_warns_where_it_is_made():
    with pytest.warns(UserWarning, match="num_layers is 1") as found:
        ostinato.nn.LSTM(5, 6, dropout=0.5)
    assert found[0].filename == __file__


def test_device_and_dtype_reach_the_parameters():
    module = ostinato.nn.LSTM(5, 6, 2, proj_size=3, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in module.parameters()} == {("meta", torch.bfloat16)}
