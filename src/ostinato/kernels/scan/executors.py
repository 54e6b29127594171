"""Which executor runs kernels on a device: a backend adds its own, and a scan asks here."""

from collections.abc import Callable
from typing import Any

# By the type of a device: (dtype, what the factors of products are rounded to, or None) -> `program.Executor`.
EXECUTORS: dict[str, Callable[..., Any]] = {}
