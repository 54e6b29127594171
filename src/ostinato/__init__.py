"""Ostinato: recurrent sequence models in PyTorch. You write one step; everything else is derived."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import baselines, cells, data, layers, models, nn, stream, testing, train
    from .kernels import backend
    from .recurrence import Affine, Recurrence, Step
    from .recurrent import Cell, Layer, Recurrent
    from .tasks import load
    from .testing import check_recurrent

# Where the public names live. They are imported on first use: `ostinato --help` must not wait for torch.
_HOMES = {
    "Affine": "recurrence",
    "Cell": "recurrent",
    "Layer": "recurrent",
    "Recurrence": "recurrence",
    "Recurrent": "recurrent",
    "Step": "recurrence",
    "backend": "kernels",
    "check_recurrent": "testing",
    "load": "tasks",
}

# Written `ostinato.nn.LSTM` after `import ostinato`, as with torch.
_PARTS = ("baselines", "cells", "data", "layers", "models", "nn", "stream", "testing", "train")

__all__ = [
    "Affine",
    "Cell",
    "Layer",
    "Recurrence",
    "Recurrent",
    "Step",
    "backend",
    "baselines",
    "cells",
    "check_recurrent",
    "data",
    "layers",
    "load",
    "models",
    "nn",
    "stream",
    "testing",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"ostinato.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'ostinato' has no attribute {name!r}")
    return getattr(import_module(f"ostinato.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
