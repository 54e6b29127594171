"""Oracles: the published counts of the Penn Treebank, Python's own split and Counter, and the text itself."""

import gzip
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.data import Splits, Tokenizer, read_splits

PTB = Path(__file__).parents[3] / "shared" / "data" / "ptb"
KINDS = ("word", "space", "char", "byte", "bpe", "jieba")
TEXT = "The cat (a black one) sat on the mat, didn't it?\nIt did: 3.14 times!\n\nThe end.\n"
NOVEL = "宝玉笑道：“你不知道，这是林妹妹。”\n黛玉听了，不觉红了脸。\n"


@pytest.fixture(scope="module")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> tuple[Splits, list[int], int]:
    """The splits, their tokens with one <eos> a line, and the size of the vocabulary."""
    if PTB.is_dir():
        return read_splits(PTB), [929_589, 73_760, 82_430], 10_000
    folder = tmp_path_factory.mktemp("ptb")
    generator = np.random.default_rng(0)
    words = ["<unk>", "N", *(f"w{index}" for index in range(97))]
    for name, lines in (("train", 400), ("valid", 30), ("test", 35)):
        text = "".join(" " + " ".join(generator.choice(words, 20)) + " \n" for _ in range(lines))
        (folder / f"ptb.{name}.txt.gz").write_bytes(gzip.compress(text.encode()))
    return read_splits(folder), [400 * 21, 30 * 21, 35 * 21], 100


def test_the_treebank_has_its_published_counts(treebank: tuple[Splits, list[int], int]) -> None:
    splits, counts, size = treebank
    tokenizer = Tokenizer.train("space", splits.train)
    ids = [tokenizer.encode(text) for text in splits]
    assert [len(part) for part in ids] == counts
    assert tokenizer.size == size
    assert tokenizer.itos.count("<unk>") == tokenizer.itos.count("<eos>") == 1
    # The rare words of the treebank are already <unk> in its text, so nothing else becomes it.
    assert int((ids[2] == tokenizer.unknown).sum()) == splits.test.split().count("<unk>")
    assert int((ids[2] == tokenizer.eos).sum()) == splits.test.count("\n")
    assert tokenizer.unknown_words(splits.valid) == []


def test_ids_run_from_frequent_to_rare(treebank: tuple[Splits, list[int], int]) -> None:
    text = treebank[0].train
    tokenizer = Tokenizer.train("space", text)
    counts = np.bincount(tokenizer.encode(text), minlength=tokenizer.size)
    assert (np.diff(counts) <= 0).all()
    expected = Counter(text.split())
    assert all(counts[tokenizer.stoi[word]] == count for word, count in expected.items())


