"""What a trained run is good for: its figures, on any text, and new text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...data.files import read_text
from ...data.tokens import Tokenizer
from ...models import LanguageModel
from ..job import Tell
from ..run import Run
from ..trained import as_trained, opened, restored, unheard
from .corpus import Corpus, enough, read_tokens, unknown_notes
from .dynamic import dynamic_figures
from .recipe import LanguageRecipe
from .task import build, figures, line_end
from .writing import known, written

EVALUATED = ("device", "data.path", "data.fractions", "dynamic")


def load(path: Path, overrides: tuple[str, ...] = ()) -> tuple[LanguageModel, LanguageRecipe, Tokenizer, Run]:
    """A trained model from its run folder, in eval mode.

    Raises:
        RunError, CheckpointError, RecipeError: the folder, the weights or an override do not fit.
    """
    run, recipe = opened(path, LanguageRecipe, overrides, EVALUATED)
    tokenizer = Tokenizer.load(run.tokenizer)
    model, _ = build(recipe.model.model_copy(update={"vectors": None}), tokenizer)
    return restored(model, run, recipe), recipe, tokenizer, run


def evaluate_run(path: Path, overrides: tuple[str, ...] = (), tell: Tell = unheard) -> dict[str, float]:
    """The metrics of a trained model on its own text, or on the one that `data.path=...` names.

    Another text in a single file is scored from end to end, as "test"; `data.fractions=...` cuts it instead. Dynamic
    evaluation (`dynamic.lr=[...]`) also reads the text that the model was trained on. `tell` hears what one should know
    before believing them.

    Raises: as `load`, and as `Corpus.read`.
    """
    model, recipe, tokenizer, run = load(path, overrides)
    own, data = as_trained(run, LanguageRecipe).data, recipe.data
    text = Path(data.path or "")
    other = data.path != own.path and text.resolve() != Path(own.path or "").resolve()
    if other and data.fractions == own.fractions and text.is_file():
        splits = {"test": read_tokens(tokenizer, read_text(text))}
        enough(splits["test"], str(text))
    else:
        splits = {name: part for name, part in Corpus.read(recipe, tokenizer).splits.items() if name != "train"}
    found: dict[str, float] = {}
    end = line_end(recipe, tokenizer)
    for name, part in splits.items():
        found |= figures(model, name, part, end)
    if recipe.dynamic.lr and "test" in splits:
        learnt = Corpus.read(as_trained(run, LanguageRecipe), tokenizer)
        found |= dynamic_figures(model, recipe, learnt, splits["test"], end)
    for doubt in unknown_notes(found):
        tell(doubt)
    return found


def continue_text(
    path: Path, prompt: str, count: int, sampling: dict[str, Any], stop: str = "", unknown: bool = False
) -> Iterator[str]:
    """The text that a trained model writes after `prompt`, piece by piece.

    Raises:
        ValueError: the prompt has words that the model does not know, unless `unknown` lets them be <unk>.
    """
    model, _, tokenizer, _ = load(path)
    known(tokenizer, "" if unknown else prompt, stop, ", or let them be <unk> by --allow-unknown")
    return written(model, tokenizer, prompt, count, sampling, stop)
