"""What a model of both sides must beat on the same blanks: the same net from left to right, Kneser-Ney, counts."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...baselines import KneserNey, Unigram
from ...train.loop import Listener
from .. import body
from ..job import Row
from ..rivals import rival
from .recipe import BlanksRecipe
from .sentences import SPECIALS, Sentences
from .task import BlanksTask, metrics

# Of (the end mark and the words before a blank) the chance of every word, float64.
Guess = Callable[[list[int]], Any]


def rows(
    recipe: BlanksRecipe, sentences: Sentences, device: torch.device, listen: Listener, row: Row
) -> list[dict[str, Any]]:
    """The recipe's baselines, learnt from the training part and scored on the same blanks."""
    chosen = recipe.baselines
    table = []
    if chosen.one_sided and recipe.model.bidirectional:
        table.append(_one_sided(recipe, sentences, device, listen, row))
    if chosen.ngram_order:
        order, note = chosen.ngram_order, "of the words before the blank; interpolated modified"
        made = lambda ids, size: KneserNey.fit(ids, size, order)  # noqa: E731
        table.append(_counted(f"Kneser-Ney {order}-gram", made, sentences, listen, row, note))
    if chosen.unigram:
        table.append(_counted("unigram", Unigram.fit, sentences, listen, row, "add-one smoothing"))
    return table


def _counted(name: str, fit: Any, sentences: Sentences, listen: Listener, row: Row, note: str) -> dict[str, Any]:
    listen({"event": "phase", "text": f"baseline: {name}"})
    began = time.perf_counter()
    end = len(sentences.codec.words)  # an id of its own stands between sentences
    stream = [i for sentence in sentences.parts["train"] for i in (end, *sentence.tolist())]
    model = fit(np.array(stream), end + 1)
    speed = len(stream) / (time.perf_counter() - began)
    figures: dict[str, float] = {}
    for split in ("valid", "test"):
        figures |= scored(sentences, split, lambda before: model.distribution([end, *before]))
    return row(name, "baseline", model.parameters, figures, speed, note)


def scored(sentences: Sentences, split: str, guess: Guess) -> dict[str, float]:
    """The metrics of a guess from the words before each blank; its chances, like the model's, are of words alone."""
    nats, right, first = 0.0, 0, len(SPECIALS)
    for number, place in sentences.blanks[split]:
        sentence = sentences.parts[split][number].tolist()
        chances = guess(sentence[:place])[first : len(sentences.codec.words)]
        nats -= float(np.log(chances[sentence[place] - first] / chances.sum()))
        right += int(chances.argmax()) == sentence[place] - first
    return metrics(split, nats, right, len(sentences.blanks[split]))


def _one_sided(
    recipe: BlanksRecipe, sentences: Sentences, device: torch.device, listen: Listener, row: Row
) -> dict[str, Any]:
    """The same recipe, but the net reads from left to right; its layers are as wide as both directions together."""
    other = {"bidirectional": False, "hidden": 2 * recipe.model.hidden}
    own = recipe.model_copy(update={"model": recipe.model.model_copy(update=other)})
    task, note = BlanksTask(own, sentences, device), "the same recipe, but sees only what stands before the blank"
    return rival(body.title(own.model), task, own, device, listen, row, note)
