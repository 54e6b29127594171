"""What labelling must beat on the same rows: counts, a bag of words, an HMM, other nets under the same recipe."""

import time
from collections import Counter, defaultdict
from typing import Any

import torch

from ...baselines.tagger import HMMTagger
from ...baselines.words import BagOfWords, Majority
from ...models.heads import Decision
from ...train.loop import Listener
from .. import body
from ..job import Row
from ..rivals import rival
from .codec import fold
from .examples import Examples, Part
from .measure import measure
from .recipe import LabellingRecipe
from .task import LabellingTask

Answers = dict[str, list[Decision]]


def rows(
    recipe: LabellingRecipe, examples: Examples, device: torch.device, listen: Listener, row: Row
) -> list[dict[str, Any]]:
    """The recipe's baselines, fitted on the training part and scored on the test part."""
    chosen = recipe.baselines
    table = []
    kinds = {head.kind for head in recipe.heads.values()}
    if chosen.majority:
        what = "majority" if kinds == {"class"} else "most frequent answers"
        table.append(_counted(what, frequent, recipe, examples, listen, row))
    if bagged(recipe):
        table.append(_counted("bag of words", bag_of_words, recipe, examples, listen, row))
    if chosen.hmm and "tags" in kinds:
        table.append(_counted("hidden Markov model", hidden_markov, recipe, examples, listen, row))
    for cell, epochs in (
        (body.MEMORYLESS, chosen.memoryless_epochs),
        (body.CONVOLUTION, chosen.convolution_epochs),
        (body.TRANSFORMER, chosen.transformer_epochs),
    ):
        if epochs:
            table.append(_other_net(recipe, examples, device, listen, row, cell, epochs))
    return table


def bagged(recipe: LabellingRecipe) -> bool:
    """Whether a bag of words, which needs scikit-learn, stands beside it."""
    return recipe.baselines.words and not all(head.tagging for head in recipe.heads.values())


def _counted(
    name: str, fit: Any, recipe: LabellingRecipe, examples: Examples, listen: Listener, row: Row
) -> dict[str, Any]:
    """A baseline without gradients: `fit` gives how it answers a part, its parameters and a note."""
    listen({"event": "phase", "text": f"baseline: {name}"})
    began = time.perf_counter()
    answer, parameters, note = fit(recipe, examples)
    speed = sum(examples.parts["train"].sizes) / (time.perf_counter() - began)
    figures: dict[str, float] = {}
    for split in ("valid", "test"):
        figures |= measure(recipe, examples, split, answer(examples.parts[split]))
    return row(name, "baseline", parameters, figures, speed, note)


def frequent(recipe: LabellingRecipe, examples: Examples) -> Any:
    """The most frequent class; of tags each word's most frequent one, for unknown words the most frequent of all."""
    train, answers, parameters = examples.parts["train"], {}, 0
    for name, head in recipe.heads.items():
        names = examples.codec.names[name]
        if not head.tagging:
            chosen = Majority.fit(torch.stack(train.targets[name]).numpy(), len(names)).predict(1)[0]
            ids = [int(chosen)] if head.kind == "class" else chosen.nonzero()[0].tolist()
            answers[name] = lambda part, ids=ids: [Decision(ids, [1.0] * len(ids)) for _ in part.rows]
            continue
        seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for words, tags in zip(train.tokens, train.gold[name], strict=True):
            for word, tag in zip(fold(recipe.data, words), tags, strict=True):
                seen[word][tag] += 1
        best = {word: names.stoi[counts.most_common(1)[0][0]] for word, counts in seen.items()}
        usual = names.counts.argmax()
        parameters += len(best)
        answers[name] = lambda part, best=best, usual=int(usual): [
            Decision([best.get(word, usual) for word in fold(recipe.data, words)], []) for words in part.tokens
        ]
    return (lambda part: {name: answer(part) for name, answer in answers.items()}), parameters, "counts"


def bag_of_words(recipe: LabellingRecipe, examples: Examples) -> Any:
    """Logistic regression on words and pairs of words, one for each head of a text; its strength is chosen on valid."""
    fitted = {}
    texts = {part: [fold(recipe.data, words) for words in examples.parts[part].tokens] for part in ("train", "valid")}
    for name in (name for name, head in recipe.heads.items() if not head.tagging):
        labels = {part: torch.stack(examples.parts[part].targets[name]).numpy() for part in texts}
        fitted[name] = BagOfWords.fit(texts["train"], labels["train"], texts["valid"], labels["valid"])

    def answer(part: Part) -> Answers:
        words = [fold(recipe.data, row) for row in part.tokens]
        return {name: _decided(model.predict(words), recipe.heads[name].kind) for name, model in fitted.items()}

    strengths = ", ".join(f"{model.strength:g}" for model in fitted.values())
    # Several labels are as many regressions.
    parts = [one for model in fitted.values() for one in getattr(model.regression, "estimators_", [model.regression])]
    size = sum(one.coef_.size for one in parts)
    return answer, size, f"words and pairs of words, tf-idf, C {strengths} by the valid part"


def _decided(predicted: Any, kind: str) -> list[Decision]:
    if kind == "class":
        return [Decision([int(i)], [1.0]) for i in predicted]
    return [Decision(row.nonzero()[0].tolist(), []) for row in predicted]


def hidden_markov(recipe: LabellingRecipe, examples: Examples) -> Any:
    """A hidden Markov model for each head of tags."""
    fitted = {}
    for name in (name for name, head in recipe.heads.items() if head.tagging):
        # Words as they stand: their form tells of unknown ones.
        parts = (examples.parts[part] for part in ("train", "valid"))
        train, valid = (list(zip(part.tokens, part.gold[name], strict=True)) for part in parts)
        fitted[name] = HMMTagger.fit(train, valid)

    def answer(part: Part) -> Answers:
        found = {}
        for name, model in fitted.items():
            stoi = examples.codec.names[name].stoi
            found[name] = [Decision([stoi[tag] for tag in row], []) for row in model.predict(part.tokens)]
        return found

    pairs = {
        (name, *pair)
        for name, gold in examples.parts["train"].gold.items()
        if name in fitted
        for row in zip(examples.parts["train"].tokens, gold, strict=True)
        for pair in zip(*row, strict=True)
    }
    strengths = ", ".join(f"{model.k:g}" for model in fitted.values())
    states = " and ".join(sorted({"pairs of tags" if model.order == 2 else "tags" for model in fitted.values()}))
    return (
        answer,
        len(pairs),
        f"counts, states are {states}, unknown words by their form, k {strengths} by the valid part",
    )


def _other_net(
    recipe: LabellingRecipe,
    examples: Examples,
    device: torch.device,
    listen: Listener,
    row: Row,
    cell: str,
    epochs: int,
) -> dict[str, Any]:
    """Another kind of net, everything else as the recipe says."""
    dropped = recipe.model.dropout.model_copy(update={"recurrent": 0.0})
    other = {"cell": cell, "options": {}, "bidirectional": False, "residual": False, "dropout": dropped}
    other |= {"pretrained": None}  # layers of another kind
    if recipe.model.bidirectional:
        other["hidden"] = 2 * recipe.model.hidden
    train = recipe.train.model_copy(update={"epochs": epochs, "max_steps": None, "evaluate_steps": None})
    own = recipe.model_copy(update={"model": recipe.model.model_copy(update=other), "train": train})
    task = LabellingTask(own, examples, device)
    return rival(cell, task, own, device, listen, row, f"{body.title(own.model)}, the same recipe")
