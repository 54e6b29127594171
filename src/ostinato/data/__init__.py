"""Text: files, tables, vocabularies, tokens, batches and word vectors."""

from ostinato.data.batches import TokenBatch, documents, stream_count, streams
from ostinato.data.buckets import bucketed, pad, padding_share
from ostinato.data.cuts import fold_of, held_out
from ostinato.data.dataset import Layout, read_dataset
from ostinato.data.files import Splits, read_splits, read_text
from ostinato.data.formats import FORMATS, format_of, iterate, read_table
from ostinato.data.table import BadRow, Place, Row, Table
from ostinato.data.tokens import Tokenizer
from ostinato.data.vectors import Coverage, Vectors, embedding_from, read_vectors
from ostinato.data.vocabulary import Vocabulary

__all__ = [
    "FORMATS",
    "BadRow",
    "Coverage",
    "Layout",
    "Place",
    "Row",
    "Splits",
    "Table",
    "TokenBatch",
    "Tokenizer",
    "Vectors",
    "Vocabulary",
    "bucketed",
    "documents",
    "embedding_from",
    "fold_of",
    "format_of",
    "held_out",
    "iterate",
    "pad",
    "padding_share",
    "read_dataset",
    "read_splits",
    "read_table",
    "read_text",
    "read_vectors",
    "stream_count",
    "streams",
]
