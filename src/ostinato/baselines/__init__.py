"""Baselines: what a recurrent network has to beat."""

from ostinato.baselines.hmm import HMM
from ostinato.baselines.ngram import KneserNey, Unigram
from ostinato.baselines.tagger import HMMTagger
from ostinato.baselines.words import BagOfWords, Majority

__all__ = ["HMM", "BagOfWords", "HMMTagger", "KneserNey", "Majority", "Unigram"]
