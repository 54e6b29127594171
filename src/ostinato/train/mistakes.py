"""What pydantic finds wrong with a recipe, in words of TOML: one sentence a key."""

import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from ..registry import near

# Where a key takes one of several types, pydantic ends its place with the type that was tried.
_TRIED = re.compile(r"(str|int|float|bool|none)$|(list|dict|tuple|union)\[")
_TYPES = {
    "string_type": "input should be a text",
    "list_type": "input should be a list such as [1, 2]",
    "dict_type": "input should be a table such as {key = value}",
    "model_type": "input should be a section with keys",
}


def sentences(schema: type[BaseModel], errors: Sequence[Any]) -> list[str]:
    """A sentence for each key with a mistake; what each type of a union says of it becomes one.

    Args:
        errors: what `ValidationError.errors()` gives.
    """
    found: dict[str, list[Any]] = {}
    for error in errors:
        found.setdefault(".".join(_place(error)), []).append(error)
    # A type that got further says more than one that did not fit at all: {text = [1]} is no list, but a table.
    return [
        _sentence(schema, key, told) for key, told in found.items() if not any(k.startswith(f"{key}.") for k in found)
    ]


def _place(error: Any) -> list[str]:
    parts = [str(part) for part in error["loc"]]
    return [part for i, part in enumerate(parts) if i == 0 or not _TRIED.match(part)]


def _sentence(schema: type[BaseModel], key: str, errors: Sequence[Any]) -> str:
    error = errors[0]
    if error["type"] == "extra_forbidden":
        *place, last = _place(error)
        return f"no key is called {key!r}{near(last, _section(schema, place).model_fields)}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    texts = [_TYPES.get(str(e["type"]), str(e["msg"]).removeprefix("Value error, ")) for e in errors]
    text = " or ".join([texts[0], *(re.sub("^[Ii]nput should be ", "", text) for text in texts[1:])])
    if not key:  # what is wrong with several keys together says so itself
        return text
    if error["type"] == "value_error" and isinstance(error["input"], dict):  # the same, within a section
        return f"{key}: {text}"
    return f"{key} = {error['input']!r}: {text[:1].lower() + text[1:]}"


def _section(schema: type[BaseModel], place: list[str]) -> type[BaseModel]:
    names = iter(place)
    for part in names:
        kind = schema.model_fields[part].annotation
        if get_origin(kind) is dict:  # of sections, such as [heads.NAME]
            next(names, None)
        options = [kind, *get_args(kind)]
        schema = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return schema
