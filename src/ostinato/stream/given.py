"""What a session is given: numbers of many kinds, and a model's weights."""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def tensor(x: Any) -> Tensor:
    """A tensor, array or list as a tensor, on memory that torch may hold.

    Raises:
        ValueError: it is none of these, or no numbers.
    """
    try:
        if isinstance(x, np.ndarray):  # contiguous, writable, of the machine's byte order
            x = torch.from_numpy(x.astype(x.dtype.newbyteorder("="), order="C", copy=not x.flags.writeable))
        return torch.as_tensor(x)
    except (RuntimeError, TypeError, ValueError) as error:
        kind = f"{x.dtype} array" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"x must be a tensor, a NumPy array or a list of numbers, and is a {kind}") from error


def fingerprint(model: nn.Module) -> str:
    """A hash of a model's weights and buffers, by name."""
    total = hashlib.sha256()
    for name, t in model.state_dict().items():
        total.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        total.update(t.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:32]
