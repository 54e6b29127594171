"""Language models: from a text to a trained model, its figures, samples and report."""

from ...registry import tasks
from .job import continue_text, evaluate_run, load, title, train
from .recipe import LanguageRecipe
from .task import Corpus, LanguageTask, build, metrics

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
]
