"""Other nets beside the one of a run: trained by themselves, scored, and not kept."""

from typing import Any

import torch
from torch import nn

from ..train.loop import Listener, Report, Trainer, evaluate
from ..train.recipe import Recipe
from ..train.task import Task
from .job import Row


def quiet(listen: Listener) -> Listener:
    """A listener that passes on where a side job stands, and nothing else of it."""

    def heard(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            listen({**event, "event": "baseline_step"})

    return heard


def alone(task: Task[Any], recipe: Recipe, device: torch.device, listen: Listener) -> tuple[nn.Module, Report]:
    """A net trained in memory, by this process alone; the listener is told where it stands.

    Raises:
        KeyboardInterrupt: Ctrl-C; half a rival is none.
    """
    told = quiet(listen)
    model, report = Trainer(task, recipe.train, None, recipe.seed, device, recipe.dtype, told, alone=True).run()
    if report.interrupted:
        raise KeyboardInterrupt
    return model.eval(), report


def rival(
    name: str, task: Task[Any], recipe: Recipe, device: torch.device, listen: Listener, row: Row, note: str
) -> dict[str, Any]:
    """The line of the table for another net under a recipe of its own."""
    listen({"event": "phase", "text": f"baseline: {name}", "baseline": True})
    model, report = alone(task, recipe, device, listen)
    parameters = sum(p.numel() for p in model.parameters())
    figures = {**evaluate(task, model, "valid"), **evaluate(task, model, "test")}
    epochs = f"{recipe.train.epochs} epoch{'s' * (recipe.train.epochs > 1)}"
    return row(name, "baseline", parameters, figures, report.items_per_second, f"{note}; {epochs}")
