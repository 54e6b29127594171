"""Chunks of a sentence, such as names, written as one tag a token: BIO, BIOES, BMES, IOB1.

Sources: Ramshaw & Marcus, Text Chunking using Transformation-Based Learning, 1995 (IOB1); Tjong Kim Sang & Veenstra,
Representing Text Chunks, EACL 1999 (BIO, there called IOB2); conlleval, the scoring script of the CoNLL shared tasks.

A tag is `O`, or a letter, a hyphen and a label: `B-PER`. What is before the first hyphen is the letter.

    tokens   Ada  Lovelace  met  London  Paris  .
    BIO      B-PER  I-PER   O    B-LOC   B-LOC  O     also called IOB2: every chunk begins with B
    IOB1     I-PER  I-PER   O    I-LOC   B-LOC  O     B only where a chunk follows one of the same label at once
    BIOES    B-PER  E-PER   O    S-LOC   S-LOC  O     the end and chunks of one token have letters of their own
    BMES     B-PER  E-PER   O    S-LOC   S-LOC  O     the same, with M for I
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SCHEMES = ("BIO", "BIOES", "BMES", "IOB1")
_LETTERS = {"BIO": "BI", "IOB1": "BI", "BIOES": "BIES", "BMES": "BMES"}
_PARTS = {"BIO": "BIIB", "IOB1": "IIII", "BIOES": "BIES", "BMES": "BMES"}  # first, middle, last, only token of a chunk


class Span(NamedTuple):
    """A chunk: the tokens start .. end - 1 have this label together."""

    start: int
    end: int
    label: str


class Allowed(NamedTuple):
    """Which of K tags may stand where; all bool."""

    start: Tensor  # [K] at the first token
    between: Tensor  # [K, K] [i, j]: j directly after i
    end: Tensor  # [K] at the last token


class BrokenTags(ValueError):
    """Tags that their scheme cannot have written; `position` counts from 0."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


def spans(tags: Sequence[str], strict: str | None = None) -> list[Span]:
    """The chunks of a sentence, from left to right.

    Args:
        tags: one a token, of any scheme.
        strict: the scheme that they must follow. None reads every sequence by the rules of conlleval: a chunk begins
            at B and S, after E and S, after O, and where the label changes; it ends before the next one and before O.

    Raises:
        BrokenTags: with `strict`, where the tags break the scheme; it tells the position.
        ValueError: what is no tag, or no scheme.
    """
    if strict is not None:
        check(tags, strict)
    found, start = list[Span](), -1
    before = ("O", "")
    for at, tag in enumerate(tags):
        letter, label = _parsed(tag, at)
        begins = letter in "BS" or before[0] in "OES" or label != before[1]
        if start >= 0 and (letter == "O" or begins):
            found.append(Span(start, at, before[1]))
            start = -1
        if letter != "O" and begins:
            start = at
        before = (letter, label)
    if start >= 0:
        found.append(Span(start, len(tags), before[1]))
    return found


def well_formed(tags: Sequence[str], scheme: str) -> list[Span]:
    """Those chunks of `spans(tags)` whose tags are as the scheme writes them: what a strict score counts."""
    found = spans(tags)
    right = written(found, len(tags), scheme)
    return [span for span in found if list(tags[span.start : span.end]) == right[span.start : span.end]]


def written(chunks: Iterable[Span], length: int, scheme: str) -> list[str]:
    """The tags of a sentence of `length` tokens with these chunks.

    Raises:
        ValueError: chunks overlap, are empty or reach beyond the sentence, or the scheme is none.
    """
    first, middle, last, only = _PARTS[_known(scheme)]
    tags, end, label = ["O"] * length, 0, None
    for span in sorted(chunks):
        if not end <= span.start < span.end <= length:
            raise ValueError(
                f"chunks must not be empty, overlap or reach beyond the {length} tokens, and {tuple(span)} does "
                f"(the one before it ends at {end}); leave it out"
            )
        letters = only if span.end - span.start == 1 else first + middle * (span.end - span.start - 2) + last
        if scheme == "IOB1" and span.start == end and span.label == label:
            letters = "B" + letters[1:]
        tags[span.start : span.end] = [f"{letter}-{span.label}" if span.label else letter for letter in letters]
        end, label = span.end, span.label
    return tags


def converted(tags: Sequence[str], to: str, strict: str | None = None) -> list[str]:
    """The same chunks in another scheme; `strict` and errors as for `spans`."""
    return written(spans(tags, strict), len(tags), to)


