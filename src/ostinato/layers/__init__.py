"""Layers: parts made of other parts, whatever recurrence those hold."""

from .bidirectional import Bidirectional, BidirectionalState
from .dropout import Dropout, LockedDropout
from .learned import LearnedState
from .pointwise import Pointwise
from .ragged import last
from .residual import Residual
from .stack import Stack

__all__ = [
    "Bidirectional",
    "BidirectionalState",
    "Dropout",
    "LearnedState",
    "LockedDropout",
    "Pointwise",
    "Residual",
    "Stack",
    "last",
]
