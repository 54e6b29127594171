"""Scans that are faster than the reference loop, and the choice among them."""

from .dispatch import REFERENCE, BackendError, at_once, backend, backends, choose, explain, forced, run, why_not
from .table import TABLE, Affine, Call, Kernel, Scan, Unsupported, computed, kernel

__all__ = [
    "REFERENCE",
    "TABLE",
    "Affine",
    "BackendError",
    "Call",
    "Kernel",
    "Scan",
    "Unsupported",
    "at_once",
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
