"""A Sphinx extension: our docstrings, which are written for a terminal, as reStructuredText.

Names stand in single backticks, equations and tables in blocks of their own, and `Args:`, `Returns:`, `Raises:` and
`Attributes:` head indented parts. Nothing else is markup, so all else that looks like it is escaped.
"""

import inspect
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

HEADS = ("Args:", "Attributes:", "Returns:", "Raises:", "Notes:", "Glossary:")


def convert(text: str) -> list[str]:
    """reStructuredText lines of a docstring."""
    lines: list[str] = []
    blocks = [
        list(group) for filled, group in groupby(text.splitlines(), key=lambda line: bool(line.strip())) if filled
    ]
    head = ""
    for block in blocks:
        if block[0] in HEADS:
            head = block.pop(0)
            lines += [f"**{head.removesuffix(':')}**", ""]
            if not block:
                continue
        indented = all(line.startswith(" ") for line in block)
        if not indented:
            head = ""
        if head in ("Notes:", "Returns:"):
            lines += [prose(" ".join(line.strip() for line in block)), ""]
        elif head:
            lines += [*(f"* {prose(item)}" for item in items(block)), ""]
        elif block[0].startswith(">>>"):
            lines += [*block, ""]
        elif indented or block[0].startswith("|") or all(" = " in line for line in block):
            lines += ["::", "", *(f"    {line}" for line in block), ""]
        else:
            lines += [prose(" ".join(block)), ""]
    return lines


def items(block: list[str]) -> Iterator[str]:
    """The entries of a list, their continuation lines joined: those stand further in."""
    depth = min(len(line) - len(line.lstrip()) for line in block)
    entry: list[str] = []
    for line in block:
        if entry and len(line) - len(line.lstrip()) == depth:
            yield " ".join(entry)
            entry = []
        entry.append(line.strip())
    yield " ".join(entry)


def prose(text: str) -> str:
    """A paragraph in which only `names` are markup."""
    pieces = re.split(r"`([^`]+)`", text)
    for i, piece in enumerate(pieces):
        # An empty escape lets a literal touch the letters beside it.
        pieces[i] = rf"\ ``{piece}``\ " if i % 2 else re.sub(r"([\\*|_`])", r"\\\1", piece)
    return "".join(pieces)


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = convert(inspect.cleandoc("\n".join(lines)))


def skip(app: Any, what: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """The fields of a NamedTuple: Python documents them as 'Alias for field number 0'."""
    return True if (inspect.getdoc(thing) or "").startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
