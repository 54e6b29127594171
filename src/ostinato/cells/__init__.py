"""Cells: one step of a published recurrence each, called by name."""

from ..registry import cells
from .activation import activations
from .antisymmetric import Antisymmetric
from .cornn import CoRNN
from .elman import Elman
from .fastgrnn import FastGRNN
from .gru import GRU
from .gru_reset_before import GRUResetBefore
from .indrnn import IndRNN
from .janet import JANET
from .jordan import Jordan
from .layernorm_gru import LayerNormGRU
from .layernorm_lstm import LayerNormLSTM
from .lem import LEM
from .ligru import LiGRU
from .lstm import LSTM
from .mgu import MGU
from .peephole_lstm import PeepholeLSTM
from .projected_lstm import ProjectedLSTM
from .ran import RAN

__all__ = [
    "GRU",
    "JANET",
    "LEM",
    "LSTM",
    "MGU",
    "RAN",
    "Antisymmetric",
    "CoRNN",
    "Elman",
    "FastGRNN",
    "GRUResetBefore",
    "IndRNN",
    "Jordan",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LiGRU",
    "PeepholeLSTM",
    "ProjectedLSTM",
    "activations",
    "cells",
]
