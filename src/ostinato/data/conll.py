"""Sentences of one token a line with blank lines between them: CoNLL columns (BIO, BIOES, BMES, IOB1), CoNLL-U."""

from collections.abc import Iterator
from functools import lru_cache
from sys import intern

from ostinato.data.lines import Source, read_lines, source_name
from ostinato.data.reading import Items, Options, by_name, by_position, split_spaces
from ostinato.data.table import BadRow, Place, Row

DOCUMENT = "-DOCSTART-"
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
LONGEST = 100_000
"""Tokens of a sentence; more are a file without blank lines between its sentences."""


def read_conll(source: Source, options: Options) -> Items:
    """A token and its tags a line, separated by tabs or spaces; the columns are `words`, the first, and `tags`, the
    last, where `columns` does not name them by position. -DOCSTART- lines are left out. All tokens of the file must
    have as many columns. The place is that of the first token.
    """
    path, at, width = source_name(source), None, 0
    for first, lines in _sentences(source, path):
        if isinstance(lines, BadRow):
            yield lines
            continue
        tokens = [_split(line) for line in lines]
        if at is None:
            width = len(tokens[0])
            at = by_position(options.columns, width, f"{path}, line {first}", {"words": 0, "tags": -1})
        if tokens[0][0] == DOCUMENT:
            first, tokens = first + 1, tokens[1:]
        wrong = next((index for index, token in enumerate(tokens) if len(token) != width), None)
        if wrong is not None:
            shown = f"{width} columns were expected, as on the lines before, got {len(tokens[wrong])}"
            yield BadRow(
                path, first + wrong, f"{shown} ({lines[wrong][:40]!r}); a token and its tags stand on one line"
            )
        elif tokens:
            parts = list(zip(*tokens, strict=True))
            yield Row(Place(path, first), {name: list(parts[index]) for name, index in at.items()})


def read_conllu(source: Source, options: Options) -> Items:
    """CoNLL-U, https://universaldependencies.org/format.html: ten columns with tabs; the columns are `words` (form) and
    `tags` (upos) where `columns` does not choose others of CONLLU. Comments, the ranges of multiword tokens (1-2) and
    empty nodes (1.1) are left out. The place is that of the first token.
    """
    path = source_name(source)
    at = by_name(options.columns or {"words": "form", "tags": "upos"}, CONLLU, path)
    for first, lines in _sentences(source, path):
        if isinstance(lines, BadRow):
            yield lines
            continue
        start = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
        tokens = [line.split("\t") for line in lines[start:]]
        wrong = next((index for index, token in enumerate(tokens) if len(token) != len(CONLLU)), None)
        if wrong is not None:
            shown = f"{len(CONLLU)} columns with tabs between were expected, got {len(tokens[wrong])}"
            yield BadRow(path, first + start + wrong, f"{shown}; is it CoNLL-U? Plain columns are format 'conll'")
            continue
        words = [token for token in tokens if token[0].isdigit()]
        if words:
            place = Place(path, first + start)
            yield Row(place, {name: [word[index] for word in words] for name, index in at.items()})


def _sentences(source: Source, path: str) -> Iterator[tuple[int, list[str] | BadRow]]:
    lines: list[str] = []
    wrong, number = None, 0
    for number, line in read_lines(source):
        if isinstance(line, BadRow):
            wrong = wrong or line
        elif line and not line.isspace():
            lines.append(line)
            if len(lines) > LONGEST and wrong is None:
                start = number - len(lines) + 1
                reason = f"a sentence of more than {LONGEST:,} tokens begins here; put a blank line between sentences"
                wrong = BadRow(path, start, reason)
            if wrong is not None:
                lines.clear()
        elif wrong is not None or lines:
            yield (number - len(lines), wrong or lines)
            lines, wrong = [], None
    if wrong is not None or lines:
        yield (number - len(lines) + 1, wrong or lines)


# Lines repeat (a frequent word and its tag): split once, they are one object in memory, a quarter of the space.
@lru_cache(1 << 16)
def _split(line: str) -> tuple[str, ...]:
    return tuple(map(intern, line.split("\t") if "\t" in line else split_spaces(line)))
