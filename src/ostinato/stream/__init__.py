"""Sequences one step at a time."""

from .sample import Sampling, generate
from .session import Session, SessionError

__all__ = ["Sampling", "Session", "SessionError", "generate"]
