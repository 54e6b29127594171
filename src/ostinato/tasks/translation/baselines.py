"""What a translator with attention must beat on the same pairs: the source itself, and one fixed vector."""

from typing import Any

import torch

from ...train.loop import Listener
from ..job import Row
from ..rivals import rival
from .build import title
from .pairs import Pairs
from .recipe import NONE, TranslationRecipe
from .task import TranslationTask, quality

WITHOUT = "without attention"


def rows(
    recipe: TranslationRecipe, pairs: Pairs, device: torch.device, listen: Listener, row: Row
) -> list[dict[str, Any]]:
    """The recipe's baselines, scored on the test part."""
    table = []
    if recipe.baselines.copy_source:
        table.append(_copied(recipe, pairs, row))
    if recipe.baselines.without_attention_epochs and recipe.model.attends:
        table.append(_without(recipe, pairs, device, listen, row))
    return table


def _copied(recipe: TranslationRecipe, pairs: Pairs, row: Row) -> dict[str, Any]:
    figures = {}
    for split in ("valid", "test"):
        part = pairs.parts[split]
        found, _ = quality(part.sources, part.references, recipe.search.bleu)
        figures |= {f"{split}/{name}": value for name, value in found.items()}
    return row("copied source", "baseline", 0, figures, None, "the source sentence as its own translation")


def without_attention(recipe: TranslationRecipe) -> TranslationRecipe:
    """The same recipe, but all that the decoder gets is one vector, in every step (Cho et al. 2014)."""
    model = recipe.model.model_copy(update={"attention": NONE, "feeding": False, "context": True})
    shorter = {"epochs": recipe.baselines.without_attention_epochs, "max_steps": None, "evaluate_steps": None}
    train = recipe.train.model_copy(update=shorter)
    return recipe.model_copy(update={"model": model, "train": train})


def _without(
    recipe: TranslationRecipe, pairs: Pairs, device: torch.device, listen: Listener, row: Row
) -> dict[str, Any]:
    own = without_attention(recipe)
    task = TranslationTask(own, pairs, device)
    made = rival(WITHOUT, task, own, device, listen, row, f"{title(own)}; the same recipe")
    pairs.said[WITHOUT] = task.said["test"]
    return made
