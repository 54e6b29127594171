"""Language models: from a text to a trained model, its figures, samples and report."""

from ...registry import tasks
from .corpus import Corpus, metrics, unknown_notes
from .job import title, train
from .recipe import LanguageRecipe
from .task import LanguageTask, build
from .use import continue_text, evaluate_run, load

tasks["language"] = LanguageRecipe

__all__ = [
    "Corpus",
    "LanguageRecipe",
    "LanguageTask",
    "build",
    "continue_text",
    "evaluate_run",
    "load",
    "metrics",
    "title",
    "train",
    "unknown_notes",
]
