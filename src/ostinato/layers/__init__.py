"""Layers: parts made of other parts, whatever recurrence those hold."""

from .bidirectional import Bidirectional, BidirectionalState
from .dropconnect import DropConnect
from .dropout import Dropout, LockedDropout
from .learned import LearnedState
from .pointwise import Pointwise
from .ragged import last
from .recurrent_dropout import RecurrentDropout
from .residual import Residual
from .stack import Stack
from .zoneout import Zoneout

__all__ = [
    "Bidirectional",
    "BidirectionalState",
    "DropConnect",
    "Dropout",
    "LearnedState",
    "LockedDropout",
    "Pointwise",
    "RecurrentDropout",
    "Residual",
    "Stack",
    "Zoneout",
    "last",
]
