"""Tasks: the only place where data and models meet, and where names become classes."""

from ..registry import tasks
from . import blanks as blanks  # fills the registry
from . import labelling as labelling
from . import language as language
from . import training as training
from . import translation as translation
from .predictor import Predictor, load

__all__ = ["Predictor", "load", "tasks"]
