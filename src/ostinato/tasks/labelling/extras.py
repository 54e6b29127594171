"""What the report of a labelling run shows besides the metrics: confusions, calibration, mistakes, attention."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import tree
from ...data.buckets import bucketed, padding_share
from ...metrics import SpanScores, calibration, class_scores, confusion_matrix
from ...models import Labeller
from ...models.heads import Decision
from ...models.labeller import saliency
from .examples import Part
from .measure import named
from .recipe import Head
from .task import LabellingTask, answered, pad_rows

MISTAKES = 20  # shared by the heads
ATTENDED = 6  # rows of each head with attention pooling
MOST_CLASSES = 200  # of a confusion matrix that is kept
MOST_TOKENS = 60  # of a text that is shown
BESIDE = 3  # tokens that stay beside a strong one when a text is cut
GAP = "…"


class Answered(NamedTuple):
    """One head's answers to the test part, by name."""

    name: str
    head: Head
    gold: list[list[str]]
    said: list[list[str]]
    ids: list[list[int]]  # of what was said, as the model knows it
    sure: list[list[float]]
    names: list[str]  # the known ones, then those that only the test part has; of chunks, their types
    chunks: bool


def extras(task: LabellingTask, model: Labeller) -> dict[str, Any]:
    """What results.json holds for the report; see the keys below. The answers are those of the task's evaluation.

    confusion    head -> {"names", "matrix"}: rows are right, columns said; of chunks, their types token by token
    calibration  head -> {"confidence", "accuracy", "counts", "expected_error"}; None where a bin is empty
    per_tag      head -> [{"label", "precision", "recall", "f1", "support"}]; of chunks, whole ones
    mistakes     the most confident wrong answers; "at" is the token that a wrong tag stands at
    attention    for heads with attention pooling: rows of the test part, {"tokens", "weights", "gold", "said"}
    padding      {"share", "unsorted"} of the training batches
    """
    part = task.examples.parts["test"]
    found = task.said.get("test") or answered(model, part.rows, task.recipe.data.batch_valid)
    heads = [_answers(task, name, [row[name] for row in found]) for name in task.recipe.heads]
    classes = [head for head in heads if head.head.kind != "labels"]
    drawn = {
        "confusion": {head.name: _confusion(head) for head in classes if len(head.names) <= MOST_CLASSES},
        "calibration": {head.name: _calibration(head) for head in classes},
        "per_tag": {head.name: _per_tag(head) for head in heads},
        "mistakes": [shown for head in heads for shown in _mistakes(model, part, head, MISTAKES // len(heads))],
        "attention": [shown for head in heads for shown in _attention(model, part, head)],
    }
    return {**{key: value for key, value in drawn.items() if value}, "padding": _padding(task)}


def _answers(task: LabellingTask, name: str, decisions: Sequence[Decision]) -> Answered:
    gold, said = named(task.recipe, task.examples, "test", name, decisions)
    itos = task.examples.codec.names[name].itos
    chunks = task.examples.schemes.get(name) is not None
    names = [*itos, *sorted({answer for row in gold for answer in row} - set(itos))]
    names = list(dict.fromkeys(map(_kind, names))) if chunks else names
    ids, sure = [d.ids for d in decisions], [d.confidence for d in decisions]
    return Answered(name, task.recipe.heads[name], gold, said, ids, sure, names, chunks)


def _kind(tag: str) -> str:
    """The type of a chunk's tag: PER of B-PER."""
    return tag.partition("-")[2] or tag


def _confusion(head: Answered) -> dict[str, Any]:
    number = {name: i for i, name in enumerate(head.names)}
    kinds = ([_kind(a) if head.chunks else a for row in rows for a in row] for rows in (head.said, head.gold))
    said, gold = (torch.tensor([number[kind] for kind in row]) for row in kinds)
    return {"names": head.names, "matrix": confusion_matrix(said, gold, len(number)).tolist()}


def _calibration(head: Answered) -> dict[str, Any]:
    sure = torch.tensor([p for row in head.sure for p in row], dtype=torch.float64)
    pairs = zip(head.gold, head.said, strict=True)
    wrong = torch.tensor([a != b for gold, said in pairs for a, b in zip(gold, said, strict=True)])
    # One column, the answer that was given: a CRF's best path may hold a tag that is not the likeliest of its step.
    found = calibration(sure[:, None], wrong.long())
    confidence, accuracy = ([None if p != p else p for p in x.tolist()] for x in (found.confidence, found.accuracy))
    return {"confidence": confidence, "accuracy": accuracy, "counts": found.counts.tolist(),
            "expected_error": found.expected_error}  # fmt: skip


def _per_tag(head: Answered) -> list[dict[str, Any]]:
    if head.chunks:
        spans = SpanScores()
        for gold, said in zip(head.gold, head.said, strict=True):
            spans.add(gold, said)
        rows = [(label, s.precision, s.recall, s.f1, s.gold) for label, s in spans.by_label.items()]
    elif head.head.kind == "labels":
        rows = []
        for name in head.names:
            there, given = (torch.tensor([name in row for row in side]).long() for side in (head.gold, head.said))
            rows.append((name, *class_scores(given, there, 2)[1]))
    else:
        number = {name: i for i, name in enumerate(head.names)}
        said, gold = (torch.tensor([number[a] for row in side for a in row]) for side in (head.said, head.gold))
        rows = [(n, *s) for n, s in zip(head.names, class_scores(said, gold, len(number)), strict=True)]
    keys = ("label", "precision", "recall", "f1", "support")
    return [dict(zip(keys, row, strict=True)) for row in rows]


class Wrong(NamedTuple):
    """The most confident wrong answer of one row."""

    confidence: float
    row: int
    step: int | None  # of a tag
    said: str


def _wrong(head: Answered) -> Iterator[Wrong]:
    for row, (gold, said, sure) in enumerate(zip(head.gold, head.said, head.sure, strict=True)):
        if head.head.tagging:
            missed = [Wrong(p, row, t, b) for t, (a, b, p) in enumerate(zip(gold, said, sure, strict=True)) if a != b]
        else:  # a label that was left out has no confidence of its own, so only those that were said are seen here
            missed = [Wrong(p, row, None, b) for b, p in zip(said, sure, strict=True) if b not in gold]
        if missed:
            yield max(missed, key=lambda one: one.confidence)


def _mistakes(model: Labeller, part: Part, head: Answered, most: int) -> Iterator[dict[str, Any]]:
    for wrong in sorted(_wrong(head), key=lambda one: (-one.confidence, one.row))[:most]:
        tokens, at = part.tokens[wrong.row], wrong.step
        x, lengths = (given.to(next(model.parameters()).device) for given in pad_rows([part.rows[wrong.row]]))
        which = head.said[wrong.row].index(wrong.said) if at is None else at
        target = torch.tensor([head.ids[wrong.row][which]], device=lengths.device)
        if at is None:
            slopes = saliency(model, x, lengths, head.name, target)
        else:
            slopes = _tag_saliency(model, x, lengths, head.name, at, int(target))
        gold, said = head.gold[wrong.row], head.said[wrong.row]
        shown, weights, place = excerpt(tokens, slopes[0, : len(tokens)].tolist(), at)
        yield {
            "head": head.name,
            "gold": ", ".join(gold) if at is None else gold[at],
            "said": ", ".join(said) if at is None else said[at],
            "confidence": wrong.confidence,
            "place": _place(part, wrong.row),
            "tokens": shown,
            "saliency": weights,
            **({} if place is None else {"at": place}),
        }


def _tag_saliency(model: Labeller, x: Tensor, lengths: Tensor, head: str, step: int, tag: int) -> Tensor:
    """As `saliency`, for the score of one tag at one step of a single row; of a CRF, without its transitions."""
    with torch.enable_grad():
        vectors = model.embedder(x, lengths).detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.judge(vectors, lengths)[head][0, step, tag], vectors)
    return tree.masked((slope * vectors.detach()).sum(-1), lengths)


def _attention(model: Labeller, part: Part, head: Answered) -> Iterator[dict[str, Any]]:
    pool = getattr(model.head(head.name), "pool", None)
    if pool is None or pool.kind != "attention":
        return
    long = [i for i, tokens in enumerate(part.tokens) if len(tokens) > 2]
    for row in long[:: max(len(long) // ATTENDED, 1)][:ATTENDED]:
        x, lengths = (given.to(next(model.parameters()).device) for given in pad_rows([part.rows[row]]))
        tokens = part.tokens[row]
        with torch.no_grad():
            weights = pool.attend(model.features(x, lengths), lengths)[0, : len(tokens)].tolist()
        shown, kept, _ = excerpt(tokens, weights)
        yield {"head": head.name, "tokens": shown, "weights": kept, "gold": ", ".join(head.gold[row]),
               "said": ", ".join(head.said[row]), "place": _place(part, row)}  # fmt: skip


def excerpt(
    tokens: Sequence[str], weights: Sequence[float], at: int | None = None, most: int = MOST_TOKENS
) -> tuple[list[str], list[float], int | None]:
    """A text cut around its strongest tokens, and the token `at`: at most `most` tokens and what is beside them.

    Returns:
        The tokens, "…" where some were left out; their weights, 0 there; and where the token `at` is now.
    """
    kept = set[int]()
    for i in sorted(range(len(tokens)), key=lambda i: (i != at, -abs(weights[i]))):
        if len(tokens) > most and len(kept) >= most:
            break
        kept.update(range(max(i - BESIDE, 0), min(i + BESIDE + 1, len(tokens))))
    shown, values, place, before = list[str](), list[float](), None, -1
    for i in sorted(kept):
        if i > before + 1:
            shown.append(GAP)
            values.append(0.0)
        if i == at:
            place = len(shown)
        shown.append(tokens[i])
        values.append(float(f"{weights[i]:.4g}"))  # read by eyes
        before = i
    if tokens and before < len(tokens) - 1:
        shown.append(GAP)
        values.append(0.0)
    return shown, values, place


def _place(part: Part, row: int) -> str:
    place = part.table.places[row]
    return f"{Path(place.file).name}:{place.line}"


def _padding(task: LabellingTask) -> dict[str, float]:
    sizes, data = task.examples.parts["train"].sizes, task.recipe.data
    shares = {}
    for name, sort in (("share", 50), ("unsorted", 1)):
        batches = bucketed(sizes, data.batch, seed=task.recipe.seed, max_tokens=data.batch_tokens, sort=sort)
        shares[name] = padding_share(batches, sizes)
    return shares
