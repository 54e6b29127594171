"""Models: recurrent parts with an input and an output side."""

from .language import LanguageModel, score, score_documents

__all__ = ["LanguageModel", "score", "score_documents"]
