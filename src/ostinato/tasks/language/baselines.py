"""What a language model must beat, on the same tokens: unigram, Kneser-Ney, a net without memory."""

import bz2
import math
import time
from typing import Any

import numpy as np
import torch

from ...baselines import KneserNey, Unigram
from ...train.loop import Listener
from ..body import MEMORYLESS
from ..job import Row
from ..rivals import rival
from .corpus import Corpus, metrics
from .recipe import Dynamic, LanguageRecipe, Regularise
from .task import LanguageTask


def rows(
    recipe: LanguageRecipe, corpus: Corpus, device: torch.device, listen: Listener, row: Row
) -> list[dict[str, Any]]:
    """The recipe's baselines, fitted on the training part and scored on the test part."""
    chosen = recipe.baselines
    table = []
    if chosen.unigram:
        listen({"event": "phase", "text": "baseline: unigram"})
        table.append(_counted("unigram", corpus, lambda ids, size: Unigram.fit(ids, size), "add-one smoothing", row))
    if chosen.ngram_order:
        order = chosen.ngram_order
        listen({"event": "phase", "text": f"baseline: Kneser-Ney {order}-gram"})
        note = "interpolated modified Kneser-Ney; its parameters are the n-grams it stores"
        table.append(
            _counted(f"Kneser-Ney {order}-gram", corpus, lambda ids, size: KneserNey.fit(ids, size, order), note, row)
        )
    if chosen.bzip2:
        table.append(_compressed(corpus, row))
    if chosen.feedforward_epochs != 0:
        table.append(_memoryless(recipe, corpus, device, listen, row))
    return table


def _counted(name: str, corpus: Corpus, fit: Any, note: str, row: Row) -> dict[str, Any]:
    began = time.perf_counter()
    ids = corpus.splits["train"].ids
    model = fit(ids, corpus.tokenizer.size)
    speed = len(ids) / (time.perf_counter() - began)
    figures: dict[str, float] = {}
    for split in ("valid", "test"):
        text = corpus.splits[split]
        figures |= metrics(split, -np.asarray(model.log_probs(text.ids))[1:], text)
    return row(name, "baseline", model.parameters, figures, speed, note)


def _compressed(corpus: Corpus, row: Row) -> dict[str, Any]:
    """bzip2 -9 of the test part alone; the note has the figure of the whole text.

    A compressor is quoted in bits per byte, a model in bits per character: bits per character = bits per byte * bytes /
    characters, and only bits of the same unit are compared.
    """
    text = corpus.raw.test
    bits = 8 * len(bz2.compress(text.encode()))
    figures = {
        "test/nats_per_char": bits * math.log(2) / len(text),
        "test/bits_per_char": bits / len(text),
        "test/bits_per_byte": bits / len(text.encode()),
    }
    whole = "".join(corpus.raw)
    size = len(whole.encode())
    rate = 8 * len(bz2.compress(whole.encode())) / size
    note = f"the test part alone; whole text: {rate:.3f} bits per byte = {rate * size / len(whole):.3f} per character"
    return row("bzip2 -9", "baseline", 0, figures, None, note)


def memoryless(recipe: LanguageRecipe) -> LanguageRecipe:
    """The same recipe for a feed-forward net that sees the current token only."""
    plain = {"regularise": Regularise(), "dropout": recipe.model.dropout.model_copy(update={"recurrent": 0.0})}
    net = {"cell": MEMORYLESS, "layers": 1, "options": {}, "residual": False, **plain}
    model = recipe.model.model_copy(update=net)
    epochs = recipe.baselines.feedforward_epochs or recipe.train.epochs
    shorter = {"epochs": epochs, "max_steps": None, "evaluate_steps": None, "unfreeze_epochs": None}
    train = recipe.train.model_copy(update=shorter)
    return recipe.model_copy(update={"model": model, "train": train, "dynamic": Dynamic()})


def _memoryless(
    recipe: LanguageRecipe, corpus: Corpus, device: torch.device, listen: Listener, row: Row
) -> dict[str, Any]:
    own = memoryless(recipe)
    task = LanguageTask(own, corpus, device)
    return rival("feed-forward net", task, own, device, listen, row, "sees the current token only")
