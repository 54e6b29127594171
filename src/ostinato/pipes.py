"""Commands that read one end of a pipe and write the other; `cli` puts them on the command line."""

import codecs
import json as _json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

PIECE = 1 << 16  # bytes of a line that are read at once


def stream(
    run: Path,
    tokens: Annotated[bool, typer.Option("--tokens", help="A row a token, not a line.")] = False,
    top: Annotated[int, typer.Option(min=0, max=100, help="With --tokens: so many guesses of the model.")] = 3,
    state: Annotated[Path | None, typer.Option(help="Go on from this file if it exists; keep the state there.")] = None,
    weights: Annotated[str | None, typer.Option(help="bfloat16: rounded, so half as many bytes to read.")] = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a row.")] = False,
) -> None:  # fmt: skip
    """How surprising each line of stdin is to a trained model, as it comes, in constant memory.

    Tab-separated columns, a heading first: bits a character, tokens, unknown tokens, the line.
    """
    from .tasks.language import streaming

    reader = streaming.open_run(run, top if tokens else 0, weights)
    if state is not None and state.exists():
        reader.load(state)
    rows = (streaming.tokens if tokens else streaming.lines)(reader, _pieces())
    try:
        _write(rows, json)
    finally:
        if state is not None:
            reader.save(state)


def _pieces() -> Iterator[str]:
    """Lines of stdin with their newlines, as they come; a very long one in pieces. What is no UTF-8 becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while line := sys.stdin.buffer.readline(PIECE):
        yield decoder.decode(line).replace("\r\n", "\n")
    if rest := decoder.decode(b"", final=True):
        yield rest


def _write(rows: Iterator[dict[str, Any]], json: bool) -> None:
    heading = not json
    for row in rows:
        if heading:
            sys.stdout.write("\t".join(row) + "\n")
            heading = False
        if json:
            finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
            sys.stdout.write(_json.dumps(finite, ensure_ascii=False) + "\n")
        else:
            cells = (_token(value) if name == "token" else _cell(value) for name, value in row.items())
            sys.stdout.write("\t".join(cells) + "\n")
        sys.stdout.flush()


def _cell(value: Any) -> str:
    """One column: a tab or a newline inside it would make two of it."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return "  ".join(f"{_token(name)} {p:.3f}" for name, p in value)
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _token(name: str) -> str:
    """A token as a person can see it: a blank in quotes."""
    return _cell(name if name.strip(" ") else repr(name))
