"""Oracle: collections.Counter."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.data import Vocabulary
from ostinato.registry import UnknownNameError

WORDS = st.lists(st.sampled_from([*"abcdefgh", "<unk>", "<pad>", ""]), min_size=1)


@given(st.lists(WORDS, min_size=1), st.integers(1, 4))
def test_a_vocabulary_holds_what_is_frequent_enough(rows: list[list[str]], min_count: int) -> None:
    counts = Counter(token for row in rows for token in row)
    kept = {token for token, count in counts.items() if count >= min_count and token not in ("<pad>", "<unk>")}
    if not kept:
        with pytest.raises(ValueError, match="lower min_count"):
            Vocabulary.build(rows, min_count=min_count)
        return
    vocabulary = Vocabulary.build(rows, min_count=min_count)
    assert vocabulary.itos[:2] == ["<pad>", "<unk>"]
    assert set(vocabulary.itos[2:]) == kept
    assert vocabulary.counts.sum() == counts.total()
    assert all(vocabulary.counts[vocabulary.stoi[token]] == counts[token] for token in kept)
    assert list(vocabulary.counts[2:]) == sorted(vocabulary.counts[2:], reverse=True)
    for row in rows:
        ids = vocabulary.encode(row)
        assert ids.dtype == np.int64
        assert vocabulary.decode(ids) == [token if token in vocabulary else "<unk>" for token in row]
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert Vocabulary.build(counts, min_count=min_count) == vocabulary


def test_size_and_specials() -> None:
    rows = [["b", "a", "a", "c", "b"]]
    vocabulary = Vocabulary.build(rows, max_size=5, specials=("<pad>", "<unk>", "<bos>"))
    assert vocabulary.itos == ["<pad>", "<unk>", "<bos>", "b", "a"]
    assert vocabulary.counts.tolist() == [0, 1, 0, 2, 2]
    assert (vocabulary.pad, vocabulary.unknown, len(vocabulary)) == (0, 1, 5)
    assert Vocabulary.build(rows, specials=()).unknown is None


def test_an_unknown_label_is_refused_in_words() -> None:
    labels = Vocabulary.labels(["pos", "neg", "pos"])
    assert (labels.itos, labels.counts.tolist()) == (["neg", "pos"], [1, 2])
    assert Vocabulary.labels(["10", "9", "a"]).itos == ["9", "10", "a"]
    with pytest.raises(UnknownNameError, match=r"'poss' is none of the 2 labels seen in training; did you mean pos\?"):
        labels.encode(["pos", "poss"])
    with pytest.raises(UnknownNameError, match="there are: neg, pos"):
        labels.index("x")
    many = Vocabulary.labels(map(str, range(500)))
    with pytest.raises(UnknownNameError) as error:
        many.index("zzz")
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Vocabulary(["a", "a"]), "'a' is in the vocabulary twice"),
        (lambda: Vocabulary(["a"], [1, 2]), "1 counts were expected"),
        (lambda: Vocabulary.build(["text"]), "rows of tokens were expected, got the text 'text'"),
        (lambda: Vocabulary.build([["a"]], max_size=2), "max_size above the 2 specials"),
        (lambda: Vocabulary.build([["a"]], min_count=0), "min_count must be 1 or more"),
        (lambda: Vocabulary.labels([]), "at least one label"),
        (lambda: Vocabulary(["a"]).decode([1]), "from 0 to 0, got 1"),
        (lambda: Vocabulary(["a"]).decode(np.zeros((1, 1), int)), r"got the shape \[1, 1\]"),
        (lambda: Vocabulary.from_json("{"), "this is none"),
        (lambda: Vocabulary.from_json("{}"), "something else"),
        (lambda: Vocabulary.from_json('{"format": "ostinato-vocabulary", "version": 2}'), "version 1 is read here"),
        (lambda: Vocabulary.from_json('{"format": "ostinato-vocabulary", "version": 1}'), "a list of strings"),
    ],
)
def test_what_does_not_fit_is_refused(call, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
