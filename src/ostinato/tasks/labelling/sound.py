"""Which rows can be learnt from: what does not fit is told with file and line, or left out if the user says so."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...data import tags as schemes
from ...data.table import BadRow, Table
from ...registry import UnknownNameError
from .codec import Codec, replaced
from .recipe import NONE, Head, LabellingRecipe

CHUNK = re.compile("O|[BIEMS]-.+")
Gold = dict[str, list[list[str]]]  # of each head and row, what is right


def scheme_of(table: Table, name: str, head: Head) -> str | None:
    """The scheme of a head's tags in the files; None for tags that are no chunks.

    Raises:
        ValueError: most tags are of chunks and one is none; it tells file and line.
    """
    if head.scheme != "auto":
        return None if head.scheme == NONE else head.scheme
    rows = table.tokens(head.column or name)
    try:
        return schemes.detected(rows)
    except ValueError:
        chunks = sum(bool(CHUNK.fullmatch(tag)) for tags in rows for tag in tags)
        if 2 * chunks < sum(map(len, rows)):
            return None  # parts of speech, say
    odd, tag = next((i, tag) for i, tags in enumerate(rows) for tag in tags if not CHUNK.fullmatch(tag))
    raise BadRow(
        *table.places[odd],
        f"{tag!r} is no tag of a chunk, as most others are; mend it, or say -o heads.{name}.scheme=none",
    )


def sound(table: Table, recipe: LabellingRecipe, found: dict[str, str | None]) -> Table:
    """The table without rows that do not fit; or a complaint about the first of them."""
    bad: dict[int, BadRow] = {}

    def look(i: int, reason: str) -> None:
        if reason:
            bad.setdefault(i, BadRow(table.places[i].file, table.places[i].line, reason))

    _check_columns(table, recipe)
    texts = table.column(recipe.data.text)
    for i, text in enumerate(texts):
        if isinstance(text, str):
            text = replaced(recipe.data, text)
        if not text or (isinstance(text, str) and text.isspace()):
            look(i, f"column {recipe.data.text!r} holds no token; fill it or drop the row")
    for name, head in recipe.heads.items():
        column = head.column or name
        if head.tagging:
            for i, (tags, tokens) in enumerate(zip(table.tokens(column), texts, strict=True)):
                look(i, _misfit(name, head, tags, tokens, found[name]))
        elif head.kind == "class":
            for i, field in enumerate(table.column(column)):
                look(i, "" if "".join(field).strip() else f"column {column!r} is empty; fill it or drop the row")
    return _without(table, bad, recipe)


def _check_columns(table: Table, recipe: LabellingRecipe) -> None:
    for name in (recipe.data.text, *(head.column or name for name, head in recipe.heads.items())):
        try:
            table.column(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"{table.places[0].file}: {error}") from None


def seen(
    tables: dict[str, Table], gold: dict[str, Gold], codec: Codec, recipe: LabellingRecipe
) -> tuple[dict[str, Table], dict[str, list[int]]]:
    """The tables without rows whose answer was never seen in training, if such are to be skipped; which rows stay.

    A part that was given, not cut by us, keeps them: they count as missed, or its figures were those of another set.

    Raises:
        ValueError: rows are not to be skipped, or no row of a part stays.
    """
    strict = [name for name, head in recipe.heads.items() if not head.tagging and head.unseen == "refuse"]
    found, kept = {}, {}
    for part, table in tables.items():
        bad: dict[int, BadRow] = {}
        kept_whole = recipe.data.skip_bad_rows and not table.cut
        for name in () if kept_whole else strict:
            for i, answers in enumerate(gold[part][name]):
                try:
                    codec.names[name].encode(answers)
                except UnknownNameError as error:
                    bad[i] = BadRow(table.places[i].file, table.places[i].line, str(error))
        instead = "leave such rows out" if table.cut else "count them as missed"
        found[part] = _without(table, bad, recipe, instead)
        kept[part] = [i for i in range(len(table)) if i not in bad]
    return found, kept


def _without(
    table: Table, bad: dict[int, BadRow], recipe: LabellingRecipe, instead: str = "leave such rows out"
) -> Table:
    if not bad:
        return table
    first = bad[min(bad)]
    if not recipe.data.skip_bad_rows:
        raise ValueError(f"{first}; or {instead} by --skip-bad-rows")
    if len(bad) == len(table):
        raise ValueError(f"{first}; and no other row of {first.path} can be used")
    kept = table.rows([i for i in range(len(table)) if i not in bad])
    return replace(kept, skipped=(*table.skipped, *bad.values()))


def _misfit(name: str, head: Head, tags: Sequence[str], tokens: Any, scheme: str | None) -> str:
    """What is wrong with a row's tags; "" if nothing is."""
    if len(tags) != len(tokens):
        return f"{len(tokens)} tokens and {len(tags)} tags, where each token has one"
    if scheme is None:
        return ""
    try:
        # What is no tag at all has no meaning under any rules.
        schemes.spans(tags, scheme if head.broken == "refuse" else None)
    except schemes.BrokenTags as error:
        reason = str(error).partition(";")[0]
        return f"{reason}; mend the tags, or read them as conlleval does: -o heads.{name}.broken=read"
    except ValueError as error:
        return str(error)
    return ""
