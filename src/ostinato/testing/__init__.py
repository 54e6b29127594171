"""The laws that every part keeps, for ours and for yours: `check_recurrent(lambda: MyCell(5, 7), d_in=5)`.

Each law is a function of a `Case`; it returns nothing, or raises an AssertionError that names the law, what differs
and by how much. Errors are measured against the largest value of what was wanted (at least 1).
"""

from collections.abc import Callable

import torch

from ..recurrent import Layer
from .cases import TOLERANCE, Case, LawBroken, case
from .laws import (
    LAWS,
    STREAMING,
    law_a_batch_is_read,
    law_a_reset_begins_a_sequence,
    law_any_length,
    law_causality,
    law_exported_step_is_step,
    law_gradients_are_right,
    law_kernels_equal_the_walk,
    law_linear_means_linear,
    law_nothing_is_mutated,
    law_numbers_are_finite,
    law_padding_changes_nothing,
    law_rows_are_independent,
    law_size_is_constant,
    law_split_is_whole,
    law_step_is_scan,
    law_torch_func,
)
from .parity import parity_rows, parity_table

__all__ = [
    "LAWS",
    "STREAMING",
    "TOLERANCE",
    "Case",
    "LawBroken",
    "case",
    "check_recurrent",
    "law_a_batch_is_read",
    "law_a_reset_begins_a_sequence",
    "law_any_length",
    "law_causality",
    "law_exported_step_is_step",
    "law_gradients_are_right",
    "law_kernels_equal_the_walk",
    "law_linear_means_linear",
    "law_nothing_is_mutated",
    "law_numbers_are_finite",
    "law_padding_changes_nothing",
    "law_rows_are_independent",
    "law_size_is_constant",
    "law_split_is_whole",
    "law_step_is_scan",
    "law_torch_func",
    "parity_rows",
    "parity_table",
]


def check_recurrent(
    make: Callable[[], Layer], d_in: int, *, ids: int | None = None, dtype=torch.float64, seed: int = 0
) -> None:
    """Runs the laws on a part, what is simple first: the law that is told is the one to mend.

    A part that looks ahead, or holds one that does (Bidirectional), cannot stream; it is held to the laws of whole
    sequences, all but those in `STREAMING`.

    Args:
        make: builds the part, with d_in input features. ids: for a part that reads token ids: how many there are.
        dtype: float64 (errors up to 1e-10) or float32 (2e-5).

    Raises:
        LawBroken: an AssertionError; the message names the law, the part and what is wrong. Where the part or torch
            raised an error of its own, that is the `__cause__`.
        TypeError: `make` builds no Layer.
    """
    for law in LAWS:
        tried = case(make, d_in, ids=ids, dtype=dtype, seed=seed)
        if tried.streams or law not in STREAMING:
            law(tried)
