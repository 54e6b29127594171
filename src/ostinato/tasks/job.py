"""What a task adds to the common way from a recipe to a run folder."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from ..train.loop import Listener
from ..train.recipe import Recipe, RecipeError
from ..train.task import Task
from .predictor import Predictor
from .run import Run
from .table import PARTS, TableData

R = TypeVar("R", bound=Recipe)
D = TypeVar("D", bound="Data")
Row = Callable[..., dict[str, Any]]
Tell = Callable[[str], object]  # hears a sentence


class Data(Protocol):
    """What a task has read: its splits as numbers, and how they became numbers."""

    def save(self, path: Path) -> None:
        """Writes how text becomes numbers, so that a later process does the same."""

    def fingerprint(self) -> str:
        """Names what is learnt from."""
        ...

    def doubts(self, splits: Collection[str] = PARTS) -> Iterable[str]:
        """What a user should know before believing a figure of these splits."""
        ...

    def facts(self) -> dict[str, Any]:
        """For the start of the run: `vocabulary`, and items a split under `tokens`."""
        ...


class Job(ABC, Generic[R, D]):
    """One kind of task: what it adds to the common way from a recipe to a run folder.

    `paths` are the recipe's keys that name files. `free` are keys that a resumed run may change, besides those of every
    task.
    """

    schema: ClassVar[type[Recipe]]
    paths: ClassVar[tuple[str, ...]] = ("data.path",)
    free: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, recipe: R, tokenizer: Path | None = None) -> D:
        """What the recipe names; numbers as `tokenizer`, of an earlier run, says, or made from the training part.

        Raises:
            RecipeError, ValueError, OSError: what cannot be read or does not fit, in words.
        """

    def check(self, recipe: R, data: D) -> None:
        """Complains, by RecipeError or ValueError, about what would go wrong later, before any folder is made."""

    @abstractmethod
    def task(self, recipe: R, data: D, device: torch.device) -> Task[Any]:
        """What is learnt."""

    def prepare(self, task: Any, recipe: R, data: D, run: Run, tell: Listener) -> dict[str, float]:
        """What comes before the training, such as pre-training: changes what `task.model()` begins with.

        Gives figures for results.json. Called anew in a run that goes on, which may have been interrupted here.
        """
        return {}

    @abstractmethod
    def title(self, recipe: R) -> str:
        """What the model is called in tables: "lstm 2 x 256"."""

    def baselines(self, recipe: R, data: D, device: torch.device, tell: Listener) -> list[dict[str, Any]]:
        """Rows for what the model must beat, on the same data."""
        return []

    def folds(self, recipe: R) -> TableData | None:
        """The recipe's [data] where it asks for a cross-validation."""
        return None

    def extras(self, task: Any, model: nn.Module, figures: Mapping[str, float]) -> dict[str, Any]:
        """What results.json holds besides the figures, for the report."""
        return {}

    @abstractmethod
    def load(self, path: Path) -> Predictor:
        """A trained run, ready to answer.

        Raises:
            RunError, CheckpointError, RecipeError: the folder or the weights do not fit.
        """

    @abstractmethod
    def evaluate(self, path: Path, overrides: tuple[str, ...], tell: Tell) -> dict[str, float]:
        """The metrics of a trained run on its own data, or on others (data.path=...); `tell` hears of doubts.

        Raises as `load` and `read`.
        """

    @abstractmethod
    def shown(self, recipe: R, data: D) -> tuple[str, ...]:
        """The metrics that tables show, without their split; the one that the run is judged by stands first."""

    def judged(self, recipe: R, data: D) -> tuple[str, ...]:
        """Of those the ones that a run is judged by, and its report begins with."""
        return self.shown(recipe, data)[:1]

    def rower(self, recipe: R, data: D) -> Row:
        """(model, kind, parameters, figures, tokens a second, note) -> a line of the table."""
        names = self.shown(recipe, data)

        def row(
            model: str, kind: str, parameters: int, figures: Mapping[str, float], speed: float | None, note: str = ""
        ) -> dict[str, Any]:
            shown = {f"test/{name}": figures.get(f"test/{name}") for name in names}
            first = f"valid/{names[0]}"
            valid = {first: figures[first]} if first in figures else {}
            return {"model": model, "kind": kind, "parameters": parameters, **shown, **valid,
                    "tokens_per_s": speed and round(speed), "note": note}  # fmt: skip

        return row


def device_of(name: str) -> torch.device:
    """The device that a recipe names; "auto" is the GPU if there is one. Under torchrun each rank gets its own GPU.

    Raises:
        RecipeError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); use cpu") from None
    return device
