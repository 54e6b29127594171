"""Oracles: what was written into the files, and the system's own iconv for the advice on conversion."""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.data import read_splits, read_text
from ostinato.data.files import open_bytes


def test_plain_and_gzip_give_the_same_text(tmp_path: Path) -> None:
    text = "第一回\nhello\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "gzip_by_content").write_bytes(gzip.compress(text.encode()))
    assert {read_text(tmp_path / name) for name in ("a.txt", "b.txt.gz", "gzip_by_content")} == {text}


def test_crlf_is_folded_and_the_byte_order_mark_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert read_text(tmp_path / "a.txt") == "one\ntwo\rthree\n"


def test_the_line_ends_of_old_macs_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\rtwo\r")
    with pytest.raises(ValueError, match=r"a.txt ends its lines in CR alone, as old Macs did, .*; convert it: tr "):
        read_text(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"one line, and nothing behind its CR\r")
    assert read_text(tmp_path / "a.txt").startswith("one line")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("raw", [b"", b" \r\n\t\n"])
def test_a_file_without_text_is_refused(tmp_path: Path, raw: bytes, packed: bool) -> None:
    path = tmp_path / "a.txt.gz"
    path = path if packed else path.with_suffix("")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(ValueError, match="is empty"):
        read_text(path)


def test_a_missing_file_names_the_near_ones(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"no file is called .*imput\.txt; did you mean input\.txt\?"):
        read_text(tmp_path / "imput.txt")


def test_a_missing_file_does_not_list_a_large_folder(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"part-{index}").touch()
    with pytest.raises(FileNotFoundError) as error:
        read_text(tmp_path / "novel.txt")
    assert "part-" not in str(error.value)
    assert "check the path" in str(error.value)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_text(tmp_path / "nowhere" / "novel.txt")


def test_a_folder_where_a_file_was_expected(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("x")
    with pytest.raises(ValueError, match=r"is a folder; name one of the files in it \(it has input.txt\)"):
        read_text(tmp_path)


def test_broken_gzip_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(os.urandom(5000))
    damaged = bytearray(whole)
    damaged[-6] ^= 0xFF  # in the checksum
    for name, raw in {"short.gz": whole[:2000], "damaged.gz": bytes(damaged), "head.gz": whole[:5]}.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(ValueError, match=f"{name} is broken gzip data .*; fetch it again"):
            read_text(tmp_path / name)
    (tmp_path / "plain.gz").write_bytes(b"plain text")
    with pytest.raises(ValueError, match=r"is named \.gz but is not gzip data"):
        read_text(tmp_path / "plain.gz")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "红楼梦 第一回\n甄士隐梦幻识通灵　贾雨村风尘怀闺秀\n"),
        ("iso-8859-1", "Le café est à l'étage\n"),
        ("windows-1252", "It’s “quoted” here\n"),
        ("utf-16", "hello, 世界\n"),
        ("utf-16le", "hello\n"),
        ("utf-16be", "hello\n"),
    ],
)
def test_the_advice_for_another_encoding_works(tmp_path: Path, encoding: str, text: str, packed: bool) -> None:
    path = tmp_path / ("an old file.txt" + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode(encoding)) if packed else text.encode(encoding))
    with pytest.raises(ValueError, match="convert it: ") as error:
        read_text(path)
    command = str(error.value).partition("convert it: ")[2]
    advised = re.search(r"iconv -f (\S+) -t utf-8", command)
    assert advised is not None
    assert text.encode(encoding).decode(advised[1]) == text
    if shutil.which("iconv"):
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)
        assert read_text(tmp_path / "NEW") == text


