"""The toy of lecture S4: 我 爱 自然 语言 -> 处理. The words before 语言 decide, so only a net with memory can know."""

import pytest

from ostinato.tasks.language.demo import SENTENCES, next_word, python_topics


def test_after_one_word_all_endings_are_equally_likely() -> None:
    assert {sentence[3] for sentence in SENTENCES} == {"语言"}
    assert len({sentence[4] for sentence in SENTENCES}) == len(SENTENCES) == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_memory_decides(seed: int) -> None:
    toy = next_word(seed)
    assert toy["prompt"] == ["我", "爱", "自然", "语言"]
    assert (toy["wanted"], toy["chance"]) == ("处理", 0.25)
    recurrent, memoryless = toy["nets"]["recurrent net"], toy["nets"]["memory-less net"]
    assert recurrent["probabilities"]["处理"] > 0.9
    assert (recurrent["right"], recurrent["of"]) == (4, 4)
    assert memoryless["probabilities"] == {ending: pytest.approx(0.25, abs=0.1) for *_, ending in SENTENCES}
    assert memoryless["right"] == 1  # whatever it names, it names for all four


def test_the_demos_text_comes_with_python(tmp_path) -> None:
    path = python_topics(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert len(text) > 300_000
    assert "The ``if`` statement" in text or 'The "if" statement' in text
