"""BLEU and chrF. Oracles: the counts written out, and what the definitions say of extreme cases."""

import math
import sys

import pytest

from ostinato.metrics.translation import bleu, chrf


def test_bleu_is_the_geometric_mean_of_the_precisions_and_the_brevity_penalty() -> None:
    # 7 of 8 words, 4 of 7 pairs, 2 of 6 triples, 1 of 5 fours; the translation is a word shorter than the reference.
    found = bleu(["the cat sat on a mat today ."], ["the cat sat on the mat just today ."])
    matched = [(7, 8), (4, 7), (2, 6), (1, 5)]
    want = 100 * math.exp(1 - 9 / 8) * math.exp(sum(math.log(n / of) for n, of in matched) / 4)
    assert found.score == pytest.approx(want, rel=1e-9)


def test_the_corpus_is_counted_as_one_text() -> None:
    texts, truths = ["a b c d e", "x y z w v"], ["a b c d e", "x y z v w"]
    whole = bleu(texts, truths).score
    assert whole != pytest.approx(sum(bleu([t], [r]).score for t, r in zip(texts, truths, strict=True)) / 2)
    assert bleu(truths, truths).score == pytest.approx(100)
    assert chrf(truths, truths).score == pytest.approx(100)
    assert chrf(["qqqq"], ["aaaa"]).score == 0


def test_chinese_is_cut_into_characters() -> None:
    text, truth = ["我今天不去学校了。"], ["我今天不去公园了。"]
    assert bleu(text, truth).score == 0  # to 13a a sentence without spaces is one word, and they differ
    # 7 of 9 characters, 5 of 8 pairs, 3 of 7, 2 of 6.
    want = 100 * (7 / 9 * 5 / 8 * 3 / 7 * 2 / 6) ** 0.25
    assert bleu(text, truth, tokenize="zh").score == pytest.approx(want)


def test_the_signature_says_how_it_was_made() -> None:
    said = bleu(["a b c d"], ["a b c d"], tokenize="zh").signature
    assert "tok:zh" in said
    assert "version:" in said
    assert "nrefs:2" in bleu(["a b c d"], [["a b c d"], ["a b d c"]]).signature
    assert "nc:6" in chrf(["a"], ["a"]).signature


def test_several_references_take_the_best_match() -> None:
    assert bleu(["a b c d e"], [["q r s t u"], ["a b c d e"]]).score == pytest.approx(100)


def test_what_does_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="2 translations came with 1 references"):
        bleu(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="no translation"):
        chrf([], [])
    with pytest.raises(ValueError, match="'zh' for Chinese"):
        bleu(["a"], ["a"], tokenize="chinese")
    with pytest.raises(ValueError, match="single text"):
        bleu("a", ["a"])
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r'pip install "ostinato\[mt\]"'):
        bleu(["a"], ["a"])
