"""Filling in blanks: a model that sees both sides of a missing word against one that sees what stands before it."""

from ...registry import tasks
from .job import BlanksJob
from .recipe import BlanksRecipe
from .sentences import Codec, Sentences
from .task import BlanksTask
from .use import BlankPredictor, evaluate_run, load

tasks["blanks"] = BlanksJob()

__all__ = ["BlankPredictor", "BlanksJob", "BlanksRecipe", "BlanksTask", "Codec", "Sentences", "evaluate_run", "load"]
