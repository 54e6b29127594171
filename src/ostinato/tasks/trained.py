"""What every task does to use a run that is trained: its recipe with what may change, and its weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ..registry import tasks
from ..train import checkpoint
from ..train.recipe import Recipe, read, refuse_changes, validate
from .job import device_of
from .run import Run, RunError

R = TypeVar("R", bound=Recipe)
M = TypeVar("M", bound=nn.Module)


def as_trained(run: Run, schema: type[R]) -> R:
    """A run's own recipe. Raises RecipeError where it is not of the schema."""
    return validate(schema, read(run.recipe), str(run.recipe))


def opened(
    path: Path, schema: type[R], overrides: Iterable[str], free: Iterable[str], fixed: Iterable[str] = ()
) -> tuple[Run, R]:
    """The run, and its recipe with `overrides`.

    Args:
        free, fixed: keys that may change, and those within them that may not.

    Raises:
        RunError, RecipeError: the folder or an override does not fit.
    """
    run = Run.open(path)
    task = str(read(run.recipe).get("task"))
    if task in tasks and tasks[task].schema is not schema:
        raise RunError(
            f"{path} is a run of {task}, and this is for runs of another task; `ostinato predict` is for all"
        )
    recipe = validate(schema, read(run.recipe, overrides), str(run.recipe))
    why = " in a model that is trained already; train another one"
    refuse_changes(as_trained(run, schema), recipe, free, fixed, why)
    return run, recipe


def elsewhere(path: Path, recipe: Recipe) -> bool:
    """Whether a recipe names another `data.path` than the run learnt from."""
    own = read(Run.open(path).recipe).get("data", {}).get("path", "")
    given = recipe.model_dump()["data"]["path"]
    return Path(given or "").resolve() != Path(own).resolve()


def restored(model: M, run: Run, recipe: Recipe) -> M:
    """The model with the run's weights, on the recipe's device, in eval mode.

    Raises:
        CheckpointError: the weights do not fit.
    """
    model.to(torch.float64 if recipe.dtype == "float64" else torch.float32)
    checkpoint.restore(model, checkpoint.load(run.weights)[0], run.weights)
    return model.to(device_of(recipe.device)).eval()
