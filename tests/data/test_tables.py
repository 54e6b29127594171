"""Oracles: what was written into the files; Python's csv and json writers."""

import csv
import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.data import FORMATS, BadRow, Table, format_of, iterate, read_table

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(lambda text: text.strip())


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


SAME = {
    "a.csv": 'label,text\npos,"so, ""good"""\nneg,bad\n',
    "a.tsv": 'label\ttext\npos\tso, "good"\nneg\tbad\n',
    "a.jsonl": '{"label": "pos", "text": "so, \\"good\\""}\n{"text": "bad", "label": "neg", "more": null}\n',
    "a.labelled": '__label__pos so, "good"\n__label__neg bad\n',
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", SAME)
def test_all_formats_give_the_same_table(tmp_path: Path, name: str, packed: bool, end: str) -> None:
    raw = b"\xef\xbb\xbf" * (not packed) + SAME[name].replace("\n", end).encode()
    path = written(tmp_path, name + ".gz" * packed, gzip.compress(raw) if packed else raw)
    table = read_table(path)
    assert table.columns == {"label": ["pos", "neg"], "text": ['so, "good"', "bad"]}
    header = "sv" in name
    assert [str(place) for place in table.places] == [f"{path}, line {line + header}" for line in (1, 2)]


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_what_the_csv_module_writes_is_read(rows: list[tuple[str, str]]) -> None:
    for format, delimiter in (("csv", ","), ("semicolon-csv", ";")):
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([("a", "b"), *rows])
        read = [tuple(row.fields.values()) for row in iterate(io.BytesIO(out.getvalue().encode()), format)]
        assert read == rows


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, st.lists(TEXT)), min_size=1))
def test_what_the_json_module_writes_is_read(rows: list[tuple[str, list[str]]]) -> None:
    text = "".join(json.dumps({"a": a, "b": b}) + "\n" for a, b in rows)
    read = [tuple(row.fields.values()) for row in iterate(io.BytesIO(text.encode()), "jsonl")]
    assert read == rows


def test_columns_are_chosen_renamed_and_placed(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", "id\tlabel\ttext\n1\tpos\tgood\n")
    assert list(read_table(path, columns=["text"]).columns) == ["text"]
    assert read_table(path, columns={"y": "label"}).columns == {"y": ["pos"]}
    assert read_table(path, header=False, columns=("_", "a", "b")).column("a") == ["label", "pos"]
    assert read_table(path, header=False, columns={"last": -1}).column("last") == ["text", "good"]
    conll = written(tmp_path, "a.conll", "EU NNP I-ORG\nx NN O\n")
    assert read_table(conll).columns == {"words": [["EU", "x"]], "tags": [["I-ORG", "O"]]}
    assert read_table(conll, columns={"pos": 1}).columns == {"pos": [["NNP", "NN"]]}


def test_numbers_and_lists_of_json_become_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"a": 1, "b": 0.5, "c": true, "d": [1, "x"], "e": []}\n')
    assert read_table(path).columns == {"a": ["1"], "b": ["0.5"], "c": ["true"], "d": [["1", "x"]], "e": [[]]}


def test_a_number_of_json_is_read_as_it_is_written(tmp_path: Path) -> None:
    digits = "1" * 5000  # more than Python makes an int of
    path = written(tmp_path, "a.json", f'{{"a": {digits}, "b": 1.50, "c": NaN}}\n')
    assert read_table(path, columns=["a", "b"]).columns == {"a": [digits], "b": ["1.50"]}


def test_a_quote_that_nobody_closes_costs_its_own_line(tmp_path: Path) -> None:
    good = [f"text {i},{i}" for i in range(200)]
    path = written(tmp_path, "a.csv", "\n".join(["text,label", *good[:20], '"open,1', *good[20:], '"also', "z,3"]))
    table = read_table(path, skip_bad=True)
    assert table.column("text") == [*(row.partition(",")[0] for row in good), "z"]
    assert [bad.line for bad in table.skipped] == [22, 203]
    quoted = written(tmp_path, "b.csv", 'text,label\n"one\n\ntwo",1\n')
    assert read_table(quoted).column("text") == ["one\n\ntwo"]


