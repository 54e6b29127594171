"""Oracle: the lines on which the wrong things were written."""

import io
import pickle
from pathlib import Path
from typing import Any

import pytest

from ostinato.data import BadRow, iterate, read_table
from ostinato.registry import UnknownNameError


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


LONG = b"x" * 10_000_000
BAD = {
    "no text": ("a.txt", b"ok\na\0b\nok\n", 2, "a NUL byte stands at byte 2 of the line"),
    "too long": ("a.txt", b"ok\n" + LONG + b"\nok\n", 2, "the line is longer than 1,048,576 bytes"),
    "not UTF-8": ("a.txt", b"ok\ncaf\xe9\nok\n", 2, "byte 0xE9 at byte 4 of the line is not UTF-8"),
    "empty": ("a.txt", b"ok\n \t\nok\n\n\n", 2, "the row is empty"),
    "empty in csv": ("a.csv", b"text\nok\n\nok\n", 3, "the row is empty"),
    "empty field": ("a.csv", b"text,b\nok,1\n,2\nok,3\n", 3, "column 'text' is empty"),
    "too few": ("a.csv", b"text,b\nok,1\nx\nok,3\n", 3, "2 fields were expected, got 1; fill it"),
    "too many": ("a.csv", b"text,b\nok,1\nx,y,2\nok,3\n", 3, "2 fields were expected, got 3; a delimiter within"),
    "too many in tsv": ("a.tsv", b"text\tb\nok\t1\nx\ty\t2\nok\t3\n", 3, "2 fields were expected, got 3"),
    "CR in csv": ("a.csv", b"text\nok\nx\ry\nok\n", 3, "a carriage return (CR) stands in a field without quotes"),
    "quote": ("a.csv", b'text\nok\n"x"y\nok\n', 3, "the row is no CSV: ',' expected after '\"'"),
    "open quote": ("a.csv", b'text\nok\n"x\nok\n', 3, "(its end was looked for up to line 4); close"),
    "NUL in csv": ("a.csv", b"text\nok\n\0\nok\n", 3, "a NUL byte"),
    "broken json": ("a.jsonl", b'{"text": "ok"}\n{"text": \n{"text": "ok"}\n', 2, "the row is no JSON"),
    "deep json": ("a.jsonl", b'{"text": "ok"}\n' + b"[" * 99999 + b'\n{"text": "ok"}', 2, "the row is no JSON"),
    "no object": ("a.jsonl", b'{"text": "ok"}\n3\n{"text": "ok"}\n', 2, "a JSON object was expected, got 3;"),
    "array": ("a.json", b'{"text": "ok"}\n[{"text": "x"}]\n{"text": "ok"}\n', 2, "write its objects one a line"),
    "NaN": ("a.jsonl", b'{"text": "ok"}\n{"text": NaN}\n{"text": "ok"}\n', 2, "key 'text' holds nan"),
    "no key": ("a.jsonl", b'{"text": "ok"}\n{"test": "x"}\n{"text": "ok"}', 2, "no key 'text'; did you mean test?"),
    "null": ("a.jsonl", b'{"text": "ok"}\n{"text": null}\n{"text": "ok"}', 2, "key 'text' holds null"),
    "half a pair": ("a.jsonl", b'{"text": "ok"}\n{"text": "\\ud800"}\n{"text": "ok"}', 2, "half a surrogate pair"),
    "NUL in json": ("a.jsonl", b'{"text": "ok"}\n{"text": "\\u0000"}\n{"text": "ok"}', 2, "a NUL character"),
    "no label": ("a.labelled", b"0 ok\nhm\n0 ok\n", 2, "a label, a space and a text were expected, got only 'hm'"),
    "conll": ("a.conll", b"ok O\n\nx O\ny\n\nok O\n", 4, "2 columns were expected, as on the lines before, got 1"),
    "NUL in conll": ("a.conll", b"ok O\n\nx O\n\0\ny O\n\nok O\n", 4, "a NUL byte"),
    "conllu": (
        "a.conllu",
        b"1\tok" + b"\t_" * 8 + b"\n\n1 x\n\n1\tok" + b"\t_" * 8 + b"\n\n",
        3,
        "10 columns with tabs",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_told_with_file_and_line_or_skipped(tmp_path: Path, case: str) -> None:
    name, raw, line, reason = BAD[case]
    path = written(tmp_path, name, raw)
    tagged = name.startswith("a.conll")
    choice = {"format": "labelled"} if name == "a.labelled" else {} if tagged else {"columns": ["text"]}
    with pytest.raises(BadRow) as error:
        read_table(path, **choice)  # type: ignore[arg-type]
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert reason in str(error.value)
    assert (error.value.path, error.value.line) == (str(path), line)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    table = read_table(path, skip_bad=True, **choice)  # type: ignore[arg-type]
    good = table.column("words" if tagged else "text")
    assert good == ([["ok"], ["ok"]] if tagged else ["ok", "ok"])
    assert [str(bad) for bad in table.skipped] == [str(error.value)]


def test_an_open_quote_costs_one_row_and_is_told_where_it_opens(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'text\nok\n"never closed\n' + "line\n" * 40_000)
    table = read_table(path, skip_bad=True)
    assert table.column("text")[0] == "ok"
    assert str(table.skipped[0]).startswith(f"{path}, line 3: the row is no CSV: field larger than field limit")


def test_tokens_need_as_many_tags(tmp_path: Path) -> None:
    files = {"words": written(tmp_path, "in", "a b\nc  d \ne f\n"), "tags": written(tmp_path, "out", "O O\nO O\nO\n")}
    with pytest.raises(BadRow, match="in, line 3: each token needs one tag, but the row has 2 words and 1 tags"):
        read_table(files, "parallel", tokens=("words", "tags"))
    table = read_table(files, "parallel", tokens=("words", "tags"), skip_bad=True)
    assert table.tokens("words") == [["a", "b"], ["c", "d"]]
    assert len(table.skipped) == 1
    rows = '{"w": ["a", "b"], "t": ["O"]}\n{"w": [], "t": []}\n{"w": ["a"], "t": ["O"]}\n'
    table = read_table(written(tmp_path, "a.jsonl", rows), tokens=("w", "t"), skip_bad=True)
    assert table.columns == {"w": [["a"]], "t": [["O"]]}
    assert [bad.line for bad in table.skipped] == [1, 2]
    with pytest.raises(UnknownNameError, match=r"no column is called 'word'; did you mean words\?"):
        read_table(files, "parallel", tokens=("word",))


def test_unequal_parallel_files_tell_both_counts(tmp_path: Path) -> None:
    one, two = written(tmp_path, "a.de", "1\n2\n3\n"), written(tmp_path, "a.en", "1\n2\n3\n4\n5")
    with pytest.raises(BadRow) as error:
        read_table({"de": one, "en": two}, "parallel")
    assert f"{one}, line 4: " in str(error.value)
    assert f"{one} 3 and {two} 5" in str(error.value)
    assert len(read_table({"de": one, "en": two}, "parallel", skip_bad=True)) == 3


def test_unknown_names_tell_the_near_ones(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "label,text\n1,x\n")
    with pytest.raises(UnknownNameError, match=r"a.csv, line 1: no column is called 'txt'; did you mean text\?"):
        read_table(path, columns=["txt"], skip_bad=True)
    with pytest.raises(UnknownNameError, match=r"no format is called 'josnl'; did you mean jsonl"):
        read_table(path, "josnl")
    with pytest.raises(UnknownNameError, match=r"no column is called 'labl'; did you mean label\?"):
        read_table(path).column("labl")
    with pytest.raises(ValueError, match="2 columns are there, but 3 names were given"):
        read_table(path, header=False, columns=("a", "b", "c"))
    with pytest.raises(UnknownNameError, match="no column is called 'fom'; did you mean form"):
        read_table(written(tmp_path, "a.conllu", "x"), columns=["fom"])


def test_a_file_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.csv has no row to read: it is empty"):
        read_table(written(tmp_path, "a.csv", "label,text\n"))
    with pytest.raises(
        ValueError, match=r"no row to read: all 2 are unusable; the first: .*a.jsonl, line 1: .*no JSON"
    ):
        read_table(written(tmp_path, "a.jsonl", "x\ny\n"), skip_bad=True)
    with pytest.raises(FileNotFoundError, match=r"did you mean a.csv"):
        read_table(tmp_path / "b.csv")


def test_a_sentence_without_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a.bio", "x O\n\n" + "y O\n" * 100_001 + "\nz O\n")
    with pytest.raises(BadRow, match="line 3: a sentence of more than 100,000 tokens begins here"):
        read_table(path)
    assert read_table(path, skip_bad=True).column("words") == [["x"], ["z"]]


@pytest.mark.parametrize(
    ("name", "text", "seen", "format"),
    [
        ("a.csv", "text;label\nso, good;pos\n", "'text;label': it looks separated by ';', not by ','", "semicolon-csv"),
        ("a.csv", "text\tlabel\nso, good\tpos\n", "separated by '\\t', not by ','", "tsv"),
        ("a.tsv", 'text,label\n"so, good",pos\n', "separated by ',', not by '\\t'", "csv"),
        ("a.tsv", "text;label\nso, good;pos\n", "separated by ';', not by '\\t'", "semicolon-csv"),
    ],
)
@pytest.mark.parametrize("columns", [None, ("text", "label"), {"text": "text"}])
def test_another_delimiter_is_told_with_the_format_that_reads_it(
    tmp_path: Path, name: str, text: str, seen: str, format: str, columns: Any
) -> None:
    path = written(tmp_path, name, text)
    for skip in (False, True):
        with pytest.raises(ValueError, match=r"the header has one column") as error:
            read_table(path, columns=columns, skip_bad=skip)
        assert str(error.value).startswith(f"{path}, line 1: ")
        assert seen in str(error.value)
        assert f"say the format {format} (" in str(error.value)
    assert read_table(path, format, columns=columns).column("text") == ["so, good"]


def test_a_delimiter_that_is_meant_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "so; good\nbad\n")
    assert read_table(path, columns=["so; good"]).column("so; good") == ["bad"]
    assert read_table(path, header=False, columns=["text"]).column("text") == ["so; good", "bad"]
    with pytest.raises(ValueError, match=r"line 1: the row has one column, 'so; good': it looks separated by ';'"):
        read_table(path, header=False, columns=["text", "label"])
    assert read_table(written(tmp_path, "b.csv", '"a,b"\nx\n')).columns == {"a,b": ["x"]}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.conll", "a.txt"])
def test_the_line_ends_of_old_macs_are_told(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, "text,label\rso good,pos\r" * 30_000)  # longer than a block
    with pytest.raises(ValueError, match=r"ends its lines in CR alone, .* was expected; convert it: tr ") as error:
        read_table(path, skip_bad=True)
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith("tr '\\r' '\\n' < FILE > NEW")


def test_a_block_that_ends_within_a_line_end_is_read() -> None:
    class Pipe(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return self.read(5)

    rows = iterate(Pipe(b"good\r\nbad\r\n"), "lines")
    assert [row.fields["text"] for row in rows] == ["good", "bad"]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column 'a' stands there twice"):
        read_table(written(tmp_path, "a.csv", "a,a\n1,2\n"))
    with pytest.raises(ValueError, match="a stream of bytes was expected, but the stream gives text"):
        list(iterate(io.StringIO("text"), "lines"))  # type: ignore[arg-type]
    with pytest.raises(BadRow, match="line 1: the file is UTF-16, UTF-8 was expected"):
        read_table(written(tmp_path, "a.txt", "text\n".encode("utf-16")), "lines")
    with pytest.raises(ValueError, match="must hold a sub-folder for each label, two or more, but it has none"):
        read_table(tmp_path, "folders")
    for format in ("folders", "files", "parallel"):
        with pytest.raises(ValueError, match=r"a folder was expected, but .*a.txt is none; name the folder"):
            read_table(tmp_path / "a.txt", format)
        with pytest.raises(ValueError, match=r"a folder was expected, but .*gone is not there; name the folder"):
            read_table(tmp_path / "gone", format)
        with pytest.raises(ValueError, match=r"a folder was expected, but the stream is none"):
            list(iterate(io.BytesIO(b"text"), format))
    with pytest.raises(ValueError, match=r"a data set's name or folder was expected, but the stream is a stream"):
        list(iterate(io.BytesIO(b"text"), "datasets"))
    with pytest.raises(ValueError, match="is a folder and does not tell its format"):
        read_table(tmp_path)
