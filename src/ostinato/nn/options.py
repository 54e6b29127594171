"""The options of torch.nn's recurrent modules, checked as torch does: the same types of error, the same warning."""

import warnings
from numbers import Number
from typing import Any


def check(
    input_size: Any, hidden_size: Any, num_layers: Any, bias: Any, batch_first: Any, dropout: Any, proj_size: Any
) -> None:
    """Raises TypeError for an option of another type, ValueError for a value out of range."""
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if not isinstance(size, int):
            raise TypeError(f"{name} must be an int, and is {size!r}, a {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be at least 1, and is {size}")
    for name, flag in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be True or False, and is {flag!r}, a {type(flag).__name__}")
    if not 0 <= proj_size < hidden_size:
        raise ValueError(
            f"proj_size must be smaller than hidden_size ({hidden_size}), or 0 for no projection, and is {proj_size}"
        )
    _check_dropout(dropout, num_layers)


def _check_dropout(dropout: Any, num_layers: int) -> None:
    if not isinstance(dropout, Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:  # pyright: ignore[reportOperatorIssue]
        raise ValueError(f"dropout is the chance that an element is dropped, from 0 to 1, and is {dropout!r}")
    if num_layers == 1 and dropout != 0:
        warnings.warn(
            f"dropout={dropout} changes nothing: it acts between layers, and num_layers is 1",
            stacklevel=5,  # the line that makes the module
        )
