"""Which kernels run a training: what each cell was called with is seen on one batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..recurrent import Cell
from ..train.task import Task


def kernel_path(task: Task[Any], model: nn.Module) -> str:
    """Which kernel runs each cell on the first training batch, and why not the others."""
    seen: dict[str, str] = {}
    with _listening(model, seen):
        task.loss(model, next(iter(task.batches(0, 0, 0, 1))), None)
    return "\n".join(seen.values()) or "no recurrence: this net sees each position by itself"


@contextmanager
def _listening(model: nn.Module, seen: dict[str, str]) -> Iterator[None]:
    """Inside the block the first call of each cell is written down; a cell that another one stands for has none."""
    cells = {name: part for name, part in model.named_modules() if isinstance(part, Cell)}
    for name, cell in cells.items():
        cell.call = _heard(name, cell, seen)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        for cell in cells.values():
            del cell.call


def _heard(name: str, cell: Cell[Any], seen: dict[str, str]) -> Any:
    call = cell.call

    def heard(x: Any, *rest: Any) -> Any:
        made = call(x, *rest)
        if name not in seen:
            lines = [f"{name} ({cell.recurrence.name}, batch {x.shape[0]}, {x.shape[1]} steps)"]
            lines += ["    " + line for line in cell.recurrence.explain(*made.arguments, **made.options).splitlines()]
            seen[name] = "\n".join(lines)
        return made

    return heard
