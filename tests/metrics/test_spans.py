"""Scores of chunks: the oracle is the state machine of the published conlleval, written out again here."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.metrics import SpanScores, span_scores, token_accuracy

TAGS = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def conlleval(gold, predicted):
    """(chunks there, chunks predicted, right ones) of sentences in BIO or IOB1, token by token as the script counts."""
    counts, now, last = Counter(), False, (("O", ""), ("O", ""))
    for sentence in zip(gold, predicted, strict=True):
        for pair in [*zip(*sentence, strict=True), ("O", "O")]:
            here = tuple([*tag.split("-", 1), ""][:2] for tag in pair)
            ends = [ended(before, tag) for before, tag in zip(last, here, strict=True)]
            begins = [begun(before, tag) for before, tag in zip(last, here, strict=True)]
            if now:
                if all(ends) and last[0][1] == last[1][1]:
                    now = False
                    counts["right"] += 1
                elif ends[0] != ends[1] or here[0][1] != here[1][1]:
                    now = False
            now = now or (all(begins) and here[0][1] == here[1][1])
            counts["gold"] += begins[0]
            counts["predicted"] += begins[1]
            last = here
    return counts["gold"], counts["predicted"], counts["right"]


def ended(before, tag):
    return (before[0] + tag[0] in ("BB", "BO", "IB", "IO")) or (before[0] != "O" and before[1] != tag[1])


def begun(before, tag):
    return (before[0] + tag[0] in ("BB", "IB", "OB", "OI")) or (tag[0] != "O" and before[1] != tag[1])


sentences = st.lists(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=8), max_size=4)


@given(sentences)
def test_counts_are_those_of_conlleval(pairs):
    gold, predicted = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
    score = span_scores(gold, predicted).overall
    assert (score.gold, score.predicted, score.correct) == conlleval(gold, predicted)


def test_scores_of_a_worked_example():
    gold = [["B-X", "I-X", "O", "B-Y"], ["B-X", "O"]]
    predicted = [["B-X", "I-X", "O", "B-X"], ["O", "B-X"]]
    scores = span_scores(gold, predicted)
    assert (scores.overall.precision, scores.overall.recall, scores.overall.f1) == (1 / 3, 1 / 3, 1 / 3)
    assert {label: (s.gold, s.predicted, s.correct) for label, s in scores.by_label.items()} == {
        "X": (2, 3, 1),
        "Y": (1, 0, 0),
    }
    assert scores.by_label["Y"].precision == scores.by_label["Y"].recall == scores.by_label["Y"].f1 == 0
    assert scores.token_accuracy == token_accuracy(gold, predicted) == 3 / 6


def test_strict_scores_leave_broken_chunks_out():
    gold, predicted = [["B-X", "I-X", "O"]], [["I-X", "I-X", "O"]]
    assert span_scores(gold, predicted).overall.f1 == 1
    strict = span_scores(gold, predicted, strict="BIO").overall
    assert (strict.gold, strict.predicted, strict.correct) == (1, 0, 0)


def test_nothing_scores_zero():
    assert (SpanScores().overall.f1, SpanScores().token_accuracy, token_accuracy([], [])) == (0, 0, 0)


def test_unequal_lengths_are_told():
    with pytest.raises(ValueError, match="has 1 for 2; cut padding off"):
        SpanScores().add(["O", "O"], ["O"])
    with pytest.raises(ValueError, match="sentence 2 must have 1 predicted tags, and has 0"):
        token_accuracy([["A"], ["A"]], [["A"], []])
    with pytest.raises(ValueError, match="there are 0 for 1"):
        span_scores([["O"]], [])
