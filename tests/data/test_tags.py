"""Schemes of tags: oracles are the scheme's definition by example, and validity of all short sequences."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.data.tags import (
    SCHEMES,
    BrokenTags,
    Span,
    check,
    converted,
    detected,
    spans,
    transitions,
    well_formed,
    written,
)  # fmt: skip

CHUNKS = [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "LOC"), Span(5, 8, "ORG")]
WRITTEN = {
    "BIO": "B-PER I-PER O B-LOC B-LOC B-ORG I-ORG I-ORG O",
    "IOB1": "I-PER I-PER O I-LOC B-LOC I-ORG I-ORG I-ORG O",
    "BIOES": "B-PER E-PER O S-LOC S-LOC B-ORG I-ORG E-ORG O",
    "BMES": "B-PER E-PER O S-LOC S-LOC B-ORG M-ORG E-ORG O",
}


@st.composite
def chunked(draw):
    """(chunks, length of the sentence)."""
    found, at = [], 0
    for gap, size, label in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from("XY")))):
        found.append(Span(at + gap, at + gap + size, label))
        at += gap + size
    return found, at + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_writes_chunks_as_it_is_published(scheme):
    tags = WRITTEN[scheme].split()
    assert written(CHUNKS, 9, scheme) == tags
    assert spans(tags) == spans(tags, strict=scheme) == well_formed(tags, scheme) == CHUNKS
    assert {to: converted(tags, to) for to in SCHEMES} == {to: text.split() for to, text in WRITTEN.items()}


@given(chunked())
def test_every_scheme_gives_back_the_chunks_it_was_given(case):
    chunks, length = case
    for scheme in SCHEMES:
        assert spans(written(chunks, length, scheme), strict=scheme) == chunks


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("I-X I-X", [(0, 2, "X")]),  # a chunk may begin with I
        ("B-X I-Y I-Y", [(0, 1, "X"), (1, 3, "Y")]),  # another label ends it
        ("O I-X O I-X", [(1, 2, "X"), (3, 4, "X")]),
        ("B-X B-X", [(0, 1, "X"), (1, 2, "X")]),
        ("B-X E-X E-X", [(0, 2, "X"), (2, 3, "X")]),  # after E another chunk begins
        ("B-X E-X I-X", [(0, 2, "X"), (2, 3, "X")]),
        ("S-X I-X E-X", [(0, 1, "X"), (1, 3, "X")]),
        ("B-X S-X O M-X", [(0, 1, "X"), (1, 2, "X"), (3, 4, "X")]),
        ("B-a-b I-a-b", [(0, 2, "a-b")]),  # the first hyphen divides
        ("", []),
    ],
)
def test_broken_sequences_are_read_by_the_rules_of_conlleval(tags, found):
    assert spans(tags.split()) == found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_allowed_are_the_sequences_that_chunks_can_give(scheme):
    letters = {"BIO": "BI", "IOB1": "BI", "BIOES": "BIES", "BMES": "BMES"}[scheme]
    tags = ["O", *(f"{letter}-{label}" for letter in letters for label in "XY")]
    may = transitions([*tags, "<pad>"], scheme)
    assert not may.start[-1] and not may.end[-1] and not may.between[-1].any() and not may.between[:, -1].any()
    for n in range(1, 4):
        for row in itertools.product(range(len(tags)), repeat=n):
            names = [tags[i] for i in row]
            possible = written(spans(names), n, scheme) == names
            inside = all(may.between[i, j] for i, j in itertools.pairwise(row))
            assert bool(may.start[row[0]] and inside and may.end[row[-1]]) == possible, names
            try:
                check(names, scheme)
            except BrokenTags:
                assert not possible
            else:
                assert possible


def test_a_broken_sequence_is_told_with_its_position():
    with pytest.raises(BrokenTags, match=r"BIO cannot have I-X after O \(token 3\); mend") as told:
        spans(["B-X", "O", "I-X"], strict="BIO")
    assert told.value.position == 2
    with pytest.raises(BrokenTags, match=r"BIOES cannot have B-X at the end \(token 1\)"):
        check(["B-X"], "BIOES")
    with pytest.raises(BrokenTags, match=r"IOB1 cannot have B-X at the start"):
        check(["B-X"], "IOB1")


def test_what_is_no_tag_is_told():
    with pytest.raises(ValueError, match="number 2 is 'PER'"):
        spans(["O", "PER"])
    with pytest.raises(ValueError, match="a tag of BIO must be O or one of B-LABEL, I-LABEL, and number 1 is 'S-X'"):
        check(["S-X"], "BIO")
    with pytest.raises(ValueError, match="no tagging scheme is called 'BILOU'; there are BIO"):
        transitions(["O"], "BILOU")
    with pytest.raises(ValueError, match=r"chunks must not be empty, overlap"):
        written([Span(0, 2, "X"), Span(1, 3, "X")], 3, "BIO")


def test_strict_chunks_are_those_written_as_the_scheme_does():
    assert well_formed(["I-X", "O", "B-X", "I-Y"], "BIO") == [Span(2, 3, "X")]
    assert well_formed(["B-X", "O", "S-X", "E-X"], "BIOES") == [Span(2, 3, "X")]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_scheme_of_a_corpus_is_found(scheme):
    assert detected([WRITTEN[scheme].split(), ["O"]]) == scheme


def test_a_corpus_broken_in_every_scheme_goes_by_its_letters():
    assert detected([["B-X", "O", "E-X"], ["S-X"]]) == "BIOES"
    with pytest.raises(ValueError, match="must be those of one of BIO, BIOES, BMES, IOB1, and are B, I, M"):
        detected([["B-X", "I-X", "M-X"]])
