"""Embeddings that start from a file of word vectors."""

from collections.abc import Sequence

import torch
from torch import nn

from ..data.vectors import embedding_from, read_vectors
from ..train.recipe import RecipeError


def start_from(path: str, itos: Sequence[str], embedding: nn.Embedding) -> str:
    """Fills the rows of `itos` from GloVe, word2vec or fastText vectors; gives a sentence on how many there were.

    Raises:
        RecipeError: the vectors are of another width. ValueError, OSError: as `read_vectors`.
    """
    vectors = read_vectors(path, {*itos, *(word.lower() for word in itos)})
    if vectors.matrix.shape[1] != embedding.embedding_dim:
        raise RecipeError(f"{path} has vectors of {vectors.matrix.shape[1]} numbers; set model.width to that")
    matrix, coverage = embedding_from(vectors, itos, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding.weight.copy_(matrix)
        if embedding.padding_idx is not None:
            embedding.weight[embedding.padding_idx] = 0
    return f"word vectors cover {coverage.found} of {coverage.total} tokens ({coverage.share:.1%})"
