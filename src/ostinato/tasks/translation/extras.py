"""What a report shows of a translator: where it looked, how it does on long sentences, what it wrote, its padding."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...data.buckets import bucketed
from ...metrics.translation import bleu
from ...models.seq2seq import Seq2Seq
from .pairs import Pairs, Part
from .recipe import TranslationRecipe
from .task import TranslationTask, translated

BINS, FEWEST = 6, 20  # of the curve over lengths; sentences in each, at the least
PICTURES, SAMPLES = 3, 8
OWN = "this model"


def extras(task: TranslationTask, model: Seq2Seq) -> dict[str, Any]:
    """The keys `attention`, `lengths`, `translations` and `padding` of results.json, for the test part."""
    recipe, pairs = task.recipe, task.pairs
    test = pairs.parts["test"]
    said = {OWN: task.said["test"], **pairs.said}
    found: dict[str, Any] = {
        "lengths": length_curve(test, said, recipe.search.bleu),
        "translations": samples(test, said),
        "padding": padding(recipe, pairs),
    }
    if recipe.model.attends:
        found["attention"] = pictures(task, model, test)
    return found


def length_curve(test: Part, said: dict[str, list[str]], tokenize: str) -> dict[str, Any]:
    """BLEU of each model by the length of the source, in bins of about as many sentences."""
    sizes = [len(row) - 1 for row in test.source]
    rows = []
    for first, last in bins(sizes):
        chosen = [i for i, size in enumerate(sizes) if first <= size <= last]
        references = [test.references[i] for i in chosen]
        values = {name: bleu([texts[i] for i in chosen], references, tokenize).score for name, texts in said.items()}
        rows.append({"from": first, "to": last, "count": len(chosen), "values": values})
    return {"unit": "source tokens", "metric": "BLEU", "rows": rows}


def bins(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring ranges (first, last) that hold all sizes, about as many in each; a size is never cut in two."""
    ordered = sorted(sizes)
    wanted = max(FEWEST, -(-len(ordered) // BINS))
    edges: list[tuple[int, int]] = []
    start = 0
    while start < len(ordered):
        end = min(start + wanted, len(ordered))
        while end < len(ordered) and ordered[end] == ordered[end - 1]:
            end += 1
        if len(ordered) - end < FEWEST:
            end = len(ordered)
        edges.append((ordered[start], ordered[end - 1]))
        start = end
    return edges


def samples(test: Part, said: dict[str, list[str]]) -> list[dict[str, str]]:
    """Sentences from all over the test part, each with its reference and what the models wrote."""
    chosen = range(0, len(test), max(1, len(test) // SAMPLES))[:SAMPLES]
    names = {name: "translation" if name == OWN else name for name in said}
    return [
        {"source": test.sources[i], "reference": test.references[i]} | {n: said[name][i] for name, n in names.items()}
        for i in chosen
    ]


def pictures(task: TranslationTask, model: Seq2Seq, test: Part) -> list[dict[str, Any]]:
    """Where each word of a translation looked: for a short, a typical and a long sentence."""
    order = sorted(range(len(test)), key=lambda i: len(test.source[i]))
    chosen = [order[round(share * (len(order) - 1))] for share in (0.1, 0.5, 0.95)][:PICTURES]
    codec, drawn = task.pairs.codec, []
    for i in dict.fromkeys(chosen):
        ((best,),) = translated(model, codec, [test.source[i]], 1, task.recipe.search)
        assert best.attention is not None
        words = [*best.ids, codec.boundary] if best.ended else best.ids
        drawn.append({
            "source": codec.pieces(test.source[i].tolist(), "source"),
            "target": codec.pieces(words, "target"),
            "weights": [[round(w, 4) for w in row] for row in best.attention.tolist()],
        })  # fmt: skip
    return drawn


def padding(recipe: TranslationRecipe, pairs: Pairs) -> dict[str, float]:
    """The share of padding in the batches of an epoch, and in those of rows that were not sorted by length."""
    train, data = pairs.parts["train"], recipe.data
    sides = torch.tensor([[len(s), len(t)] for s, t in zip(train.source, train.target, strict=True)])
    cut = {
        name: bucketed(train.sizes, data.batch, seed=recipe.seed, max_tokens=data.batch_tokens, sort=sort)
        for name, sort in (("share", 50), ("unsorted", 1))
    }
    return {name: _share(batches, sides) for name, batches in cut.items()}


def _share(batches: Sequence[Tensor], sides: Tensor) -> float:
    cells = sum(len(rows) * int(sides[rows].amax(0).sum()) for rows in batches)
    return 1 - int(sides.sum()) / cells
