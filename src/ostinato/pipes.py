"""Commands that read one end of a pipe and write the other; `cli` puts them on the command line."""

import codecs
import json as _json
import math
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

SkipBadRows = Annotated[bool, typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used; list them.")]
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

    Tab-separated columns, a heading first: bits a character, tokens, unknown tokens, the line. Guesses are a JSON list
    of [token, probability].
    """
    from .tasks.language import streaming

    reader = streaming.open_run(run, top if tokens else 0, weights)
    if state is not None and state.exists():
        reader.load(state)
    rows: Any = (streaming.tokens if tokens else streaming.lines)(reader, _pieces())
    try:
        _write(rows, json)
    finally:
        if state is not None:
            reader.save(state)


def predict(
    run: Path,
    source: Annotated[str, typer.Argument(metavar="[FILE]", help="What to answer for; - is standard input.")] = "-",
    n_best: Annotated[int, typer.Option("--n-best", min=1, max=100, help="So many answers, the best first.")] = 1,
    format: Annotated[str, typer.Option(help="Of the file: csv, jsonl, conll, ...; else told from it.")] = "auto",
    column: Annotated[str | None, typer.Option(help="The column to read; else the one the model learnt from.")] = None,
    skip_bad_rows: SkipBadRows = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a row.")] = False,
) -> None:  # fmt: skip
    """Answers of a trained model for the rows of a file or of stdin, in constant memory.

    Tab-separated columns, a heading first: what the model says, its confidence, the text. Several answers in one
    column are a JSON list of [answer, confidence]. Lines of text are the format of stdin, answered as they come.
    """
    from .tasks.predictor import CHUNK, Input, load

    predictor = load(run)
    waiting: list[Input] = []
    heading = True

    def answer() -> None:
        nonlocal heading
        answers = predictor.stream(waiting, n_best)
        if json:
            _write(({"text": text, **said} for text, said in answers), json)
        else:
            _write((line for text, said in answers for line in predictor.written(text, said)), json, heading)
            heading = heading and not waiting
        waiting.clear()

    left_out = _LeftOut(skip_bad_rows)
    source, form, column = _chosen(source, format, column, predictor)
    texts = _texts(_Prompt(answer) if source == "-" else source, form, column, predictor, left_out)
    try:
        for text in texts:
            waiting.append(text)
            if len(waiting) == CHUNK:
                answer()
    except ValueError:
        answer()  # the rows before the broken one
        raise
    answer()
    left_out.tell()


def _chosen(source: str, format: str, column: str | None, predictor: Any) -> tuple[str, str, str | None]:
    """What is read, its format and column; of parallel files the one that holds the column: a text a line."""
    from .data.formats import told_format
    from .data.places import to_answer

    if source != "-" and Path(source).is_dir():
        found = to_answer(Path(source), column or predictor.reads())
        if found is not None and format in ("auto", "parallel"):
            return str(found), "lines", None
    elif format == "parallel":
        return source, "lines", column
    return source, told_format(source, predictor.learnt_from()) if format == "auto" else format, column


def _texts(source: Any, form: str, column: str | None, predictor: Any, left_out: "_LeftOut") -> Iterator[Any]:
    """What a predictor reads of the rows of a source."""
    from .data.formats import iterate
    from .data.table import BadRow
    from .tasks.predictor import chosen

    for row in iterate(source, form, on_bad=left_out.add):
        try:
            text = chosen(row, predictor, column)
        except BadRow as error:
            left_out.add(error)
        else:
            yield text


class _LeftOut:
    """The rows that cannot be read: counted, and the first of them shown, if they may be left out."""

    SHOWN = 20

    def __init__(self, allowed: bool) -> None:
        self.allowed, self.count, self.first = allowed, 0, ""

    def add(self, row: ValueError) -> None:
        if not self.allowed:
            raise row
        self.count += 1
        if self.count <= self.SHOWN:
            self.first += f"  {row}\n"

    def tell(self) -> None:
        if self.count:
            more = "  ...\n" * (self.count > self.SHOWN)
            rows = "row was" if self.count == 1 else "rows were"
            sys.stderr.write(f"{self.count} bad {rows} left out:\n{self.first}{more}")


class _Prompt:
    """Standard input that calls `before` when there is nothing to read yet."""

    name = "standard input"

    def __init__(self, before: Callable[[], None]) -> None:
        self.before = before

    def read1(self, size: int) -> bytes:
        try:
            ready = select.select([sys.stdin.buffer], [], [], 0)[0]
        except (OSError, ValueError):  # no descriptor, or a system that cannot ask a pipe
            ready = []
        if not ready:
            self.before()
        return sys.stdin.buffer.read1(size)  # pyright: ignore[reportAttributeAccessIssue]

    read = read1


def _pieces() -> Iterator[str]:
    """Lines of stdin with their newlines, as they come; a very long one in pieces. What is no UTF-8 becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while line := sys.stdin.buffer.readline(PIECE):
        yield decoder.decode(line).replace("\r\n", "\n")
    if rest := decoder.decode(b"", final=True):
        yield rest


def _write(rows: Iterator[dict[str, Any] | None], json: bool, heading: bool = True) -> None:
    """Rows as lines of stdout, as they come; None is a blank one."""
    heading = heading and not json
    for row in rows:
        if row is None:
            sys.stdout.write("\n")
            continue
        if heading:
            sys.stdout.write("\t".join(row) + "\n")
            heading = False
        if json:
            sys.stdout.write(_json.dumps({k: _finite(v) for k, v in row.items()}, ensure_ascii=False) + "\n")
        else:
            cells = (_token(value) if name == "token" else _cell(value) for name, value in row.items())
            sys.stdout.write("\t".join(cells) + "\n")
        sys.stdout.flush()


def _finite(value: Any) -> Any:
    # JSON has no NaN.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    """One column: a tab or a newline inside it would make two of it."""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):  # what is likely, with its probability; JSON escapes a tab and a newline by itself
        return _json.dumps([(name, _finite(round(p, 4))) for name, p in value], ensure_ascii=False)
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _token(name: str) -> str:
    """A token as a person can see it: a blank in quotes."""
    return _cell(name if name.strip(" ") else repr(name))
