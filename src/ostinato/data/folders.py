"""Labels as folders of files (aclImdb: pos/0_9.txt), or as files with one row a line (MR: rt-polarity.pos)."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ostinato.data.files import open_bytes
from ostinato.data.lines import LONGEST, decoded, filled_lines
from ostinato.data.reading import Items, Options, by_position
from ostinato.data.table import BadRow, Place, Row

UNLABELLED = ("unsup",)
"""Folders that aclImdb puts beside those of its labels."""


def read_folders(labels: Mapping[str, str | Path], options: Options) -> Items:
    """One file a row, `labels` says in which folder the files of each label lie. Hidden files are left out.

    Raises ValueError for a label without a file.
    """
    at = by_position(options.columns, 2, "a folder of labels", {"label": 0, "text": 1})
    for label, folder in labels.items():
        files = sorted(entry for entry in Path(folder).iterdir() if _is_text(entry))
        if not files:
            raise ValueError(f"the folder {folder}, of the label {label!r}, holds no file; fill or remove it")
        for file in files:
            text = _whole(file)
            if isinstance(text, BadRow):
                yield text
            else:
                yield Row(Place(str(file), 1), {name: (label, text)[index] for name, index in at.items()})


def read_label_files(labels: Mapping[str, str | Path], options: Options) -> Items:
    """One line a row, `labels` says in which file the rows of each label stand."""
    at = by_position(options.columns, 2, "files of labels", {"label": 0, "text": 1})
    for label, file in labels.items():
        for number, text in filled_lines(file):
            if isinstance(text, BadRow):
                yield text
            else:
                yield Row(Place(str(file), number), {name: (label, text)[index] for name, index in at.items()})


def label_folders(folder: Path) -> dict[str, Path]:
    """Label -> sub-folder. Raises ValueError where there are fewer than two."""
    found = sorted(_entries(folder, files=False))
    return _labelled({entry.name: entry for entry in found if entry.name not in UNLABELLED}, folder, "sub-folder")


def label_files(folder: Path) -> dict[str, Path]:
    """Label -> file; the label is the suffix where all have the same stem, else the stem."""
    found = sorted(_entries(folder, files=True))
    stems = {_stem(entry)[0] for entry in found}
    return _labelled({_stem(entry)[len(stems) == 1]: entry for entry in found}, folder, "file")


def _labelled(found: dict[str, Path], folder: Path, kind: str) -> dict[str, Path]:
    if len(found) < 2:
        shown = ", ".join(found) or "none"
        raise ValueError(f"{folder} must hold a {kind} for each label, two or more, but it has {shown}; name them")
    return found


def _entries(folder: Path, *, files: bool) -> Iterator[Path]:
    if not folder.is_dir():
        raise ValueError(f"a folder was expected, but {folder} is {'a file' if folder.exists() else 'not there'}")
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return (entry for entry in entries if (entry.is_file() if files else entry.is_dir()))


def _stem(file: Path) -> tuple[str, str]:
    stem, _, suffix = file.name.removesuffix(".gz").rpartition(".")
    return stem or suffix, suffix


def _is_text(entry: Path) -> bool:
    return entry.is_file() and not entry.name.startswith(".")


def _whole(file: Path) -> str | BadRow:
    with open_bytes(file) as opened:
        text = decoded(opened.read(LONGEST + 1).removeprefix(b"\xef\xbb\xbf"), str(file), 1, "file")
    if isinstance(text, str) and not text.strip():
        return BadRow(str(file), 1, "the file is empty; fill or remove it")
    return text if isinstance(text, BadRow) else text.replace("\r\n", "\n").strip("\n")
