"""JSON lines: one object a line."""

import json
import math
from collections.abc import Mapping
from typing import Any

from ostinato.data.lines import Source, filled_lines, source_name
from ostinato.data.reading import Items, Options, empty_column
from ostinato.data.table import BadRow, Field, Place, Row
from ostinato.registry import near


def read_jsonl(source: Source, options: Options) -> Items:
    """Objects with at least the keys asked for, or without `columns` those of the first object.

    Strings stay; numbers and true or false become their JSON text; a list of these becomes a list of str.
    """
    path, keys = source_name(source), _keys(options)
    for number, line in filled_lines(source):
        if isinstance(line, BadRow):
            yield line
            continue
        row = _object(line)
        if isinstance(row, str):
            yield BadRow(path, number, row)
            continue
        keys = keys or {key: key for key in row}
        fields = chosen(row, keys, strict=options.columns is not None)
        if "\\u" in line and isinstance(fields, dict):
            fields = _sayable(fields)
        yield BadRow(path, number, fields) if isinstance(fields, str) else Row(Place(path, number), fields)


def chosen(row: Mapping[str, Any], keys: Mapping[str, str], *, strict: bool) -> dict[str, Field] | str:
    """The fields of an object by our names, or what is wrong with it. `strict`: none may be empty."""
    fields: dict[str, Field] = {}
    for ours, theirs in keys.items():
        if theirs not in row:
            hint = near(theirs, row) if row else "; the object is empty"
            return f"the row has no key {theirs!r}{hint}"
        field = _field(row[theirs])
        if field is None:
            value = row[theirs]
            kind = "null" if value is None else value if isinstance(value, float) else f"a {type(value).__name__}"
            return f"key {theirs!r} holds {kind}; a string, a number or a list of these was expected"
        fields[ours] = field
    empty = empty_column(fields)
    if empty is not None and (strict or not any(fields.values())):
        return f"key {keys[empty]!r} is empty; fill it or drop the row"
    return fields


def _sayable(fields: dict[str, Field]) -> dict[str, Field] | str:
    # An escape can write what no text file can hold.
    for name, field in fields.items():
        for text in [field] if isinstance(field, str) else field:
            if "\0" in text:
                return f"{name!r} holds a NUL character (\\u0000), so it is no text; remove it"
            if any("\ud800" <= char <= "\udfff" for char in text):
                return f"{name!r} holds half a surrogate pair (\\ud800 to \\udfff), so it is no text; mend the escape"
    return fields


def _keys(options: Options) -> dict[str, str]:
    columns = options.columns
    if columns is None:
        return {}
    wanted = columns if isinstance(columns, Mapping) else {name: name for name in columns}
    return {ours: str(theirs) for ours, theirs in wanted.items()}


def _object(line: str) -> dict[str, Any] | str:
    try:
        # A number is its text: how it was written, and however many digits it has.
        row = json.loads(line, parse_int=str, parse_float=str)
    # Thousands of nested brackets exhaust the parser.
    except (json.JSONDecodeError, RecursionError) as error:
        return f"the row is no JSON ({error}); one object a line was expected, mend or drop it"
    if isinstance(row, list):
        return "a JSON object a line was expected, got an array; write its objects one a line (JSON lines)"
    if not isinstance(row, dict):
        return f'a JSON object was expected, got {line.strip()[:40]}; write {{"key": value, ...}} on each line'
    return row


def _field(value: Any) -> Field | None:
    if isinstance(value, list):
        parts = [_scalar(part) for part in value]
        return None if None in parts else [part for part in parts if part is not None]
    return _scalar(value)


def _scalar(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return json.dumps(value) if isinstance(value, bool | int | float) else None
