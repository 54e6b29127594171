"""Byte-level byte-pair encoding by Hugging Face `tokenizers`: any text comes back exactly as it went in."""

from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

DEFAULT_SIZE = 8192
# Lines that tokenizers takes at once: enough for its threads, few enough for its records of them.
LINES = 8192


def train_bpe(texts: Iterable[str], min_count: int, max_size: int | None) -> tokenizers.Tokenizer:
    """Merges learnt from `texts`: at most `max_size` entries (8192 for None), of which 256 are the bytes.

    Raises ValueError for fewer than 256 entries and for a text that is empty.
    """
    size = DEFAULT_SIZE if max_size is None else max_size
    if size < 256:
        raise ValueError(f"max_size of a byte-level bpe must be 256 (the bytes) or more, got {size}")
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_count,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    seen = False

    def lines() -> Iterator[str]:
        nonlocal seen
        for text in texts:
            seen = seen or bool(text)
            yield from text.splitlines(keepends=True)

    bpe.train_from_iterator(lines(), trainer)
    if not seen:
        raise ValueError("a vocabulary of kind 'bpe' needs text, but the text is empty; give more of it")
    return bpe


def encodings(bpe: tokenizers.Tokenizer, text: str) -> Iterator[tokenizers.Encoding]:
    """What tokenizers makes of the text's lines, which are cut as they were for training."""
    lines = text.splitlines(keepends=True)
    for start in range(0, len(lines), LINES):
        yield from bpe.encode_batch(lines[start : start + LINES], add_special_tokens=False)


def entries(bpe: tokenizers.Tokenizer) -> list[str]:
    """The vocabulary in the order of its ids, bytes in GPT-2's alphabet (a space is Ġ)."""
    vocabulary = bpe.get_vocab()
    itos = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in itos] != list(range(len(itos))):
        raise ValueError("the ids of the bpe vocabulary do not run from 0 without gaps")
    return itos
