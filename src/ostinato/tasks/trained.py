"""What every task does to use a run that is trained: its recipe with what may change, and its weights."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ..data.files import read_text
from ..registry import tasks
from ..train import checkpoint
from ..train.loop import evaluate
from ..train.recipe import Recipe, read, refuse_changes, validate
from ..train.task import Task
from .job import Data, Tell, device_of
from .run import Run, RunError

R = TypeVar("R", bound=Recipe)
M = TypeVar("M", bound=nn.Module)
C = TypeVar("C")


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


def loaded(found: tuple[Run, R], read: Callable[[Path], C], build: Callable[[R, C], M]) -> tuple[M, R, C]:
    """The trained model of what `opened` found, in eval mode; its recipe; and what makes numbers of its texts.

    Args:
        read: the codec from its file. build: the model, before its weights.

    Raises:
        CheckpointError: the weights do not fit. ValueError, OSError: as `read`.
    """
    run, recipe = found
    codec = read(run.tokenizer)
    return restored(build(recipe, codec), run, recipe), recipe, codec


def codec_of(path: Path, form: str, version: int, made: Callable[[dict[str, Any]], C]) -> C:
    """What makes numbers of a task's texts, `made` from the JSON of its file.

    Raises:
        ValueError: the file is not of that form and version, or `made` misses something in it.
    """
    try:
        body: dict[str, Any] = json.loads(read_text(path))
        if (body.get("format"), body.get("version")) != (form, version):
            raise ValueError(f"format {form!r}, version {version} was expected")
        return made(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not as a training writes it ({error}); restore it, or train again") from error


def unheard(doubt: str) -> None:
    """What `evaluate_run` tells where nobody listens."""


def measured(task: Task[Any], model: nn.Module, data: Data, splits: list[str], tell: Tell) -> dict[str, float]:
    """The metrics of these splits; `tell` hears what one should know before believing them."""
    for doubt in data.doubts(splits):
        tell(doubt)
    found: dict[str, float] = {}
    for split in splits:
        found |= evaluate(task, model, split)
    return found
