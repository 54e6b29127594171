"""Oracle: the lines on which the wrong things were written."""

import io
import pickle
from pathlib import Path

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
    "quote": ("a.csv", b'text\nok\n"x"y\nok\n', 3, "the row is no CSV: ',' expected after '\"'"),
    "NUL in csv": ("a.csv", b"text\nok\n\0\nok\n", 3, "a NUL byte"),
    "broken json": ("a.jsonl", b'{"text": "ok"}\n{"text": \n{"text": "ok"}\n', 2, "the row is no JSON"),
    "deep json": ("a.jsonl", b'{"text": "ok"}\n' + b"[" * 99999 + b'\n{"text": "ok"}', 2, "the row is no JSON"),
    "no object": ("a.jsonl", b'{"text": "ok"}\n3\n{"text": "ok"}\n', 2, "a JSON object was expected, got a int"),
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


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column 'a' stands there twice"):
        read_table(written(tmp_path, "a.csv", "a,a\n1,2\n"))
    with pytest.raises(ValueError, match="a stream of bytes was expected, but the stream gives text"):
        list(iterate(io.StringIO("text"), "lines"))  # type: ignore[arg-type]
    with pytest.raises(BadRow, match="line 1: the file is UTF-16, UTF-8 was expected"):
        read_table(written(tmp_path, "a.txt", "text\n".encode("utf-16")), "lines")
    with pytest.raises(ValueError, match="must hold a sub-folder for each label, two or more, but it has none"):
        read_table(tmp_path, "folders")
    with pytest.raises(ValueError, match="is a folder and does not tell its format"):
        read_table(tmp_path)
