"""Recurrences that several parts share: the mathematics of a step, without parameters."""

from .chain import FORWARD, LOG, Chain, log_partition, marginals, path_score, reach
from .viterbi import Paths, best_paths, viterbi

__all__ = [
    "FORWARD",
    "LOG",
    "Chain",
    "Paths",
    "best_paths",
    "log_partition",
    "marginals",
    "path_score",
    "reach",
    "viterbi",
]
