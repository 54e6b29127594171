"""Oracle: the numbers that were written into the files, by struct and str."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from ostinato.data import Vectors, embedding_from, read_vectors

WORDS = ["the", "Cat", "naïve", "北京", "a\u00a0b", "0.25"]
MATRIX = np.random.default_rng(0).standard_normal((len(WORDS), 5)).astype(np.float32)


def lines(words: list[str] = WORDS, end: str = "\n") -> str:
    return "".join(f"{word} {' '.join(map(repr, row.tolist()))}{end}" for word, row in zip(words, MATRIX, strict=True))


def binary(end: bytes = b"\n") -> bytes:
    rows = (word.encode() + b" " + struct.pack("<5f", *row) + end for word, row in zip(WORDS, MATRIX, strict=True))
    return b"6 5\n" + b"".join(rows)


FORMATS = {
    "glove": lines().encode(),
    "word2vec text": ("6 5\n" + lines()).encode(),
    "fasttext": ("6 5\n" + lines(end=" \n")).encode(),
    "word2vec binary": binary(),
    "gensim binary": binary(end=b""),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_rows_that_were_written(tmp_path: Path, name: str, packed: bool) -> None:
    path = tmp_path / "vectors"
    path.write_bytes(gzip.compress(FORMATS[name]) if packed else FORMATS[name])
    vectors = read_vectors(path)
    assert list(vectors.words) == WORDS
    assert vectors.matrix.dtype == np.float32
    assert (vectors.matrix[list(vectors.words.values())] == MATRIX).all()


@pytest.mark.parametrize("name", FORMATS)
def test_only_wanted_words_and_their_lower_case_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "vectors").write_bytes(FORMATS[name])
    vectors = read_vectors(tmp_path / "vectors", ["The", "北京", "absent", "cat"])
    assert vectors.words == {"the": 0, "北京": 1}
    assert (vectors.matrix == MATRIX[[0, 3]]).all()


def test_words_with_spaces_take_the_last_columns(tmp_path: Path) -> None:
    words = ["the", ". . .", "at name@domain.com", "1 1/2", "b", "c"]
    (tmp_path / "glove.txt").write_text(lines(words))
    for wanted in (None, words):
        vectors = read_vectors(tmp_path / "glove.txt", wanted)
        assert list(vectors.words) == words
        assert (vectors.matrix == MATRIX).all()


def test_of_a_word_twice_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("a 1 2\nb 3 4\na 5 6\n")
    vectors = read_vectors(tmp_path / "glove.txt")
    assert vectors.matrix.tolist() == [[1, 2], [3, 4]]


def test_binary_longer_than_one_read(tmp_path: Path) -> None:
    matrix = np.random.default_rng(1).standard_normal((4000, 100)).astype("<f4")
    rows = (f"w{index} ".encode() + row.tobytes() for index, row in enumerate(matrix))
    (tmp_path / "vectors.bin").write_bytes(b"4000 100\n" + b"".join(rows))
    vectors = read_vectors(tmp_path / "vectors.bin")
    assert (vectors.matrix == matrix).all()
    assert vectors.words["w3999"] == 3999


def test_vectors_reach_the_weight_matrix() -> None:
    vectors = Vectors({word: index for index, word in enumerate(WORDS)}, MATRIX)
    itos = ["<unk>", "CAT", "The", "北京", "Cat", "dog"]
    weight, coverage = embedding_from(vectors, itos, generator=torch.Generator().manual_seed(0))
    assert weight.shape == (6, 5)
    assert weight.dtype == torch.float32
    # The lower-case of CAT is cat, which has no vector: Cat is another word.
    assert torch.equal(weight[[2, 3, 4]], torch.from_numpy(MATRIX[[0, 3, 1]]))
    assert coverage == (3, 6, 0.5, ("<unk>", "CAT", "dog"))
    layer = torch.nn.Embedding.from_pretrained(weight)
    assert torch.equal(layer(torch.tensor([2])), torch.from_numpy(MATRIX[:1]))


def test_rows_without_a_vector_are_of_the_size_of_those_found() -> None:
    matrix = np.random.default_rng(2).normal(0, 0.3, (100, 50)).astype(np.float32)
    vectors = Vectors({f"w{index}": index for index in range(100)}, matrix)
    itos = [f"w{index}" for index in range(1000)]
    weight, coverage = embedding_from(vectors, itos, generator=torch.Generator().manual_seed(0))
    drawn = weight[100:]
    assert abs(drawn.std().item() / 0.3 - 1) < 0.03
    assert abs(drawn.mean().item()) < 0.01
    assert coverage.share == 0.1
    assert coverage.missing == tuple(f"w{index}" for index in range(100, 110))
    again, _ = embedding_from(vectors, itos, generator=torch.Generator().manual_seed(0))
    assert torch.equal(weight, again)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "is not a file of word vectors: .* on line 1, got ''"),
        (b"Once upon a time\n", "is not a file of word vectors: .* on line 1, got 'Once upon a time"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not a file of word vectors"),
        (b"\xba\x16\x4f\x2f\x0c\0\0\0", "is a fastText model, not its vectors; take the .vec file"),
        (b"0 5\n", "promises 0 words of 5 columns on line 1"),
        (b"a 1 2 3\nb 1 2\n", "line 2 of .* has 2 columns, 3 were expected"),
        (b"a 0.1 0.2 0.3\nb 0.1 0.2 0.3 0.4\n", "line 2 of .* has 4 columns, 3 were expected"),
        (b"2 3\na 1 2 3\nb 1 2\n", "line 3 of .* has 2 columns, 3 were expected"),
        (b"a 1 2\nb 1 x\n", "line 2 of .* has a column that is no number"),
        (b"3 2\na 1 2\nb 1 2\n", "is cut short: 3 vectors promised, 2 there"),
        (binary()[:-10], "is cut short: 6 vectors promised, 5 there"),
        (binary()[:30], "is cut short: 6 vectors promised, 1 there"),
        (b"a 1 2\nb 1 nan\n", "numbers that are not finite, for 'b'"),
        (b"a nan 2 3\nb 1 2 3\n", "numbers that are not finite, for 'a'"),
        (b"a 1 2 -INF\nb 1 2 3\n", "numbers that are not finite, for 'a'"),
        (b"2 2\na 1 2\nb 1e39 2\n", "numbers that are not finite, for 'b'"),
        (b"1 2\na " + struct.pack("<2f", 1.5, float("-inf")), "numbers that are not finite, for 'a'"),
    ],
)
def test_what_is_no_vector_file_is_refused(tmp_path: Path, raw: bytes, sentence: str) -> None:
    (tmp_path / "vectors").write_bytes(raw)
    with pytest.raises(ValueError, match=sentence):
        read_vectors(tmp_path / "vectors")


def test_a_short_line_is_refused_also_where_its_word_is_not_wanted(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("a 1 2 3\nb 1 2\n")
    with pytest.raises(ValueError, match=r"line 2 of .* has 2 columns, 3 were expected"):
        read_vectors(tmp_path / "glove.txt", ["a"])


def test_vectors_of_another_language_are_refused(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text(lines())
    with pytest.raises(ValueError, match="has a vector for none of the 2 words asked for"):
        read_vectors(tmp_path / "glove.txt", ["Hund", "Katze"])
    with pytest.raises(ValueError, match="none of the 2 entries has a vector"):
        embedding_from(Vectors({"a": 0}, MATRIX[:1]), ["Hund", "Katze"], generator=torch.Generator())


def test_a_vector_that_is_not_finite_reaches_no_embedding() -> None:
    vectors = Vectors({"a": 0, "b": 1}, np.array([[1, 2], [np.nan, 4]], dtype=np.float32))
    with pytest.raises(ValueError, match="the vector of 'B' has numbers that are not finite"):
        embedding_from(vectors, ["x", "a", "B"], generator=torch.Generator())
    weight, _ = embedding_from(vectors, ["x", "a"], generator=torch.Generator().manual_seed(0))
    assert weight.isfinite().all()


def test_a_missing_vector_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file is called"):
        read_vectors(tmp_path / "glove.txt")
