"""A drop-in module and torch's own, with the same parameters."""

import torch
from torch import nn

import ostinato.nn

KINDS = {
    "lstm": ("LSTM", {}),
    "lstm projected": ("LSTM", {"proj_size": 3}),
    "gru": ("GRU", {}),
    "rnn tanh": ("RNN", {}),
    "rnn relu": ("RNN", {"nonlinearity": "relu"}),
}


def pair(kind, dtype=torch.float64, sizes=(5, 6), seed=3, **options):
    """The same module twice, ours and torch's, with the same parameters."""
    name, own = KINDS[kind]
    torch.manual_seed(seed)
    theirs = getattr(nn, name)(*sizes, dtype=dtype, **own, **options)
    ours = getattr(ostinato.nn, name)(*sizes, dtype=dtype, **own, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs
