"""Lines of text with their numbers, from a file or a stream, in constant memory; a line that is no text is a BadRow."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ostinato.data.files import GZIP_MAGIC, check_line_ends, open_bytes
from ostinato.data.table import BadRow

Source = str | Path | BinaryIO
"""A file's path (plain or gzip), "-" for standard input, or an open binary stream."""
Line = tuple[int, str | BadRow]
"""A line's number, counted from 1, and its text without the line end."""

BLOCK = 1 << 18
LONGEST = 1 << 20  # bytes of a line
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def source_name(source: Source) -> str:
    """What to call a source in a sentence."""
    if isinstance(source, str | Path):
        return "standard input" if str(source) == "-" else str(source)
    return str(getattr(source, "name", "the stream"))


def read_lines(source: Source) -> Iterator[Line]:
    """The lines of a source, blank ones too; CRLF counts as LF, a byte-order mark is dropped.

    A line that is longer than LONGEST bytes, not UTF-8 or with a NUL byte comes as a BadRow; the next ones come all the
    same. Raises what `open_bytes` raises, and ValueError for a stream of gzip data and for lines that end in CR alone.
    """
    for first, texts in _chunks(source, source_name(source)):
        yield from enumerate(texts, first)


def filled_lines(source: Source) -> Iterator[Line]:
    """`read_lines` where every line must hold something: a blank one is a BadRow, except at the end."""
    name = source_name(source)
    blank: list[int] = []
    for number, text in read_lines(source):
        if isinstance(text, str) and (not text or text.isspace()):
            blank.append(number)
            continue
        if blank:
            yield from ((empty, BadRow(name, empty, "the row is empty; fill it or drop it")) for empty in blank)
            blank.clear()
        yield number, text


def decoded(raw: bytes, path: str, number: int, unit: str = "line") -> str | BadRow:
    """The text of a line's bytes, or what is wrong with them."""
    if number == 1 and raw.startswith(BYTE_ORDER_MARKS):
        return BadRow(path, number, "the file is UTF-16, UTF-8 was expected; convert it: iconv -f utf-16 -t utf-8")
    if len(raw) > LONGEST:
        return _too_long(path, number, unit)
    if (nul := raw.find(0)) >= 0:
        return BadRow(path, number, f"a NUL byte stands at byte {nul + 1} of the {unit}, so it is no text; remove it")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{raw[error.start]:02X} at byte {error.start + 1} of the {unit} is not UTF-8"
        return BadRow(path, number, f"{wrong}; convert the file: iconv -f ENCODING -t utf-8")


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The source, open for reading its unpacked bytes. A stream that was handed in stays open."""
    if isinstance(source, str | Path) and str(source) != "-":
        with open_bytes(source) as file:
            yield file
    else:
        yield sys.stdin.buffer if isinstance(source, str | Path) else source


def _chunks(source: Source, path: str) -> Iterator[tuple[int, list[str | BadRow]]]:
    number, tail, dropping = 1, b"", False
    with opened(source) as file:
        # read1 gives what a pipe holds now; read would wait for a whole block.
        read = file.read if isinstance(source, str | Path) and path == str(source) else _soonest(file)
        while block := read(BLOCK):
            if number == 1 and not tail and not dropping:
                _check_start(block, path)
            if dropping:
                _, newline, block = block.partition(b"\n")
                if not newline:
                    continue
                yield number, [_too_long(path, number)]
                number, dropping = number + 1, False
            whole, newline, tail = (tail + block).rpartition(b"\n")
            if newline:
                texts = _texts(whole, path, number)
                yield number, texts
                number += len(texts)
            if len(tail) > LONGEST:
                tail, dropping = b"", True
    if dropping:
        yield number, [_too_long(path, number)]
    elif tail:
        yield number, _texts(tail, path, number)


def _texts(whole: bytes, path: str, number: int) -> list[str | BadRow]:
    if number == 1:
        whole = whole.removeprefix(b"\xef\xbb\xbf")
    # A block of good lines, which nearly all are, is decoded as one: three times as fast.
    if len(whole) <= LONGEST and b"\0" not in whole:
        try:
            text = whole.decode()
            return list(text.replace("\r\n", "\n").removesuffix("\r").split("\n"))
        except UnicodeDecodeError:
            pass
    lines = enumerate(whole.split(b"\n"), number)
    return [decoded(raw.removesuffix(b"\r"), path, at) for at, raw in lines]


def _soonest(file: BinaryIO) -> Callable[[int], bytes]:
    return getattr(file, "read1", file.read)


def _check_start(block: bytes, path: str) -> None:
    if not isinstance(block, bytes):
        raise ValueError(
            f"a stream of bytes was expected, but {path} gives text; open it with 'rb', or take its .buffer"
        )
    if block.startswith(GZIP_MAGIC):
        raise ValueError(f"{path} is gzip data, text was expected; give the file's path, or unpack it with gunzip -c")
    check_line_ends(block, path)


def _too_long(path: str, number: int, unit: str = "line") -> BadRow:
    return BadRow(
        path, number, f"the {unit} is longer than {LONGEST:,} bytes; is it one row? Cut it, or mend its line ends"
    )
