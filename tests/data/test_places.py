"""Which file of a folder is answered for, and what modules may share. Oracles: the files written; the source."""

import ast
from pathlib import Path

import pytest

import ostinato
from ostinato.data.places import to_answer


def made(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a\n")
    return folder


@pytest.mark.parametrize(
    ("names", "column", "answered"),
    [
        (("seq.in", "seq.out", "label"), "seq.in", "seq.in"),
        (("seq.in.gz", "seq.out.gz"), "seq.in", "seq.in.gz"),
        (("talk.de", "talk.en", "README.de"), "de", "talk.de"),
        (("test.de", "test.en"), "de", "test.de"),
        (("talk.fr", "talk.en"), "de", None),
        (("pos/1.txt", "neg/1.txt", "urls.text"), "text", None),
        (("train/1.txt", "bus/1.txt", "plane/1.txt"), "text", None),  # labels
    ],
)
def test_of_parallel_files_the_one_with_the_column_is_answered(
    tmp_path: Path, names: tuple[str, ...], column: str, answered: str | None
) -> None:
    folder = made(tmp_path, *names)
    assert to_answer(folder, column) == (answered and folder / answered)


@pytest.mark.parametrize(
    ("names", "column", "parts", "likely"),
    [
        (("train.tsv", "dev.tsv", "test.tsv"), "text", "train, valid, test", "test.tsv"),
        (("train.de", "train.en", "test.de.gz", "test.en.gz"), "en", "train, test", "test.en.gz"),
        (("train/seq.in", "valid/seq.in"), "seq.in", "train, valid", "valid"),
        (("train/pos/1.txt", "test/pos/1.txt"), "text", "train, test", "test"),
    ],
)
def test_of_several_parts_none_is_guessed(
    tmp_path: Path, names: tuple[str, ...], column: str, parts: str, likely: str
) -> None:
    folder = made(tmp_path, *names)
    with pytest.raises(ValueError, match="holds several parts of a data set") as error:
        to_answer(folder, column)
    assert f"({parts})" in str(error.value)
    assert str(error.value).endswith(f"name the one to answer for, such as {folder / likely}")


def test_two_files_of_one_column_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.de and b.de all end in 'de'; name the file"):
        to_answer(made(tmp_path, "a.de", "b.de"), "de")


def test_no_module_takes_what_another_one_keeps_to_itself() -> None:
    root = Path(ostinato.__file__).parent
    taken = [
        f"{file.relative_to(root)}: {name.name}"
        for file in sorted(root.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("ostinato"))
        for name in node.names
        if name.name.startswith("_") and not name.name.startswith("__")
    ]
    assert taken == []
