"""Models: recurrent parts with an input and an output side."""

from .language import LanguageModel, score

__all__ = ["LanguageModel", "score"]
