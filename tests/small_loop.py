"""A training of 34 steps on a text of 80 lines, and what it takes to say that two of them are the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.tasks.language import Corpus, LanguageRecipe, LanguageTask
from ostinato.train import checkpoint
from ostinato.train.loop import Listener, Trainer
from ostinato.train.recipe import override, validate
from tiny import sentences

# 17 batches an epoch, evaluations after steps 7, 14, 17, 21, 28, 34; everything that is random is in use.
BASE = (
    "data.batch=4", "data.steps=10", "data.min_count=1", "model.hidden=8", "model.layers=2", "model.dropout.input=0.2",
    "model.dropout.between=0.3", "model.dropout.words=0.1", "train.epochs=2", "train.ema=0.9", "train.clip_norm=1.0",
    "train.log_steps=1", "train.evaluate_steps=7", "train.checkpoint_steps=3", "train.optimiser.lr=0.01",
)  # fmt: skip
LAST = 34


def read(path: Path, lines: int) -> Corpus:
    path.write_text(sentences(lines))
    return Corpus.read(validate(LanguageRecipe, {"data": {"path": str(path), "min_count": 1}}))


def trainer(corpus: Corpus, folder: Path | None, listen: Listener, *overrides: str) -> Trainer:
    recipe = validate(LanguageRecipe, override({"task": "language", "seed": 3}, (*BASE, *overrides)))
    task = LanguageTask(recipe, corpus, torch.device("cpu"))
    return Trainer(task, recipe.train, folder, recipe.seed, torch.device("cpu"), recipe.dtype, listen)


def scripted(made: Trainer, value: Callable[[int], float]) -> Trainer:
    """The trainer, but what decides which weights are best is `value` of the step: rounding decides nothing."""
    real = made.task.evaluate

    def evaluate(model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        return {**real(model, split, quick), f"valid/{made.task.monitor}": value(made.progress.step)}

    setattr(made.task, "evaluate", evaluate)  # noqa: B010 - a method of this one task
    return made


def quiet(event: dict[str, Any]) -> None:
    pass


def everything(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """The last and the best tensors of a run, and what else it knows, clocks left out."""
    last, meta = checkpoint.load(folder / "last.safetensors")
    best, _ = checkpoint.load(folder / "best.safetensors")
    del meta["progress"]["seconds"]
    return last, best, meta


def assert_same_run(one: Path, other: Path) -> None:
    (last, best, meta), (last_2, best_2, meta_2) = everything(one), everything(other)
    assert meta == meta_2
    for mine, theirs in ((last, last_2), (best, best_2)):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