def check(tags: Sequence[str], scheme: str) -> None:
    """Raises BrokenTags where a sentence breaks its scheme, ValueError for what is no tag or no scheme."""
    letters, before = _LETTERS[_known(scheme)], ("", "")
    for at, tag in enumerate(tags):
        now = _parsed(tag, at, letters + "O", scheme)
        if not _follows(before, now, scheme):
            after = f"after {tags[at - 1]}" if at else "at the start"
            raise BrokenTags(_reason(tag, after, scheme, at), at)
        before = now
    if tags and not _follows(before, ("", ""), scheme):
        raise BrokenTags(_reason(tags[-1], "at the end", scheme, len(tags) - 1), len(tags) - 1)


def transitions(tags: Sequence[str], scheme: str) -> Allowed:
    """Which tags of a vocabulary may follow each other, begin and end a sentence.

    Tags in angle brackets, as `<pad>`, are allowed nowhere.

    Raises:
        ValueError: what is no tag of the scheme, or no scheme.
    """
    letters = _LETTERS[_known(scheme)] + "O"
    known = [None if t[:1] + t[-1:] == "<>" else _parsed(t, at, letters, scheme) for at, t in enumerate(tags)]
    edge = ("", "")
    return Allowed(
        torch.tensor([j is not None and _follows(edge, j, scheme) for j in known], dtype=torch.bool),
        torch.tensor(
            [[i is not None and j is not None and _follows(i, j, scheme) for j in known] for i in known],
            dtype=torch.bool,
        ).view(len(tags), len(tags)),
        torch.tensor([i is not None and _follows(i, edge, scheme) for i in known], dtype=torch.bool),
    )


def detected(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of a corpus: the first of BIO, IOB1, BIOES, BMES that none of its sentences breaks.

    Where all are broken, the one with the letters that occur.

    Raises:
        ValueError: what is no tag, or letters of two schemes.
    """
    rows = [list(tags) for tags in sentences]
    letters = {_parsed(tag, at)[0] for tags in rows for at, tag in enumerate(tags)} - {"O"}
    fitting = [scheme for scheme in ("BIO", "IOB1", "BIOES", "BMES") if letters <= set(_LETTERS[scheme])]
    if not fitting:
        found = ", ".join(sorted(letters))
        raise ValueError(f"the letters of the tags must be those of one of {', '.join(SCHEMES)}, and are {found}")
    return next((scheme for scheme in fitting if not any(_broken(tags, scheme) for tags in rows)), fitting[0])


def _broken(tags: Sequence[str], scheme: str) -> bool:
    try:
        check(tags, scheme)
    except BrokenTags:
        return True
    return False


def _follows(before: tuple[str, str], now: tuple[str, str], scheme: str) -> bool:
    """Whether a scheme writes one (letter, label) after the other; ("", "") is the edge of the sentence."""
    inside = before[0] not in ("", "O") and before[1] == now[1]  # of a chunk of the same label, or just past it
    if scheme == "BIO":
        return now[0] != "I" or inside
    if scheme == "IOB1":
        return now[0] != "B" or inside
    if before[0] and before[0] in "BIM":
        return now[0] != "" and now[0] in "IME" and inside
    return now[0] == "" or now[0] in "BSO"


def _parsed(tag: str, at: int, letters: str = "BIMESO", scheme: str = "") -> tuple[str, str]:
    """(letter, label) of a tag; `at` is for the message."""
    letter, hyphen, label = tag.partition("-")
    if len(letter) != 1 or letter not in letters or (letter == "O" and hyphen):
        of = f" of {scheme}" if scheme else ""
        wanted = ", ".join(f"{each}-LABEL" for each in letters.replace("O", ""))
        raise ValueError(f"a tag{of} must be O or one of {wanted}, and number {at + 1} is {tag!r}; name another scheme")
    return letter, label


def _known(scheme: str) -> str:
    if scheme not in SCHEMES:
        raise ValueError(f"no tagging scheme is called {scheme!r}; there are {', '.join(SCHEMES)}")
    return scheme


def _reason(tag: str, place: str, scheme: str, at: int) -> str:
    return (
        f"{scheme} cannot have {tag} {place} (token {at + 1}); mend the tags, name their scheme, "
        "or read them by the rules of conlleval (strict=None)"
    )