def test_a_wrong_byte_is_named_with_its_offset(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a.txt").write_bytes(mark + b"abc\xe9 d")
        with pytest.raises(ValueError, match=rf"is not UTF-8: byte 0xE9 at offset {len(mark) + 3};"):
            read_text(tmp_path / "a.txt")


def test_utf16_and_nul_bytes_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xfe\xff" + "hi".encode("utf-16be"))
    with pytest.raises(ValueError, match=r"is UTF-16 \(big-endian: it begins with the byte-order mark FE FF\)"):
        read_text(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"abc\0def")
    with pytest.raises(ValueError, match="has a NUL byte at offset 3"):
        read_text(tmp_path / "b.txt")


@settings(deadline=None, max_examples=50)
@given(st.text(min_size=40, max_size=300), st.sampled_from([(0.9, 0.05, 0.05), (0.8, 0.1, 0.1), (0.34, 0.33, 0.33)]))
def test_splits_of_a_file_are_the_file(tmp_path_factory: pytest.TempPathFactory, body: str, shares: tuple) -> None:
    text = "x" + body.replace("\r", "").replace("\0", "")
    if len(text) < 40:
        text += "y" * 40
    path = tmp_path_factory.mktemp("cut") / "input.txt"
    path.write_bytes(text.encode())
    splits = read_splits(path, shares)
    assert "".join(splits) == text
    for part, share in zip(splits, shares, strict=True):
        assert abs(len(part) - share * len(text)) <= 1


@pytest.mark.parametrize(
    "names",
    [
        ("ptb.train.txt.gz", "ptb.valid.txt.gz", "ptb.test.txt.gz"),
        ("TRAIN.txt", "dev.txt", "Test.txt"),
        ("latest.train.txt", "latest.val.txt", "latest.test.txt"),
        ("wnut17train.conll", "wnut17validation.conll", "wnut17test.conll"),
        ("trainset", "validset", "testdata"),
        ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
        ("ptb_train.raw", "ptb_valid.raw", "ptb_test.raw"),
        ("training.md", "DevData.md", "myTestSet.md"),
        ("红楼梦train.txt", "红楼梦dev.txt", "红楼梦test.txt"),
    ],
)
def test_a_folder_is_split_by_its_names(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name, text in zip(names, ("one", "two", "three"), strict=True):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    for other in ("README.md", ".hidden.train", "LICENSE", "train.PNG", "test.npy.gz", "dev.zip"):
        (tmp_path / other).write_text("not the text")
    (tmp_path / "train").mkdir()
    assert read_splits(tmp_path) == ("one", "two", "three")


def test_a_folder_with_one_file_is_read_like_the_file(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("abcdefghij" * 10)
    (tmp_path / "README").write_text("about")
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert read_splits(tmp_path) == read_splits(tmp_path / "input.txt")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("a.train", "a.test"), r"has no file for valid \(a name with valid or validation or dev or val\)"),
        (
            ("train.txt", "valid.txt", "latest.txt"),
            r"has no file for test .*\(it has latest.txt, train.txt, valid.txt\)",
        ),
        (("train.txt", "invalid.txt", "détest.txt"), r"has no file for valid .* and test "),
        (("strain", "values", "testament"), r"has no file for train .* and valid .* and test "),
        (("train.png",), r"has no file for train .*\(it has no text file\)"),
        (("a.txt", "b.txt"), r"has no file for train .* and valid .* and test .*\(it has a.txt, b.txt\)"),
        ((), r"has no file for train .*\(it has no text file\)"),
        (("train.de", "train.en", "val.de", "test.de"), r"is ambiguous: train.de, train.en are all named train"),
        (("train.test.txt", "dev.txt"), r"is ambiguous: its name says train and test"),
    ],
)
def test_a_folder_that_is_no_split_is_refused(tmp_path: Path, names: tuple[str, ...], sentence: str) -> None:
    for name in names:
        (tmp_path / name).write_text("text")
    with pytest.raises(ValueError, match=sentence):
        read_splits(tmp_path)


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.0), (0.9, 0.2, -0.1), (0.5, 0.2, 0.2), (0.5, 0.5)])
def test_fractions_that_are_none_are_refused(tmp_path: Path, fractions: tuple) -> None:
    (tmp_path / "input.txt").write_text("abc" * 100)
    with pytest.raises(ValueError, match="three positive numbers that sum to 1"):
        read_splits(tmp_path / "input.txt", fractions)


def test_a_text_too_short_to_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("abcd")
    with pytest.raises(ValueError, match="has 4 characters, too few to cut"):
        read_splits(tmp_path)


def test_gzip_that_breaks_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(os.urandom(100_000))[:50_000])
    with pytest.raises(ValueError, match="is broken gzip data"), open_bytes(path) as file:
        while file.read(1000):
            pass
