"""Scans that are faster than the reference loop, and the choice among them."""

from .dispatch import REFERENCE, BackendError, backend, backends, choose, explain, forced, run, why_not
from .table import TABLE, Affine, Kernel, Outside, Scan, computed, kernel

__all__ = [
    "REFERENCE",
    "TABLE",
    "Affine",
    "BackendError",
    "Kernel",
    "Outside",
    "Scan",
    "backend",
    "backends",
    "choose",
    "computed",
    "explain",
    "forced",
    "kernel",
    "run",
    "why_not",
]
