"""What torch's modules return under autocast, where ours compute: the narrow dtype, or a state's wider one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def enabled(x: Tensor) -> bool:
    """Whether autocast is on where x lies; on the device "meta" torch knows of none, and raises."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def returned(mode: str, proj_size: int, given: Any, before: Sequence[Tensor]) -> list[torch.dtype]:
    """The dtypes of the output and of each leaf of the state, of eager torch.

    Its products are narrow. What it adds to a wide state is wide; but oneDNN and cuDNN take and give all narrow.

    Args:
        mode: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        given: the input. before: the leaves of the state before the first step.
    """
    kind = before[0].device.type
    narrow = torch.get_autocast_dtype(kind)
    wide = torch.promote_types(narrow, before[-1].dtype)
    if kind != "cpu" or mode.startswith("RNN"):
        wide = narrow
    elif mode == "LSTM" and proj_size:
        return [narrow, narrow, wide]
    elif mode == "LSTM" and not isinstance(given, PackedSequence):  # oneDNN's
        wide = narrow
    return [wide] * (1 + len(before))
