"""Text: files, tokens, batches and word vectors."""

from ostinato.data.batches import TokenBatch, documents, stream_count, streams
from ostinato.data.files import Splits, read_splits, read_text
from ostinato.data.tokens import Tokenizer
from ostinato.data.vectors import Coverage, Vectors, embedding_from, read_vectors

__all__ = [
    "Coverage",
    "Splits",
    "TokenBatch",
    "Tokenizer",
    "Vectors",
    "documents",
    "embedding_from",
    "read_splits",
    "read_text",
    "read_vectors",
    "stream_count",
    "streams",
]
