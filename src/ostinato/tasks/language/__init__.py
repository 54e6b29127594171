"""Language models: from a text to a trained model, its figures, samples and report."""

from ...registry import tasks
from .corpus import Corpus, metrics
from .job import LanguageJob
from .recipe import LanguageRecipe
from .task import LanguageTask, build
from .use import continue_text, evaluate_run, load

tasks["language"] = LanguageJob()

__all__ = [
    "Corpus",
    "LanguageJob",
    "LanguageRecipe",
    "LanguageTask",
    "build",
    "continue_text",
    "evaluate_run",
    "load",
    "metrics",
]
