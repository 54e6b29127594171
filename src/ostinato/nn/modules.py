"""torch.nn's LSTM, GRU and RNN by name: each says what torch's parameters mean in our recurrence.

The fastest kernel for the call runs, as for the cells; `ostinato.backend` forces one. Same constructors, returns,
state_dict and, for one seed, the same first parameters and (on the CPU) dropout as torch's.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..cells import elman, gru, lstm, projected_lstm
from .recurrent import Motion, TorchRecurrent


class LSTM(TorchRecurrent):
    """torch.nn.LSTM: `output, (h_n, c_n) = lstm(input, (h_0, c_0))`.

    Args:
        input_size: D. hidden_size: H. num_layers: stacked layers.
        bias: with bias_ih and bias_hh; their sum acts.
        batch_first: input and output are [B, T, ...] instead of [T, B, ...].
        dropout: chance to drop an element between layers, while training.
        bidirectional: a second direction, from each row's end.
        proj_size: the width P < H of the projected h (Sak et al. 2014); 0: none.

    Raises:
        TypeError, ValueError: an option has another type, or lies outside its range.
    """

    blocks, leaves = 4, 2

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = input_size, hidden_size, num_layers
        self.hold("LSTM", *sizes, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)

    def motion(self, weight_hh: Tensor, biases: tuple[Tensor, ...], weight_hr: Tensor | None) -> Motion:
        bias = biases[0] + biases[1] if biases else None
        if weight_hr is None:
            return Motion(lstm.LSTM.recurrence, lstm.LSTMState, bias, (weight_hh,))
        kind = projected_lstm.ProjectedLSTM.recurrence
        return Motion(kind, projected_lstm.ProjectedLSTMState, bias, (weight_hh, weight_hr))


class GRU(TorchRecurrent):
    """torch.nn.GRU: `output, h_n = gru(input, h_0)`. Arguments and errors as for `LSTM`, without proj_size."""

    blocks, leaves = 3, 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.hold(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def motion(self, weight_hh: Tensor, biases: tuple[Tensor, ...], weight_hr: Tensor | None) -> Motion:
        if not biases:
            return Motion(gru.GRU.recurrence, gru.GRUState, None, (weight_hh, weight_hh.new_zeros(self.hidden_size)))
        # Of the second bias, the part of r and z only adds to the first; the candidate's stands inside the reset.
        outside, b_n = biases[1].split([2 * self.hidden_size, self.hidden_size])
        bias = biases[0] + F.pad(outside, (0, self.hidden_size))
        return Motion(gru.GRU.recurrence, gru.GRUState, bias, (weight_hh, b_n))


class RNN(TorchRecurrent):
    """torch.nn.RNN, Elman's network: `output, h_n = rnn(input, h_0)`.

    Args:
        nonlinearity: "tanh" or "relu". The others, and errors, as for `LSTM`, without proj_size.
    """

    blocks, leaves = 1, 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', and is {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        sizes = input_size, hidden_size, num_layers
        self.hold(f"RNN_{nonlinearity.upper()}", *sizes, bias, batch_first, dropout, bidirectional, 0, device, dtype)

    def motion(self, weight_hh: Tensor, biases: tuple[Tensor, ...], weight_hr: Tensor | None) -> Motion:
        bias = biases[0] + biases[1] if biases else None
        return Motion(elman.RECURRENCES[self.nonlinearity], elman.ElmanState, bias, (weight_hh,))
