"""Baselines: what a recurrent network has to beat."""

from ostinato.baselines.ngram import KneserNey, Unigram

__all__ = ["KneserNey", "Unigram"]
