"""What a trained translation run is good for: translations, and its figures on any pairs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...models.seq2seq import Seq2Seq
from ...stream import Hypothesis
from ..job import Tell, device_of
from ..predictor import Input, Predictor
from ..trained import elsewhere, loaded, measured, opened, unheard
from .build import build
from .codec import Codec
from .pairs import Pairs
from .recipe import TranslationRecipe
from .task import TranslationTask, translated

EVALUATED = ("device", "data", "search")
FIXED = ("data.tokens", "data.target_tokens", "data.joint", "data.lower")
LONGEST = 2000  # source tokens: more is no sentence


class Translator(Predictor):
    """Translations of a trained run: {"translation", "score"}, with `n_best` more of the kind in a list of that name.

    The score is log p / length penalty, as the search compares it: of two translations of one sentence the higher one
    is likelier. Neither the order of the texts nor what stands beside one changes its translation.
    """

    def __init__(self, model: Seq2Seq, recipe: TranslationRecipe, codec: Codec) -> None:
        self.model, self.recipe, self.codec = model, recipe, codec

    def reads(self) -> str:
        return self.recipe.data.theirs(self.recipe.data.source)

    def refuses(self, text: Input) -> str:
        (row,) = self.codec.read([_joined(text)])
        if len(row) == 1:  # the mark of its end
            return "has no token; leave it out"
        if len(row) > LONGEST:
            return f"has {len(row) - 1:,} tokens, and {LONGEST:,} are the most; give it sentence by sentence"
        return ""

    def answers(self, texts: Sequence[Input], n_best: int) -> list[dict[str, Any]]:
        rows = self.codec.read(map(_joined, texts))
        recipe = self.recipe
        found = translated(self.model, self.codec, rows, recipe.data.batch_valid, recipe.search, n_best)
        return [self._answer(hypotheses, n_best) for hypotheses in found]

    def _answer(self, hypotheses: list[Hypothesis], n_best: int) -> dict[str, Any]:
        said = [{"translation": self.codec.written(one.ids), "score": one.score} for one in hypotheses]
        return {**said[0], "n_best": said} if n_best > 1 else said[0]

    def written(self, source: Input, answer: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        text = _joined(source)
        for rank, one in enumerate(answer.get("n_best", [answer]), start=1):
            place = {"rank": rank} if "n_best" in answer else {}
            yield {**place, "translation": one["translation"], "score": one["score"], "source": text}


def _joined(text: Input) -> str:
    return text if isinstance(text, str) else " ".join(text)


def load(path: Path, overrides: tuple[str, ...] = ()) -> tuple[Seq2Seq, TranslationRecipe, Codec]:
    """A trained model from its run folder, in eval mode.

    Raises:
        RunError, CheckpointError, RecipeError: the folder, the weights or an override do not fit.
    """
    return loaded(opened(path, TranslationRecipe, overrides, EVALUATED, FIXED), Codec.load, build)


def evaluate_run(path: Path, overrides: tuple[str, ...] = (), tell: Tell = unheard) -> dict[str, float]:
    """The metrics of a trained model on its own pairs, or on those that `data.path=...` names.

    Other pairs without a test part are scored from end to end, as "test". `tell` hears what one should know before
    believing them.

    Raises: as `load`, and as `Pairs.read`.
    """
    model, recipe, codec = load(path, overrides)
    pairs = Pairs.read(recipe, codec, whole=elsewhere(path, recipe))
    task = TranslationTask(recipe, pairs, device_of(recipe.device))
    return measured(task, model, pairs, [split for split in pairs.parts if split != "train"], tell)
