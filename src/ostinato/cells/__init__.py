"""Cells: one step of a published recurrence each, called by name."""

from ..registry import cells
from .activation import activations
from .elman import Elman
from .gru import GRU
from .gru_reset_before import GRUResetBefore
from .jordan import Jordan
from .lstm import LSTM
from .mgu import MGU

__all__ = ["GRU", "LSTM", "MGU", "Elman", "GRUResetBefore", "Jordan", "activations", "cells"]
