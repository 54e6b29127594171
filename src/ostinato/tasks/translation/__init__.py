"""Translation: an encoder, a decoder with or without attention, and a search for the likeliest sentence."""

from ...registry import tasks
from .codec import Codec
from .job import TranslationJob
from .pairs import Pairs
from .recipe import TranslationRecipe
from .task import TranslationTask
from .use import Translator, evaluate_run, load

tasks["translation"] = TranslationJob()

__all__ = [
    "Codec",
    "Pairs",
    "TranslationJob",
    "TranslationRecipe",
    "TranslationTask",
    "Translator",
    "evaluate_run",
    "load",
]
