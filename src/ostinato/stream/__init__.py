"""Sequences one step at a time."""

from .beam import Hypothesis, beam_search
from .sample import Sampling, generate
from .session import Session, SessionError

__all__ = ["Hypothesis", "Sampling", "Session", "SessionError", "beam_search", "generate"]
