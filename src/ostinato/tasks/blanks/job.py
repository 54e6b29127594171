"""What filling in blanks adds to the way from a recipe to a run folder."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from ...train.loop import Listener
from ...train.recipe import Recipe
from .. import body
from ..job import Job, Tell
from . import baselines
from .recipe import BlanksRecipe
from .sentences import Codec, Sentences
from .task import BlanksTask
from .use import BlankPredictor, evaluate_run, load


class BlanksJob(Job[BlanksRecipe, Sentences]):
    schema: ClassVar[type[Recipe]] = BlanksRecipe
    free: ClassVar[tuple[str, ...]] = ("data.batch_valid",)

    def read(self, recipe: BlanksRecipe, tokenizer: Path | None = None) -> Sentences:
        return Sentences.read(recipe, None if tokenizer is None else Codec.load(tokenizer))

    def task(self, recipe: BlanksRecipe, data: Sentences, device: torch.device) -> BlanksTask:
        return BlanksTask(recipe, data, device)

    def load(self, path: Path) -> BlankPredictor:
        return BlankPredictor(*load(path))

    def evaluate(self, path: Path, overrides: tuple[str, ...], tell: Tell) -> dict[str, float]:
        return evaluate_run(path, overrides, tell)

    def shown(self, recipe: BlanksRecipe, data: Sentences) -> tuple[str, ...]:
        return ("accuracy", "perplexity")

    def title(self, recipe: BlanksRecipe) -> str:
        return body.title(recipe.model)

    def baselines(
        self, recipe: BlanksRecipe, data: Sentences, device: torch.device, tell: Listener
    ) -> list[dict[str, Any]]:
        return baselines.rows(recipe, data, device, tell, self.rower(recipe, data))