def test_a_million_words_are_encoded_in_seconds(treebank: tuple[Splits, list[int], int]) -> None:
    text = treebank[0].train
    for kind in ("space", "char"):
        tokenizer = Tokenizer.train(kind, text)
        start = time.process_time()
        tokenizer.encode(text)
        assert time.process_time() - start < 2.0


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_from_json_is_equal(kind: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(kind, TEXT + NOVEL)
    tokenizer.save(tmp_path / "tokens.json")
    for again in (Tokenizer.from_json(tokenizer.to_json()), Tokenizer.load(tmp_path / "tokens.json")):
        assert again.to_json() == tokenizer.to_json()
        assert (again.kind, again.size, again.itos) == (kind, tokenizer.size, tokenizer.itos)
        assert (again.unknown, again.eos) == (tokenizer.unknown, tokenizer.eos)
        ids = tokenizer.encode(TEXT + "unseen ☃ words")
        assert (again.encode(TEXT + "unseen ☃ words") == ids).all()
        assert again.decode(ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_name_their_tokens(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, TEXT + NOVEL)
    for text in (TEXT, NOVEL, ""):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int64
        assert ids.shape == (len(tokenizer.tokens(text)),)
        assert [tokenizer.itos[index] for index in ids] == tokenizer.tokens(text)
    assert tokenizer.stoi == {token: index for index, token in enumerate(tokenizer.itos)}
    assert tokenizer.size == len(tokenizer.itos) == len(tokenizer.stoi)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_deterministic_and_may_read_parts(kind: str) -> None:
    whole = Tokenizer.train(kind, TEXT + NOVEL)
    assert Tokenizer.train(kind, TEXT + NOVEL).to_json() == whole.to_json()
    assert Tokenizer.train(kind, iter([TEXT, NOVEL])).to_json() == whole.to_json()


BPE = Tokenizer.train("bpe", TEXT + NOVEL, max_size=300)


@settings(deadline=None)
@given(st.text())
def test_bytes_and_bpe_are_lossless_for_any_text(text: str) -> None:
    for tokenizer in (Tokenizer.train("byte", ""), BPE):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.unknown_words(text) == []


@settings(deadline=None)
@given(st.text(min_size=1), st.text())
def test_characters_are_lossless_where_they_are_known(seen: str, other: str) -> None:
    tokenizer = Tokenizer.train("char", seen)
    assert tokenizer.decode(tokenizer.encode(seen)) == seen
    expected = [tokenizer.stoi[char] if char in seen else tokenizer.unknown for char in other]
    assert tokenizer.encode(other).tolist() == expected
    assert tokenizer.unknown_words(other) == list(dict.fromkeys(char for char in other if char not in seen))


@pytest.mark.parametrize("kind", ["word", "space", "jieba"])
def test_unknown_in_the_text_and_unknown_to_the_vocabulary_are_one(kind: str) -> None:
    tokenizer = Tokenizer.train(kind, "a a a <unk> b\n")
    assert tokenizer.itos.count("<unk>") == 1
    assert tokenizer.encode("<unk>").tolist() == tokenizer.encode("zebra").tolist() == [tokenizer.unknown]
    assert tokenizer.unknown_words("a zebra <unk> zebra yak") == ["zebra", "yak"]


def test_rare_words_become_unknown() -> None:
    text = "a a a a b b b c c d d e f"
    assert Tokenizer.train("space", text).itos == ["a", "b", "c", "d", "e", "f", "<unk>", "<eos>"]
    # e and f are dropped: <unk> stands with its two, behind c and d which are as frequent.
    assert Tokenizer.train("space", text, min_count=2).itos == ["a", "b", "c", "d", "<unk>", "<eos>"]
    # c, d, e and f are dropped: six tokens, more than any other.
    tokenizer = Tokenizer.train("space", text, max_size=4)
    assert tokenizer.itos == ["<unk>", "a", "b", "<eos>"]
    assert tokenizer.unknown_words("a b c d") == ["c", "d"]
    assert Tokenizer.train("char", "aabbc", min_count=2).itos == ["a", "b", "<unk>"]


def test_kinds_without_unknowns_or_eos() -> None:
    marks = {kind: Tokenizer.train(kind, TEXT) for kind in KINDS}
    assert [kind for kind in KINDS if marks[kind].unknown is None] == ["byte", "bpe"]
    assert [kind for kind in KINDS if marks[kind].eos is None] == ["char", "byte", "bpe"]
    assert marks["byte"].size == 256
    assert marks["byte"].encode("é\n").tolist() == [0xC3, 0xA9, 0x0A]


def test_bpe_keeps_its_size_and_shortens_the_text() -> None:
    text = "the cat and the hat and the mat\n" * 50
    small, large = (Tokenizer.train("bpe", text, max_size=size) for size in (256, 262))
    assert (small.size, large.size) == (256, 262)
    assert small.encode(text).tolist() != list(text.encode())  # bytes in tokenizers' own order
    assert len(large.encode(text)) < len(small.encode(text)) == len(text.encode())


def test_any_integers_are_decoded_and_no_others() -> None:
    tokenizer = Tokenizer.train("char", "abc")
    for ids in ([0, 1], (0, 1), np.array([0, 1], dtype=np.int32), torch.tensor([0, 1]), range(2)):
        assert tokenizer.decode(ids) == "ab"
    assert tokenizer.decode([]) == ""
    for wrong in (4, -1):
        with pytest.raises(ValueError, match=rf"ids must lie from 0 to 3, got {wrong}"):
            tokenizer.decode([0, wrong])
    with pytest.raises(ValueError, match=r"ids \[N\] were expected, got the shape \(1, 2\)"):
        tokenizer.decode(torch.tensor([[0, 1]]))
    assert Tokenizer.train("byte", "").decode([0x61, 0xC3]) == "a\ufffd"


@pytest.mark.parametrize(
    ("kind", "text", "choice", "sentence"),
    [
        ("wrod", "a", {}, "no kind of token is called 'wrod'; did you mean word"),
        ("word", " \t", {}, "needs text, but the text has no token"),
        ("bpe", "", {}, "needs text, but the text is empty"),
        ("word", "a", {"min_count": 0}, "min_count must be 1 or more, got 0"),
        ("word", "a", {"max_size": 2}, "max_size must be above 2, to hold more than <unk> and <eos>; got 2"),
        ("bpe", "a", {"max_size": 255}, "must be 256 .* or more, got 255"),
        ("byte", "a", {"max_size": 100}, "always has its 256 entries"),
    ],
)
def test_what_cannot_be_trained_is_refused(kind: str, text: str, choice: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Tokenizer.train(kind, text, **choice)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    good = json.loads(Tokenizer.train("char", "abc").to_json())
    bpe = json.loads(Tokenizer.train("bpe", "abc").to_json())
    broken = {
        "{": "JSON was expected, but this is none",
        "[1]": "this is something else",
        json.dumps(good | {"format": "x"}): "this is something else",
        json.dumps(good | {"version": 9}): "version 1 is read here, this tokenizer's is 9",
        json.dumps(good | {"kind": "chr"}): "no kind of token is called 'chr'; did you mean char",
        json.dumps(good | {"itos": "abc"}): "must be a list of strings",
        json.dumps(good | {"itos": ["<unk>", "a", "a"]}): "none twice",
        json.dumps(good | {"itos": ["a"]}): "with <unk>",
        json.dumps(good | {"itos": ["<unk>", "ab"]}): "must hold single characters",
        json.dumps(bpe | {"bpe": {}}): "bpe part is broken",
    }
    for text, sentence in broken.items():
        with pytest.raises(ValueError, match=sentence):
            Tokenizer.from_json(text)
        (tmp_path / "tokens.json").write_text(text)
        with pytest.raises(ValueError, match=r"tokens\.json: .*" + sentence):
            Tokenizer.load(tmp_path / "tokens.json")
    with pytest.raises(FileNotFoundError, match=r"did you mean tokens\.json"):
        Tokenizer.load(tmp_path / "token.json")
