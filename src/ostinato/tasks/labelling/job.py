"""What labelling adds to the way from a recipe to a run folder: examples, baselines, what the report shows."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ...models import Labeller
from ...train.loop import Listener
from ...train.recipe import Recipe
from .. import body
from ..job import Job, Tell
from ..run import Run
from ..table import TableData
from . import baselines
from .codec import Codec
from .examples import Examples
from .extras import extras
from .measure import judged, shown
from .pretrain import check, pretrain
from .recipe import LabellingRecipe
from .task import LabellingTask
from .use import LabellingPredictor, evaluate_run, load


class LabellingJob(Job[LabellingRecipe, Examples]):
    schema: ClassVar[type[Recipe]] = LabellingRecipe
    paths: ClassVar[tuple[str, ...]] = ("data.path", "model.vectors", "model.pretrained")
    free: ClassVar[tuple[str, ...]] = ("data.batch_valid",)

    def read(self, recipe: LabellingRecipe, tokenizer: Path | None = None) -> Examples:
        return Examples.read(recipe, None if tokenizer is None else Codec.load(tokenizer))

    def check(self, recipe: LabellingRecipe, data: Examples) -> None:
        if baselines.bagged(recipe) and find_spec("sklearn") is None:
            raise ImportError(
                'the bag-of-words baseline needs scikit-learn: pip install "ostinato[baselines]", or leave it out by '
                "-o baselines.words=false"
            )
        check(recipe, data)

    def task(self, recipe: LabellingRecipe, data: Examples, device: torch.device) -> LabellingTask:
        return LabellingTask(recipe, data, device)

    def prepare(
        self, task: LabellingTask, recipe: LabellingRecipe, data: Examples, run: Run, tell: Listener
    ) -> dict[str, float]:
        if not recipe.pretrain.epochs:
            return {}
        task.start, figures = pretrain(recipe, data, task.device, run.pretraining, tell)
        return figures

    def load(self, path: Path) -> LabellingPredictor:
        return LabellingPredictor(*load(path))

    def evaluate(self, path: Path, overrides: tuple[str, ...], tell: Tell) -> dict[str, float]:
        return evaluate_run(path, overrides, tell)

    def shown(self, recipe: LabellingRecipe, data: Examples) -> tuple[str, ...]:
        return shown(recipe, data.schemes)

    def judged(self, recipe: LabellingRecipe, data: Examples) -> tuple[str, ...]:
        return judged(recipe, data.schemes)

    def title(self, recipe: LabellingRecipe) -> str:
        crf = any(head.tagging and head.crf for head in recipe.heads.values())
        return (
            body.title(recipe.model)
            + " + crf" * crf
            + ", pre-trained" * bool(recipe.pretrain.epochs or recipe.model.pretrained)
        )

    def folds(self, recipe: LabellingRecipe) -> TableData | None:
        return recipe.data if recipe.data.folds else None

    def baselines(
        self, recipe: LabellingRecipe, data: Examples, device: torch.device, tell: Listener
    ) -> list[dict[str, Any]]:
        return baselines.rows(recipe, data, device, tell, self.rower(recipe, data))

    def extras(self, task: LabellingTask, model: nn.Module, figures: Mapping[str, float]) -> dict[str, Any]:
        assert isinstance(model, Labeller)
        return extras(task, model)
