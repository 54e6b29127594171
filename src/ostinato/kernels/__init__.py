"""Scans that are faster than the reference loop, and the choice among them."""

from .dispatch import REFERENCE, BackendError, backend, backends, choose, explain, run, why_not
from .table import TABLE, Affine, Kernel, Scan, computed, kernel

__all__ = [
    "REFERENCE",
    "TABLE",
    "Affine",
    "BackendError",
    "Kernel",
    "Scan",
    "backend",
    "backends",
    "choose",
    "computed",
    "explain",
    "kernel",
    "run",
    "why_not",
]
