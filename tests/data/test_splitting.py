"""Oracles: Python's own split, tokens and texts written out by hand, and round trips."""

import builtins

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.data import Tokenizer

NOVEL = "宝玉笑道：“你不知道，这是林妹妹。”\n黛玉听了，不觉红了脸。\n"
ENGLISH = "The cat (a black one) sat on the mat, didn't it?\nIt did: 3.14 times!\n\nThe end.\n"
WORDS = st.text(alphabet="ab é'’.,;:!?()[]1 3\n-“”，。（）<>unk\u0301한हि", max_size=40)


@settings(deadline=None, max_examples=300)
@given(WORDS)
def test_decoded_words_are_the_same_words_again(text: str) -> None:
    tokenizer = Tokenizer.train("word", text + " a")
    ids = tokenizer.encode(text)
    assert tokenizer.encode(tokenizer.decode(ids)).tolist() == ids.tolist()


@settings(deadline=None)
@given(st.text(alphabet="ab ,.\t\nN"))
def test_space_tokens_are_python_s_split_with_an_eos_a_line(text: str) -> None:
    tokens = Tokenizer.train("space", "a").tokens(text)
    assert [token for token in tokens if token != "<eos>"] == text.split()
    assert tokens.count("<eos>") == text.count("\n")


def test_words_and_punctuation_are_apart() -> None:
    tokens = Tokenizer.train("word", "a").tokens
    assert tokens("Don’t (really) wait...\n") == ["Don’t", "(", "really", ")", "wait", ".", ".", ".", "<eos>"]
    assert tokens("3,000.5 well-known <unk> #1") == ["3,000.5", "well", "-", "known", "<unk>", "#", "1"]
    assert tokens("cafe\u0301 हिन्दी 한국어") == ["cafe\u0301", "हिन्दी", "한국어"]


def test_decoding_reads_well() -> None:
    tokenizer = Tokenizer.train("word", ENGLISH)
    assert tokenizer.decode(tokenizer.encode(ENGLISH)) == ENGLISH
    tokenizer = Tokenizer.train("space", "he did n't say , it 's ( so ) \n no\n")
    assert (
        tokenizer.decode(tokenizer.encode("he did n't say , it 's ( so ) \n no\n")) == "he didn't say, it's (so)\nno\n"
    )
    tokenizer = Tokenizer.train("word", "你好 ， 世界 （ 大 ）")
    assert tokenizer.decode(tokenizer.encode("你好 ， 世界 （ 大 ）")) == "你好，世界（大）"


def test_jieba_finds_chinese_words_and_keeps_the_text() -> None:
    tokenizer = Tokenizer.train("jieba", NOVEL)
    assert tokenizer.decode(tokenizer.encode(NOVEL)) == NOVEL
    assert "知道" in tokenizer.tokens("你不知道")
    assert tokenizer.tokens("a <unk>\n") == ["a", " ", "<unk>", "<eos>"]


def test_jieba_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **named: object) -> object:
        if name == "jieba":
            raise ImportError(name)
        return real(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "ostinato\[zh\]"'):
        Tokenizer.train("jieba", NOVEL)
