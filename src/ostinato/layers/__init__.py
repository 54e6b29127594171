"""Layers: parts made of other parts, whatever recurrence those hold."""

from .attention import Attention, Memory
from .bidirectional import Bidirectional, BidirectionalState
from .crf import CRF
from .dropconnect import DropConnect
from .dropout import Dropout, LockedDropout
from .learned import LearnedState
from .pointwise import Pointwise
from .pool import Pool
from .ragged import last
from .recurrent_dropout import RecurrentDropout
from .residual import Residual
from .stack import Stack
from .tcn import TCN
from .transformer import TransformerEncoder
from .zoneout import Zoneout

__all__ = [
    "CRF",
    "TCN",
    "Attention",
    "Bidirectional",
    "BidirectionalState",
    "DropConnect",
    "Dropout",
    "LearnedState",
    "LockedDropout",
    "Memory",
    "Pointwise",
    "Pool",
    "RecurrentDropout",
    "Residual",
    "Stack",
    "TransformerEncoder",
    "Zoneout",
    "last",
]
