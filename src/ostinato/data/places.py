"""Which files of a folder are train, valid and test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ostinato.data.files import ROLES, listed, neighbours, roles_of, text_files
from ostinato.data.hub import hub_splits, is_saved
from ostinato.data.parallel import parallel_files
from ostinato.data.reading import Columns

PARTS = ("train", "valid", "test")
Part = str | Mapping[str, str]
LABELLED = ("folders", "files")


def find_parts(path: str | Path, format: str, named: Mapping[str, Part | None], columns: Columns) -> dict[str, Any]:
    """Part -> source for `read_table`. `train` is always there.

    Raises FileNotFoundError for a file that is not there, ValueError for names that leave a doubt.
    """
    folder = Path(path)
    if format == "datasets" or (format == "auto" and is_saved(folder)):
        return _splits(path, named)
    if not folder.exists():
        raise FileNotFoundError(f"nothing is called {folder}{neighbours(folder)}")
    given = {part: name for part, name in named.items() if name is not None}
    if given and "train" not in given:
        raise ValueError(f"{', '.join(given)} of {folder} was named, but not train; name its file too")
    if given:
        return {part: _source(folder, name, format, columns) for part, name in given.items()}
    if folder.is_file():
        return {"train": folder}
    return _by_name(folder, format, columns)


def to_answer(folder: Path, column: str) -> Path | None:
    """Of a folder of parallel files the one that holds `column` (seq.in, or its ending de); None where there is none.

    Raises ValueError for a folder with several parts of a data set, which names the one that is likely meant.
    """
    inner, files = _folders_in(folder), text_files(folder)
    claims: dict[str, list[Path]] = {}
    for entry in (*inner, *files):
        for part in roles_of(entry.name):
            claims.setdefault(part, []).append(entry)
    if len(claims) > 1:
        part = next(part for part in ("test", "valid", "train") if part in claims)
        likely = next((entry for entry in claims[part] if _holds(entry, column)), claims[part][0])
        raise ValueError(
            f"one source was expected, but {folder} holds several parts of a data set "
            f"({', '.join(part for part in PARTS if part in claims)}); name the one to answer for, such as {likely}"
        )
    if inner or not any(_holds(file, column) for file in files):
        return None
    return parallel_files(folder, {column: column}, files)[column]


def _holds(file: Path, column: str) -> bool:
    name = file.name.removesuffix(".gz")
    return name == column or name.endswith(f".{column}")


def _source(folder: Path, name: Part, format: str, columns: Columns) -> Any:
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, so no part can be named in it; give the folder as path")
    if isinstance(name, Mapping):
        return {key: _existing(folder, value) for key, value in name.items()}
    found = _existing(folder, name)
    return _inside(found, format, columns) if found.is_dir() else found


def _existing(folder: Path, name: str) -> Path:
    found = folder / name
    if not found.exists() and (packed := found.with_name(f"{found.name}.gz")).exists():
        return packed
    if not found.exists():
        raise FileNotFoundError(f"nothing is called {found}{neighbours(found)}")
    return found


def _by_name(folder: Path, format: str, columns: Columns) -> dict[str, Any]:
    inner = _folders_in(folder)
    claims = _claims(folder, inner)
    if "train" in claims:
        chosen = {part: _only(folder, part, found) for part, found in claims.items()}
        return {part: _inside(entry, format, columns) for part, entry in chosen.items()}
    if format in LABELLED or (format == "auto" and len(inner) > 1):
        return {"train": folder}
    files = text_files(folder)
    claims = _claims(folder, files)
    if format == "parallel":
        whole = claims if "train" in claims else {"train": files}
        return {part: parallel_files(folder, columns, found) for part, found in whole.items()}
    if len(files) == 1:
        return {"train": files[0]}
    if "train" not in claims:
        raise ValueError(f"no file of the folder {folder} has train in its name; name the parts' files{listed(folder)}")
    return {part: _only(folder, part, found) for part, found in claims.items()}


def _folders_in(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]


def _inside(folder: Path, format: str, columns: Columns) -> Any:
    """The source in a part's own folder."""
    if format == "parallel":
        return parallel_files(folder, columns)
    inner = any(entry.is_dir() for entry in folder.iterdir())
    if format in LABELLED or (format == "auto" and inner):
        return folder
    files = text_files(folder)
    if len(files) != 1:
        raise ValueError(f"the folder {folder} must hold one file, or say the format{listed(folder)}")
    return files[0]


def _claims(folder: Path, entries: list[Path]) -> dict[str, list[Path]]:
    claims: dict[str, list[Path]] = {}
    for entry in entries:
        found = roles_of(entry.name)
        if len(found) > 1:
            raise ValueError(f"{entry} is ambiguous: its name says {' and '.join(found)}; name the parts' files")
        for role in found:
            claims.setdefault(role, []).append(entry)
    return claims


def _only(folder: Path, part: str, found: list[Path]) -> Path:
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise ValueError(f"the folder {folder} is ambiguous: {names} are all named {part}; name the one you mean")
    return found[0]


def _splits(path: str | Path, named: Mapping[str, Part | None]) -> dict[str, Any]:
    splits = list(hub_splits(path))
    given = {part: str(name) for part, name in named.items() if name is not None}
    if not given:
        given = {role: split for split in splits for role, words in ROLES.items() if split in words}
    if "train" not in given:
        given = {"train": splits[0], **given} if len(splits) == 1 else given
    if "train" not in given:
        raise ValueError(f"{path} has no split for training (it has {', '.join(splits)}); name it as train")
    return {part: (path, split) for part, split in given.items()}
