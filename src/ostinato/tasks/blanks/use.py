"""What a trained run fills in, and its figures on any text."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ...data.buckets import pad
from ...models.filler import Filler
from ..job import Tell, device_of
from ..predictor import Input, Predictor
from ..run import Run
from ..trained import as_trained, elsewhere, loaded, measured, opened, unheard
from .recipe import BlanksRecipe
from .sentences import GAP, Codec, Sentences
from .task import BlanksTask, build

EVALUATED = ("device", "data")
FIXED = ("data.tokens", "data.lower")


class BlankPredictor(Predictor):
    """For each text the likeliest word at each ___ of it: {"words": [...], "confidence": [...]}.

    With `n_best` more than 1 also "n_best": for each blank [{"word", "confidence"}, ...], the best first. Several
    blanks of one text are filled each by itself.
    """

    def __init__(self, model: Filler, recipe: BlanksRecipe, codec: Codec) -> None:
        self.model, self.recipe, self.codec = model, recipe, codec

    def reads(self) -> str:
        return "text"

    def refuses(self, text: Input) -> str:
        blank = GAP.search(text if isinstance(text, str) else " ".join(text))
        return "" if blank else "has no blank; write ___ where a word is to be found"

    @torch.no_grad()
    def answers(self, texts: Sequence[Input], n_best: int) -> list[dict[str, Any]]:
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        answers: list[dict[str, Any]] = []
        size = self.recipe.data.batch_valid
        for first in range(0, len(joined), size):
            answers += self._answers([self.codec.encode(text) for text in joined[first : first + size]], n_best)
        return answers

    def _answers(self, rows: list[torch.Tensor], n_best: int) -> list[dict[str, Any]]:
        x, lengths = pad(rows)
        device = self.model.embedder.words.weight.device
        x, blanks = x.to(device), x.to(device) == self.codec.blank
        chances = self.model(x, blanks, lengths.to(device)).double().softmax(-1)
        most = min(max(1, n_best), chances.shape[1] - self.model.specials)
        sure, ids = chances.topk(most, dim=-1)
        ranked = [
            [{"word": self.codec.words.itos[i], "confidence": p} for i, p in zip(*pair, strict=True)]
            for pair in zip(ids.tolist(), sure.tolist(), strict=True)
        ]
        answers, waiting = [], iter(ranked)
        for count in blanks.sum(1).tolist():
            own = [next(waiting) for _ in range(count)]
            best = {"words": [o[0]["word"] for o in own], "confidence": [o[0]["confidence"] for o in own]}
            answers.append({**best, "n_best": own} if n_best > 1 else best)
        return answers

    def written(self, source: Input, answer: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        text = source if isinstance(source, str) else " ".join(source)
        for number, (word, sure) in enumerate(zip(answer["words"], answer["confidence"], strict=True)):
            row: dict[str, Any] = {"word": word, "confidence": sure}
            if "n_best" in answer:
                row["n_best"] = [(one["word"], one["confidence"]) for one in answer["n_best"][number]]
            yield {**row, "text": text}


def load(path: Path, overrides: tuple[str, ...] = ()) -> tuple[Filler, BlanksRecipe, Codec]:
    """A trained model from its run folder, in eval mode.

    Raises:
        RunError, CheckpointError, RecipeError: the folder, the weights or an override do not fit.
    """
    return loaded(opened(path, BlanksRecipe, overrides, EVALUATED, FIXED), Codec.load, build)


def evaluate_run(path: Path, overrides: tuple[str, ...] = (), tell: Tell = unheard) -> dict[str, float]:
    """The metrics of a trained model on its own text, or on the one that `data.path=...` names.

    Another text in one file is scored from end to end, as "test"; `data.fractions=...` cuts it instead. Of a
    folder the valid and the test part are scored. `tell` hears what one should know before believing them.

    Raises: as `load`, and as `Sentences.read`.
    """
    model, recipe, codec = load(path, overrides)
    own = as_trained(Run.open(path), BlanksRecipe)
    whole = elsewhere(path, recipe) and recipe.data.fractions == own.data.fractions
    task = BlanksTask(recipe, Sentences.read(recipe, codec, whole), device_of(recipe.device))
    return measured(task, model, task.sentences, list(task.sentences.blanks), tell)
