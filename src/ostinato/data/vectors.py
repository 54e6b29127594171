"""Word vectors from files (GloVe text, word2vec text and binary, fastText .vec; each also gzipped) to an embedding."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.data.files import open_bytes

BLOCK = 1 << 20
DECIMAL = re.compile(rb"[-+]?\d+\.\d+(e[-+]?\d+)?", re.IGNORECASE)
# NaN and infinity count as columns, so that they are refused as numbers and not taken for the end of a word.
NUMBER = re.compile(rb"[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|nan|inf|infinity)", re.IGNORECASE)
FASTTEXT_MODEL = b"\xba\x16\x4f\x2f"


class Vectors(NamedTuple):
    """Words and what stands for them: word w is row `words[w]` of `matrix`, float32 [N, D]."""

    words: dict[str, int]
    matrix: np.ndarray


class Coverage(NamedTuple):
    """How much of a vocabulary has a vector: `found` of `total` entries; `missing` shows the first ten without."""

    found: int
    total: int
    share: float
    missing: tuple[str, ...]


def read_vectors(path: str | Path, words: Collection[str] | None = None) -> Vectors:
    """The vectors in a file, or those of `words` and of their lower-case forms alone; of a word twice, the first.

    The format is told from the content: a first line of two integers is a word2vec or fastText header (text or binary
    after it), else it is GloVe's. A text word is what stands before the last D columns and so may hold spaces. Raises
    FileNotFoundError for a missing file; ValueError for a file of another kind, a wrong number of columns (with the
    line), numbers that are not finite, a file that ends before its header says so, and none of `words` in it.
    """
    wanted = None if words is None else {form.encode() for word in words for form in (word, word.lower())}
    rows: dict[str, np.ndarray] = {}
    with open_bytes(path) as file:
        for word, row in _records(file, path, wanted):
            rows.setdefault(word.decode("utf-8", "replace"), row)
    if not rows:
        raise ValueError(
            f"{path} has a vector for none of the {len(words or ())} words asked for; is it their language?"
        )
    matrix = np.stack(list(rows.values()))
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{path} has numbers that are not finite, for {list(rows)[int(finite.argmin())]!r}; fetch it again"
        )
    return Vectors({word: index for index, word in enumerate(rows)}, matrix)


def embedding_from(vectors: Vectors, itos: Sequence[str], *, generator: torch.Generator) -> tuple[Tensor, Coverage]:
    """A start for an embedding: float32 [V, D], row i the vector of `itos[i]`, or of its lower-case form.

    Rows without a vector are drawn normal with mean 0 and the standard deviation of the numbers found, so that they are
    of the same size. Raises ValueError if not one entry has a vector, or one has numbers that are not finite.
    """
    known = [vectors.words.get(token, vectors.words.get(token.lower(), -1)) for token in itos]
    missing = [token for token, row in zip(itos, known, strict=True) if row < 0]
    found = len(itos) - len(missing)
    if not found:
        shown = ", ".join(missing[:5])
        raise ValueError(f"none of the {len(itos)} entries has a vector ({shown}, ...); take vectors of their language")
    rows = torch.tensor(known)
    taken = torch.from_numpy(vectors.matrix[[row for row in known if row >= 0]])
    if not taken.isfinite().all():
        token = itos[[i for i, row in enumerate(known) if row >= 0][int(taken.isfinite().all(1).int().argmin())]]
        raise ValueError(f"the vector of {token!r} has numbers that are not finite; all must be: leave that word out")
    weight = torch.randn(len(itos), taken.shape[1], generator=generator) * taken.std(correction=0)
    weight[rows >= 0] = taken
    return weight, Coverage(found, len(itos), found / len(itos), tuple(missing[:10]))


Records = Iterator[tuple[bytes, np.ndarray]]


def _records(file: BinaryIO, path: str | Path, wanted: set[bytes] | None) -> Records:
    first = file.readline(BLOCK)
    if first.startswith(FASTTEXT_MODEL):
        raise ValueError(f"{path} is a fastText model, not its vectors; take the .vec file that comes with it")
    header = re.fullmatch(rb"(\d+) (\d+)\s*", first)
    if header is None:
        fields = first.split()
        numbers = next((n for n, field in enumerate(reversed(fields)) if not NUMBER.fullmatch(field)), len(fields))
        if not (columns := min(numbers, len(fields) - 1)) > 1:
            raise ValueError(
                f"{path} is not a file of word vectors: expected a word and its numbers, or two integers, on line 1, "
                f"got {first[:40].decode('utf-8', 'replace')!r}; give GloVe, word2vec or fastText .vec data"
            )
        return (yield from _text(chain([first], file), path, columns, 1, None, wanted))
    promised, columns = int(header[1]), int(header[2])
    if not (promised and columns):
        raise ValueError(f"{path} promises {promised} words of {columns} columns on line 1; both must be above 0")
    start = file.readline(BLOCK)
    # A line of text ends in a number; binary floats hold control characters or what is not UTF-8.
    odd = re.search("[\0-\x08\x0e-\x1f\ufffd]", start.decode("utf-8", "replace"))
    if odd and not NUMBER.fullmatch(start.rstrip().rpartition(b" ")[2]):
        return (yield from _binary(file, start, path, columns, promised, wanted))
    return (yield from _text(chain([start], file), path, columns, 2, promised, wanted))


def _text(
    lines: Iterator[bytes], path: str | Path, columns: int, top: int, promised: int | None, wanted: set[bytes] | None
) -> Records:
    count = 0
    for number, raw in enumerate(lines, top):
        line = raw.rstrip(b" \r\n")
        if not line:
            continue
        count += 1
        # Split at ASCII spaces alone: words may hold other white space, such as a no-break space.
        spaces = line.count(b" ")
        if spaces == columns and wanted is not None and line[: line.index(b" ")] not in wanted:
            continue
        word, *values = line.rsplit(b" ", columns)
        if spaces < columns or (spaces > columns and DECIMAL.fullmatch(word.rpartition(b" ")[2])):
            raise ValueError(f"line {number} of {path} has {spaces} columns, {columns} were expected; mend or drop it")
        if wanted is None or word in wanted:
            try:
                with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
                    row = np.array(values, dtype=np.bytes_).astype(np.float32)
            except ValueError as error:
                raise ValueError(
                    f"line {number} of {path} has a column that is no number ({error}); mend it"
                ) from error
            yield word, row
    if promised is not None and count < promised:
        raise ValueError(f"{path} is cut short: {promised} vectors promised, {count} there; fetch it again")


def _binary(
    file: BinaryIO, start: bytes, path: str | Path, columns: int, promised: int, wanted: set[bytes] | None
) -> Records:
    buffer, at, width = start, 0, 4 * columns
    for count in range(promised):
        while (space := buffer.find(b" ", at)) < 0 or len(buffer) < space + 1 + width:
            more = file.read(BLOCK)
            if not more:
                raise ValueError(f"{path} is cut short: {promised} vectors promised, {count} there; fetch it again")
            buffer, at = buffer[at:] + more, 0
        word = buffer[at:space].lstrip(b"\n")
        at = space + 1 + width
        if wanted is None or word in wanted:
            yield word, np.frombuffer(buffer, "<f4", columns, space + 1).astype(np.float32)
