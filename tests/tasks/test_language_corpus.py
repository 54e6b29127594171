"""The text as tokens: what they keep, and what is paid for what they lose."""

import bz2
import math
from pathlib import Path

import numpy as np
import pytest

from ostinato.data.tokens import KINDS, Tokenizer
from ostinato.tasks.language import Corpus, LanguageRecipe
from ostinato.tasks.language.corpus import BYTE, metrics, read_tokens
from ostinato.train.recipe import override, validate

PROSE = 'She said: "No (not yet)." Then,  after 3.5 days\n\n\tit rained - and rained.\n'


def corpus(path: Path, text: str, *overrides: str) -> Corpus:
    path.write_text(text)
    return Corpus.read(validate(LanguageRecipe, override({"data": {"path": str(path)}}, overrides)))


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "jieba"])
def test_tokens_that_keep_the_text_lose_nothing(kind: str) -> None:
    assert read_tokens(Tokenizer.train(kind, PROSE), PROSE).lost == 0.0


def test_an_unknown_character_is_written_out_in_bytes() -> None:
    tokenizer = Tokenizer.train("char", "ab" * 9)
    text = read_tokens(tokenizer, "ab红ba")
    assert (text.unknown, text.characters, text.lost) == (1, 4, pytest.approx(BYTE * (3 + 1)))
    first = read_tokens(tokenizer, "红abba")  # the first token is not scored, and is one character, not "<unk>"
    assert (first.unknown, first.characters, first.bytes, first.lost) == (0, 4, 4, 0.0)


def test_a_word_that_the_text_writes_as_unknown_is_not_lost() -> None:
    tokenizer = Tokenizer.train("space", "the <unk> sat on the mat\n")
    written = read_tokens(tokenizer, "the <unk> sat\n")
    strange = read_tokens(tokenizer, "the cat sat\n")
    assert (written.unknown, strange.unknown) == (0, 1)
    assert strange.lost - written.lost == pytest.approx(BYTE * 4)


def test_fewer_known_words_do_not_look_better() -> None:
    """Per character a model pays for what it does not know: <unk> alone costs 8 bits a byte."""
    text = "".join(f"word{number} is here\n" for number in range(200))
    for size in (3, None):
        part = read_tokens(Tokenizer.train("word", text, max_size=size), text)
        free = metrics("test", np.zeros(len(part.ids) - 1), part)  # a model that is never surprised
        assert free["test/perplexity"] == 1.0
        assert (free["test/bits_per_byte"] > 4) == (size == 3)


@pytest.mark.parametrize("kind", ["word", "space"])
def test_the_price_of_white_space_falls_with_its_regularity(kind: str) -> None:
    prose = read_tokens(Tokenizer.train(kind, PROSE), PROSE * 20)
    lines = "one two three four\n" * 60
    regular = read_tokens(Tokenizer.train(kind, lines), lines)
    assert 0 < regular.lost / regular.characters < 0.3 * prose.lost / prose.characters < 0.3 * math.log(2)


@pytest.mark.parametrize("text", ["a\r b \x0b c <eos> d\n e<eos>\n\nf", "\n\n x", " <eos>", "e <eos><eos> \n"])
@pytest.mark.parametrize("kind", KINDS)
def test_odd_white_space_can_be_read(kind: str, text: str) -> None:
    assert read_tokens(Tokenizer.train(kind, text), text).lost >= 0


def test_the_price_is_above_that_of_the_missing_information() -> None:
    """Oracle: a general compressor. Which of two gaps stands between words is here one random bit a word."""
    draw = np.random.default_rng(0).integers(0, 2, 4000)
    text = "x" + "".join(" x" if bit else "  x" for bit in draw)
    lost = read_tokens(Tokenizer.train("space", text), text).lost / math.log(2)
    assert 4000 <= lost < 4000 + 60
    assert lost < 8 * len(bz2.compress(text.encode()))


def test_what_a_user_should_doubt_is_said(tmp_path: Path) -> None:
    plain = corpus(tmp_path / "a.txt", "the cat sat on the mat . " * 60)
    assert list(plain.doubts()) == []
    rare = corpus(tmp_path / "b.txt", "".join(f"w{n} " for n in range(400)))
    assert list(rare.doubts()) == ["100% of the test part's tokens are <unk>: perplexity says little about such a text"]
    chinese = "".join(f"第{n}回黛玉看见宝玉便笑了，说道：你来了。\n" for n in range(90))
    assert "try -o data.tokens=char" in list(corpus(tmp_path / "c.txt", chinese).doubts())[-1]
    assert list(corpus(tmp_path / "c.txt", chinese, "data.tokens=char").doubts()) == []


def test_sizes_follow_the_kind_unless_told(tmp_path: Path) -> None:
    text = "once " + "twice twice " * 30
    assert "once" not in corpus(tmp_path / "t.txt", text).tokenizer.stoi
    assert "once" in corpus(tmp_path / "t.txt", text, "data.min_count=1").tokenizer.stoi
    assert "once" in corpus(tmp_path / "t.txt", text, "data.tokens=space").tokenizer.stoi
    assert corpus(tmp_path / "t.txt", text, "data.tokens=byte").tokenizer.size == 256


def test_the_fingerprint_is_of_text_and_tokens(tmp_path: Path) -> None:
    text = "the cat sat on the mat . " * 60
    prints = [
        corpus(tmp_path / "a.txt", text).fingerprint(),
        corpus(tmp_path / "b.txt", text).fingerprint(),
        corpus(tmp_path / "c.txt", text.replace("sat", "lay", 1)).fingerprint(),
        corpus(tmp_path / "d.txt", text, "data.tokens=char").fingerprint(),
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
