"""Sequences one step at a time."""

from .sample import Sampling, generate

__all__ = ["Sampling", "generate"]
