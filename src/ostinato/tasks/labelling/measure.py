"""Metrics of each head, from answers by name."""

from collections.abc import Sequence
from functools import partial

import torch

from ...metrics import SpanScores
from ...metrics import classification as scores
from ...models.heads import Decision
from .examples import Examples
from .recipe import Head, LabellingRecipe


def metric_name(recipe: LabellingRecipe, head: str, metric: str) -> str:
    """What a head's metric is called: "accuracy", or among several heads "intent_accuracy", "slot_f1"."""
    return metric if len(recipe.heads) == 1 else f"{head}_{metric.removeprefix('span_').removeprefix('token_')}"


def main_metric(head: Head, scheme: str | None) -> str:
    """The metric that a head is judged by."""
    if head.kind == "class":
        return "accuracy"
    if head.kind == "labels":
        return "micro_f1"
    return "token_accuracy" if scheme is None else "span_f1"


def shown(recipe: LabellingRecipe, schemes: dict[str, str | None]) -> tuple[str, ...]:
    """The metrics that tables show."""
    names = []
    for name, head in recipe.heads.items():
        found = [main_metric(head, schemes.get(name))]
        found += ["macro_f1"] if head.kind != "tags" else ["token_accuracy"] if found != ["token_accuracy"] else []
        names += [metric_name(recipe, name, metric) for metric in found]
    return tuple(names)


def judged(recipe: LabellingRecipe, schemes: dict[str, str | None]) -> tuple[str, ...]:
    """The main metric of each head."""
    return tuple(metric_name(recipe, name, main_metric(head, schemes.get(name))) for name, head in recipe.heads.items())


def monitored(recipe: LabellingRecipe, examples: Examples) -> str:
    """The metric that decides what is best: the one head's, or the mean over the heads."""
    if len(recipe.heads) > 1:
        return "mean"
    ((name, head),) = recipe.heads.items()
    return main_metric(head, examples.schemes.get(name))


def named(
    recipe: LabellingRecipe, examples: Examples, split: str, name: str, answers: Sequence[Decision]
) -> tuple[list[list[str]], list[list[str]]]:
    """What is right in a head, and what was said, by name; tags in the scheme of the files."""
    gold, itos = examples.parts[split].gold[name], examples.codec.names[name].itos
    said = [[itos[i] for i in answer.ids] for answer in answers]
    if recipe.heads[name].tagging and recipe.heads[name].learnt != "same":
        filed = partial(examples.codec.as_filed, name)
        return list(map(filed, gold)), list(map(filed, said))
    return gold, said


def measure(
    recipe: LabellingRecipe, examples: Examples, split: str, answers: dict[str, list[Decision]]
) -> dict[str, float]:
    """The metrics of a split, higher is better except for nats; of the heads that were answered."""
    found, mains = {}, []
    for name, head in recipe.heads.items():
        if name not in answers:
            continue
        scheme, itos = examples.schemes.get(name), examples.codec.names[name].itos
        gold, said = named(recipe, examples, split, name, answers[name])
        each = _tags(gold, said, scheme) if head.tagging else _classes(head, gold, said, itos)
        mains.append(each[main_metric(head, scheme)])
        found |= {f"{split}/{metric_name(recipe, name, metric)}": value for metric, value in each.items()}
    if len(mains) == len(recipe.heads) > 1:
        found[f"{split}/mean"] = sum(mains) / len(mains)
    return found


def _tags(gold: list[list[str]], said: list[list[str]], scheme: str | None) -> dict[str, float]:
    total = sum(map(len, gold))
    right = sum(a == b for row, answer in zip(gold, said, strict=True) for a, b in zip(row, answer, strict=True))
    whole = sum(row == answer for row, answer in zip(gold, said, strict=True))
    found = {"token_accuracy": right / total, "sentence_accuracy": whole / len(gold)}
    if scheme is None:
        return found
    spans = SpanScores()
    for row, answer in zip(gold, said, strict=True):
        spans.add(row, answer)
    overall = spans.overall
    return {"span_f1": overall.f1, "span_precision": overall.precision, "span_recall": overall.recall, **found}


def _classes(head: Head, gold: list[list[str]], said: list[list[str]], itos: list[str]) -> dict[str, float]:
    # Answers that training never saw get numbers behind the known ones: they are missed, and are no class of their own.
    unseen = sorted({name for row in gold for name in row} - set(itos))
    number = {name: i for i, name in enumerate([*itos, *unseen])}
    if head.kind == "labels":
        wanted, given = (torch.zeros(len(gold), len(number), dtype=torch.int64) for _ in range(2))
        for row, (truth, guess) in enumerate(zip(gold, said, strict=True)):
            wanted[row, [number[name] for name in truth]] = 1
            given[row, [number[name] for name in guess]] = 1
        micro, macro, subset = scores.multilabel_scores(given, wanted)
        return {"micro_f1": micro, "macro_f1": macro, "subset_accuracy": subset}
    wanted = torch.tensor([number[row[0]] for row in gold])
    given = torch.tensor([number[row[0]] for row in said])
    return {"accuracy": scores.accuracy(given, wanted), "macro_f1": scores.macro_f1(given, wanted, len(number))}
