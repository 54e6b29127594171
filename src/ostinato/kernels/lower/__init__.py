"""Lowering: a step written in plain PyTorch becomes a small graph of rows, forward and backward."""

from ..ir.graph import Graph, Node, Value, ancestors, offsets, width_of
from .read import read
from .reading import Product, Reading, Total
from .trace import Trace, trace, written_at
from .vocabulary import Outside

__all__ = [
    "Graph",
    "Node",
    "Outside",
    "Product",
    "Reading",
    "Total",
    "Trace",
    "Value",
    "ancestors",
    "offsets",
    "read",
    "trace",
    "width_of",
    "written_at",
]
