"""What translation adds to the way from a recipe to a run folder: pairs, baselines, what the report shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ...metrics.translation import bleu
from ...models.seq2seq import Seq2Seq
from ...train.loop import Listener
from ...train.recipe import Recipe
from ..job import Job, Tell
from . import baselines, build
from .codec import Codec
from .extras import extras
from .pairs import Pairs
from .recipe import TranslationRecipe
from .task import TranslationTask
from .use import Translator, evaluate_run, load


class TranslationJob(Job[TranslationRecipe, Pairs]):
    schema: ClassVar[type[Recipe]] = TranslationRecipe
    free: ClassVar[tuple[str, ...]] = ("data.batch_valid", "search")

    def read(self, recipe: TranslationRecipe, tokenizer: Path | None = None) -> Pairs:
        return Pairs.read(recipe, None if tokenizer is None else Codec.load(tokenizer))

    def check(self, recipe: TranslationRecipe, data: Pairs) -> None:
        bleu(["a"], ["a"], recipe.search.bleu)  # an hour of training should not end with a missing package

    def task(self, recipe: TranslationRecipe, data: Pairs, device: torch.device) -> TranslationTask:
        return TranslationTask(recipe, data, device)

    def load(self, path: Path) -> Translator:
        return Translator(*load(path))

    def evaluate(self, path: Path, overrides: tuple[str, ...], tell: Tell) -> dict[str, float]:
        return evaluate_run(path, overrides, tell)

    def shown(self, recipe: TranslationRecipe, data: Pairs) -> tuple[str, ...]:
        return ("bleu", "chrf", "nats_per_token")

    def title(self, recipe: TranslationRecipe) -> str:
        return build.title(recipe)

    def baselines(
        self, recipe: TranslationRecipe, data: Pairs, device: torch.device, tell: Listener
    ) -> list[dict[str, Any]]:
        return baselines.rows(recipe, data, device, tell, self.rower(recipe, data))

    def extras(self, task: TranslationTask, model: nn.Module, figures: Mapping[str, float]) -> dict[str, Any]:
        assert isinstance(model, Seq2Seq)
        return extras(task, model)
