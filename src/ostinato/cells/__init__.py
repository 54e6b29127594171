"""Cells: one step of a published recurrence each, called by name."""

from ..registry import cells
from .lstm import LSTM

__all__ = ["LSTM", "cells"]
