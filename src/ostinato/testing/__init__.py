"""The laws that every part keeps, for ours and for yours: `check_recurrent(lambda: MyCell(5, 7), d_in=5)`.

Each law is a function of a `Case`; it returns nothing, or raises an AssertionError that names the law, what differs
and by how much. Errors are measured against the largest value of what was wanted (at least 1).
"""

from collections.abc import Callable
from typing import Any

import torch

from ..recurrent import Recurrent
from .cases import TOLERANCE, Case, case
from .laws import (
    LAWS,
    law_a_reset_begins_a_sequence,
    law_causality,
    law_exported_step_is_step,
    law_kernels_equal_the_walk,
    law_nothing_is_mutated,
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
    "TOLERANCE",
    "Case",
    "case",
    "check_recurrent",
    "law_a_reset_begins_a_sequence",
    "law_causality",
    "law_exported_step_is_step",
    "law_kernels_equal_the_walk",
    "law_nothing_is_mutated",
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
    make: Callable[[], Recurrent[Any]], d_in: int, *, ids: int | None = None, dtype=torch.float64, seed: int = 0
) -> None:
    """Runs all laws on a part.

    Args:
        make: builds the part, with d_in input features. ids: for a part that reads token ids: how many there are.
        dtype: float64 (errors up to 1e-10) or float32 (2e-5).

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    for law in LAWS:
        law(case(make, d_in, ids=ids, dtype=dtype, seed=seed))
