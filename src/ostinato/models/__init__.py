"""Models: recurrent parts with an input and an output side."""

from .decoder import Decoder, DecoderState
from .document import Sentences
from .dynamic import dynamic_score, gradient_rms
from .embedder import CharacterConvolution, CharacterReader, Characters, Embedder
from .heads import ClassHead, Decision, Head, LabelsHead, TagHead
from .labeller import Labeller, saliency
from .language import LanguageModel, score, score_documents
from .seq2seq import GoldShare, Seq2Seq, decoder_width

__all__ = [
    "CharacterConvolution",
    "CharacterReader",
    "Characters",
    "ClassHead",
    "Decision",
    "Decoder",
    "DecoderState",
    "Embedder",
    "GoldShare",
    "Head",
    "Labeller",
    "LabelsHead",
    "LanguageModel",
    "Sentences",
    "Seq2Seq",
    "TagHead",
    "decoder_width",
    "dynamic_score",
    "gradient_rms",
    "saliency",
    "score",
    "score_documents",
]
