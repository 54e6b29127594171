"""What a language model adds to the way from a recipe to a run folder: a corpus, baselines, samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ...data.tokens import Tokenizer
from ...models import LanguageModel
from ...train.loop import Listener
from ...train.recipe import Recipe
from .. import body
from ..job import Job, Tell
from . import baselines
from .corpus import Corpus
from .guess import LanguagePredictor
from .recipe import LanguageRecipe
from .task import LanguageTask
from .use import evaluate_run, load
from .writing import beginning, known, samples


class LanguageJob(Job[LanguageRecipe, Corpus]):
    schema: ClassVar[type[Recipe]] = LanguageRecipe
    paths: ClassVar[tuple[str, ...]] = ("data.path", "model.vectors")
    free: ClassVar[tuple[str, ...]] = ("data.valid_streams", "dynamic", "samples")

    def read(self, recipe: LanguageRecipe, tokenizer: Path | None = None) -> Corpus:
        return Corpus.read(recipe, None if tokenizer is None else Tokenizer.load(tokenizer))

    def check(self, recipe: LanguageRecipe, data: Corpus) -> None:
        for prompt in recipe.samples.prompts:
            known(data.tokenizer, prompt, way_out=" (samples.prompts)")
            beginning(data.tokenizer, prompt)

    def task(self, recipe: LanguageRecipe, data: Corpus, device: torch.device) -> LanguageTask:
        return LanguageTask(recipe, data, device)

    def load(self, path: Path) -> LanguagePredictor:
        model, _, tokenizer, _ = load(path)
        return LanguagePredictor(model, tokenizer)

    def evaluate(self, path: Path, overrides: tuple[str, ...], tell: Tell) -> dict[str, float]:
        return evaluate_run(path, overrides, tell)

    def shown(self, recipe: LanguageRecipe, data: Corpus) -> tuple[str, ...]:
        return ("perplexity", "nats_per_char", "bits_per_char", "bits_per_byte")

    def title(self, recipe: LanguageRecipe) -> str:
        return body.title(recipe.model)

    def baselines(
        self, recipe: LanguageRecipe, data: Corpus, device: torch.device, tell: Listener
    ) -> list[dict[str, Any]]:
        return baselines.rows(recipe, data, device, tell, self.rower(recipe, data))

    def extras(self, task: LanguageTask, model: nn.Module, figures: Mapping[str, float]) -> dict[str, Any]:
        assert isinstance(model, LanguageModel)
        return {"samples": list(samples(task.recipe, model, task.corpus))}