def test_folders_and_files_of_labels(tmp_path: Path) -> None:
    for name in ("pos/0_9.txt", "neg/0_1.txt", "neg/1_2.txt", "unsup/0_0.txt", "neg/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path, name, f"{name}<br />\nsecond line\n")
    table = read_table(tmp_path)
    assert table.column("label") == ["neg", "neg", "pos"]
    assert table.column("text")[2] == "pos/0_9.txt<br />\nsecond line"
    assert str(table.places[1]) == f"{tmp_path / 'neg' / '1_2.txt'}, line 1"
    named = read_table({"bad": tmp_path / "neg", "none": tmp_path / "unsup"}, "folders")
    assert named.column("label") == ["bad", "bad", "none"]
    files = {"up": written(tmp_path, "u.txt", "one\ntwo\n"), "down": written(tmp_path, "d.txt.gz", gzip.compress(b"x"))}
    assert read_table(files, "files").columns == {"label": ["up", "up", "down"], "text": ["one", "two", "x"]}


def test_a_stream_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(b"one\ntwo")
    assert [row.fields["text"] for row in iterate(stream, "lines")] == ["one", "two"]
    assert not stream.closed
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one\n\0\n")))
    rows = iterate("-", "lines")
    assert str(next(rows).place) == "standard input, line 1"
    with pytest.raises(BadRow, match="standard input, line 2: a NUL byte"):
        next(rows)
    with pytest.raises(ValueError, match="gzip data, text was expected"):
        list(iterate(io.BytesIO(gzip.compress(b"one\n")), "lines"))
    with pytest.raises(ValueError, match="a stream does not tell its format; name it"):
        iterate("-")


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time and remembers how much was asked for."""

    def __init__(self, line: bytes, count: int) -> None:
        self.line = line
        self.left = count

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        return self.line if self.left >= 0 else b""


def test_rows_come_as_soon_as_they_are_there() -> None:
    pipe = Trickle(b"a line\nhalf", 1_000_000)
    rows = iterate(pipe, "lines")  # type: ignore[arg-type]
    assert next(rows).fields == {"text": "a line"}
    assert next(rows).fields == {"text": "halfa line"}
    assert pipe.left == 999_998


def test_memory_does_not_grow_with_the_stream() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        rows = sum(1 for _ in iterate(Trickle(b'{"text": "a text"}\n' * 1000, count), "jsonl"))  # type: ignore[arg-type]
        assert rows == 1000 * count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(60) < 1.2 * peak(6)


def test_rows_and_joins_of_tables(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a.txt", "one\ntwo\nthree\n"))
    part = table.rows([2, 0])
    assert (part.column("text"), [place.line for place in part.places]) == (["three", "one"], [3, 1])
    assert Table.join([part, table]).column("text") == ["three", "one", "one", "two", "three"]
    with pytest.raises(ValueError, match="the columns text were expected, got label"):
        Table.join([table, Table({"label": ["x"]}, table.places[:1])])
    with pytest.raises(ValueError, match=r"a\.txt, line 1: column 'text' holds text, a list of tokens was expected"):
        table.tokens("text")


def test_every_format_says_what_it_is() -> None:
    assert all(known.about and callable(known.read) for known in FORMATS.values())


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("plain text\nof two lines\n", "lines"),
        ('{"a": 1}\n{"a": 2}\n', "jsonl"),
        ("0 What ?\n1 Who ?\n", "labelled"),
        ("a\tO\nb\tO\n\nc\tO\n", "conll"),
        ("a O\nb O\n\nc O\n", "conll"),
        ("a\tb\nc\td\n", "tsv"),
        ("1\tI\t_\t_\t_\t_\t0\t_\t_\t_\n\n", "conllu"),
    ],
)
def test_the_content_tells_the_format(tmp_path: Path, text: str, format: str) -> None:
    assert format_of(written(tmp_path, "unnamed", text)) == format
