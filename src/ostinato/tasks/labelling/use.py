"""What a trained labelling run is good for: answers, and its figures on any rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...data import tags as schemes
from ...models import Labeller
from ...models.heads import Decision
from ..job import Tell, device_of
from ..predictor import Input, Predictor
from ..trained import elsewhere, loaded, measured, opened, unheard
from .build import build
from .codec import READING, Codec
from .examples import Examples
from .recipe import LabellingRecipe
from .task import LabellingTask, answered

EVALUATED = ("device", "data")
# How a text becomes numbers is the trained model's.
FIXED = tuple(f"data.{key}" for key in (*READING, "min_count", "max_size"))


class LabellingPredictor(Predictor):
    """Answers of a trained run.

    A class: {"label", "confidence"}; labels: {"labels": [{"label", "confidence"}]}; tags: {"tokens", "tags",
    "confidence": [one a token], "spans": [{"label", "text", "start", "end"}]}, the spans where tags write chunks. With
    several heads these stand under the heads' names. Confidences are probabilities; of tags the marginal one of each.

    With `n_best` more than 1 each head's answer also has "n_best", the best first: classes and labels as above, each
    label by itself; of tags whole sequences over the same tokens, {"tags", "confidence", "spans"}, where the one
    confidence is the probability of the sequence.
    """

    def __init__(self, model: Labeller, recipe: LabellingRecipe, codec: Codec) -> None:
        self.model, self.recipe, self.codec = model, recipe, codec

    def reads(self) -> str:
        return self.recipe.data.theirs(self.recipe.data.text)

    def learnt_from(self) -> str:
        return self.recipe.data.format

    def refuses(self, text: Input) -> str:
        if self.codec.sentences is not None and isinstance(text, str):
            return "is one text, and this model reads documents: give a list of sentences (JSONL)"
        return "" if self.codec.tokens(text) else "has no token; leave it out"

    def answers(self, texts: Sequence[Input], n_best: int) -> list[dict[str, Any]]:
        tokens = [self.codec.shortened(self.codec.tokens(text)) for text in texts]
        rows = [self.codec.encode(row) for row in tokens]
        batch = self.recipe.data.batch_valid
        best = answered(self.model, rows, batch)
        ranked = answered(self.model, rows, batch, n_best) if n_best > 1 else [{}] * len(rows)
        return [self._answer(*row) for row in zip(tokens, best, ranked, strict=True)]

    def _answer(self, tokens: list[str], best: dict[str, Decision], ranked: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, decision in best.items():
            answer = self._told(name, tokens, decision)
            if ranked:
                answer["n_best"] = [self._ranked(name, tokens, other) for other in ranked[name]]
            found[name] = answer
        return found if len(found) > 1 else next(iter(found.values()))

    def _ranked(self, name: str, tokens: list[str], decision: Decision) -> dict[str, Any]:
        """One of the n best."""
        told = self._told(name, tokens, decision)
        if "tags" in told:
            del told["tokens"]
            told["confidence"] = decision.confidence[0]  # a sequence's probability, which stands at each of its steps
        return told

    def _told(self, name: str, tokens: list[str], decision: Decision) -> dict[str, Any]:
        head = self.recipe.heads[name]
        kind = head.kind
        names = self.codec.names[name].decode(decision.ids)
        if kind == "class":
            return {"label": names[0], "confidence": decision.confidence[0]}
        if kind == "labels":
            pairs = zip(names, decision.confidence, strict=True)
            return {"labels": [{"label": label, "confidence": sure} for label, sure in pairs]}
        answer = {
            "tokens": tokens,
            "tags": self.codec.as_filed(name, names) if head.learnt != "same" else names,
            "confidence": decision.confidence,
        }
        return answer | _spans(tokens, names)

    def written(self, source: Input, answer: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        if len(self.recipe.heads) == 1 and self.recipe.tagging:
            yield from _taggings(answer) if "n_best" in answer else _tagged(answer)
            return
        heads = {"": answer} if len(self.recipe.heads) == 1 else answer
        row = {}
        for name, part in heads.items():
            row |= {f"{name}_{key}" if name else key: value for key, value in _flat(part).items()}
        yield {**row, "text": source if isinstance(source, str) else " ".join(source)}


def _tagged(answer: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """A tagger's answer: a row a token, and a blank line."""
    for token, tag, sure in zip(answer["tokens"], answer["tags"], answer["confidence"], strict=True):
        yield {"token": token, "tag": tag, "confidence": sure}
    yield None


def _taggings(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Its n best: a row a sequence, for each has one probability."""
    text = " ".join(answer["tokens"])
    for rank, one in enumerate(answer["n_best"], start=1):
        yield {"rank": rank, "tags": " ".join(one["tags"]), "confidence": one["confidence"], "text": text}


def _flat(answer: dict[str, Any]) -> dict[str, Any]:
    """One head's answer as columns."""
    columns: dict[str, Any] = {}
    if "tags" in answer:
        columns = {"tags": " ".join(answer["tags"])}
        if "n_best" in answer:
            columns["n_best"] = [(" ".join(one["tags"]), one["confidence"]) for one in answer["n_best"]]
        return columns
    if "label" in answer:
        columns = {"label": answer["label"], "confidence": answer["confidence"]}
    else:
        columns = {"labels": [(one["label"], one["confidence"]) for one in answer["labels"]]}
    if "n_best" in answer:
        columns["n_best"] = [(one["label"], one["confidence"]) for one in map(_single, answer["n_best"])]
    return columns


def _single(answer: dict[str, Any]) -> dict[str, Any]:
    return answer if "label" in answer else answer["labels"][0]


def _spans(tokens: list[str], names: list[str]) -> dict[str, Any]:
    try:
        found = schemes.spans(names)
    except ValueError:
        return {}  # parts of speech
    joined = [
        {"label": s.label, "text": " ".join(tokens[s.start : s.end]), "start": s.start, "end": s.end} for s in found
    ]
    return {"spans": joined}


def load(path: Path, overrides: tuple[str, ...] = ()) -> tuple[Labeller, LabellingRecipe, Codec]:
    """A trained model from its run folder, in eval mode.

    Raises:
        RunError, CheckpointError, RecipeError: the folder, the weights or an override do not fit.
    """
    return loaded(opened(path, LabellingRecipe, overrides, EVALUATED, FIXED), Codec.load, _bare)


def _bare(recipe: LabellingRecipe, codec: Codec) -> Labeller:
    """The model before its weights, which bring what it began from, and which tag may follow which."""
    model = recipe.model.model_copy(update={"vectors": None, "pretrained": None})
    return build(recipe.model_copy(update={"model": model}), codec, {})[0]


def evaluate_run(path: Path, overrides: tuple[str, ...] = (), tell: Tell = unheard) -> dict[str, float]:
    """The metrics of a trained model on its own rows, or on those that `data.path=...` names.

    Another file is scored from end to end, as "test"; of a folder its valid and test parts. `tell` hears what one
    should know before believing them.

    Raises: as `load`, and as `Examples.read`.
    """
    model, recipe, codec = load(path, overrides)
    examples = Examples.read(recipe, codec, whole=elsewhere(path, recipe))
    task = LabellingTask(recipe, examples, device_of(recipe.device))
    return measured(task, model, examples, [split for split in examples.parts if split != "train"], tell)
