"""Text files: read with errors one can act on, cut into splits."""

import difflib
import gzip
import re
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from ostinato.registry import near

GZIP_MAGIC = b"\x1f\x8b"
ROLES = {"train": ("train",), "valid": ("valid", "validation", "dev", "val"), "test": ("test",)}
# Files that lie beside a text and are none of it.
COMPANIONS = ("readme", "license", "licence", "copying", ".")
# Suffixes; not pt and so, which are also languages (train.en, train.pt).
BINARY = frozenset([  # pictures, sound and film, archives, numbers, office
    *("avif", "bmp", "gif", "ico", "jpeg", "jpg", "png", "svgz", "tif", "tiff", "webp"),
    *("avi", "flac", "m4a", "mkv", "mov", "mp3", "mp4", "ogg", "wav", "webm"),
    *("7z", "bz2", "rar", "tar", "tgz", "xz", "zip", "zst"),
    *("bin", "ckpt", "h5", "hdf5", "npy", "npz", "onnx", "parquet", "pickle", "pkl", "pth", "safetensors", "sqlite"),
    *("doc", "docx", "odt", "pdf", "ppt", "pptx", "xls", "xlsx"),
])  # fmt: skip
# What may stand against a role's name in one word: "trainset", "testdata", "training".
_BESIDE = "set|data|file|text|part|split|corpus"


class Splits(NamedTuple):
    """One text in three parts: learn from `train`, choose with `valid`, report on `test`."""

    train: str
    valid: str
    test: str


@contextmanager
def open_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """Open a plain or gzip file for reading its (unpacked) bytes; gzip is told from the first bytes, not from the name.

    Raises FileNotFoundError for a missing file, ValueError for a folder and for gzip data that cannot be unpacked,
    also when it turns out broken only while it is being read.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"a file was expected, but {path} is a folder; name one of the files in it{listed(path)}")
    if not path.exists():
        raise FileNotFoundError(f"no file is called {path}{neighbours(path)}")
    with path.open("rb") as plain:
        packed = plain.read(2) == GZIP_MAGIC
        plain.seek(0)
        if not packed:
            if path.suffix == ".gz" and path.stat().st_size:
                raise ValueError(f"{path} is named .gz but is not gzip data; rename it without .gz or fetch it again")
            yield plain
            return
        try:
            with gzip.open(plain) as unpacked:
                yield cast(BinaryIO, unpacked)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            reason = str(error).rstrip(".")
            raise ValueError(f"{path} is broken gzip data ({reason}); fetch it again, or check `gzip -t`") from error


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, plain or gzip; CRLF becomes LF, a byte-order mark is dropped.

    Raises FileNotFoundError, with the near names, for a missing file, and ValueError for a folder, an empty file or one
    of white space only, broken gzip, and bytes that are not UTF-8, with their offset and the command to convert them.
    """
    with open_bytes(path) as file:
        raw = file.read()
    if not raw.strip():
        raise ValueError(f"{path} is empty{' (white space only)' if raw else ''}; a file with text in it was expected")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        mark, order = raw[:2].hex(" ").upper(), "little" if raw[0] == 0xFF else "big"
        raise ValueError(
            f"{path} is UTF-16 ({order}-endian: it begins with the byte-order mark {mark}), UTF-8 was expected; "
            f"convert it: {_conversion(path, 'utf-16')}"
        )
    if (nul := raw.find(0)) >= 0:
        guess = "utf-16le" if nul % 2 else "utf-16be"
        raise ValueError(
            f"{path} has a NUL byte at offset {nul}, so it is no UTF-8 text; if it is UTF-16, convert it: "
            f"{_conversion(path, guess)}"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind the byte-order mark, a user counts from the start of the file.
        at = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        raise ValueError(
            f"{path} is not UTF-8: byte 0x{raw[at]:02X} at offset {at}; "
            f"convert it: {_conversion(path, _guess_encoding(raw))}"
        ) from error
    check_line_ends(raw, str(path))
    return text.replace("\r\n", "\n")


def check_line_ends(raw: bytes, path: str) -> None:
    """Raises ValueError for the first bytes of a text whose lines end as old Macs wrote them, in CR alone."""
    # A CR at the end may be half of a CRLF.
    if b"\n" not in raw and b"\r" in raw.rstrip(b"\r") and b"\0" not in raw:
        raise ValueError(
            f"{path} ends its lines in CR alone, as old Macs did, LF or CRLF was expected; "
            "convert it: tr '\\r' '\\n' < FILE > NEW"
        )


def read_splits(path: str | Path, fractions: tuple[float, float, float] = (0.90, 0.05, 0.05)) -> Splits:
    """Train, valid and test text from one file or one folder.

    A file is cut in order, by characters, at `fractions`. A folder with one text file is read like that file. A folder
    whose file names hold train, valid (or dev, val) and test (`ptb.train.txt.gz`) is taken as the split. These must be
    words of their own, also as in trainset, testdata or training, never a piece of another word: latest.txt is no test
    part. Ignored are hidden files, README and licence files, and what is no text by its suffix (BINARY, with .gz or
    without). Raises what `read_text` raises, and ValueError for fractions that are not positive or do not sum to 1, for
    a text too short to be cut, and for a folder whose files do not make one split.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        shown = ", ".join(f"{fraction:g}" for fraction in fractions)
        raise ValueError(
            f"fractions must be three positive numbers that sum to 1, such as 0.9, 0.05, 0.05; got {shown}"
        )
    path = Path(path)
    if not path.is_dir():
        return _cut(read_text(path), path, fractions)
    files = text_files(path)
    if len(files) == 1:
        return _cut(read_text(files[0]), files[0], fractions)
    found = _by_role(path, files)
    return Splits(*(read_text(found[role]) for role in Splits._fields))


def _cut(text: str, path: Path, fractions: tuple[float, float, float]) -> Splits:
    first, second = round(len(text) * fractions[0]), round(len(text) * (fractions[0] + fractions[1]))
    splits = Splits(text[:first], text[first:second], text[second:])
    if not all(splits):
        raise ValueError(
            f"{path} has {len(text)} characters, too few to cut into train, valid and test of {fractions[0]:g}, "
            f"{fractions[1]:g} and {fractions[2]:g}; give a longer text or other fractions"
        )
    return splits


def text_files(folder: Path) -> list[Path]:
    """The files of a folder that may hold text, by their names and in their order; see `read_splits`."""
    entries = sorted(folder.iterdir())
    return [entry for entry in entries if entry.is_file() and _is_text(entry.name.lower())]


def _is_text(name: str) -> bool:
    kind = name.removesuffix(".gz").rpartition(".")[2]
    return not name.startswith(COMPANIONS) and kind not in BINARY


def _by_role(folder: Path, files: list[Path]) -> dict[str, Path]:
    claims: dict[str, list[Path]] = {role: [] for role in ROLES}
    for file in files:
        roles = roles_of(file.name)
        if len(roles) > 1:
            raise ValueError(f"{file} is ambiguous: its name says {' and '.join(roles)}; rename it to say one of them")
        for role in roles:
            claims[role].append(file)
    for role, claimed in claims.items():
        if len(claimed) > 1:
            names = ", ".join(file.name for file in claimed)
            raise ValueError(f"the folder {folder} is ambiguous: {names} are all named {role}; keep one of them in it")
    missing = [role for role, claimed in claims.items() if not claimed]
    if missing:
        wanted = " and ".join(f"{role} (a name with {' or '.join(ROLES[role])})" for role in missing)
        raise ValueError(
            f"the folder {folder} has no file for {wanted}; it must hold one text file, "
            f"or one each for train, valid and test{listed(folder)}"
        )
    return {role: claimed[0] for role, claimed in claims.items()}


def roles_of(name: str) -> list[str]:
    """Which parts (train, valid, test) a file's or folder's name says; several where it leaves a doubt."""
    # Letters with marks belong to a word (détest); other scripts write names side by side (红楼梦train).
    parts = re.findall(r"[a-z\u00c0-\u024f\u0300-\u036f]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    # Whole words first: `testdata.train.txt` is a training file.
    exact = [role for role, words in ROLES.items() if any(word in parts for word in words)]
    return exact or [role for role, words in ROLES.items() if any(_joined(part, words) for part in parts)]


def _joined(part: str, words: tuple[str, ...]) -> bool:
    return bool(re.fullmatch(f"({_BESIDE})?({'|'.join(words)})(ing)?({_BESIDE})?", part))


def listed(folder: Path) -> str:
    """The end of a sentence that tells the text files of a folder: " (it has a.txt, b.txt)"."""
    names = [file.name for file in text_files(folder)]
    if not names:
        return " (it has no text file)"
    return f" (it has {', '.join(names[:6])}{', ...' * (len(names) > 6)})"


def neighbours(path: Path) -> str:
    """The end of a sentence on a path that is not there: the near names, or that its folder is not there either."""
    if not path.parent.is_dir():
        return f": there is no folder {path.parent}; check the path"
    names = [entry.name for entry in path.parent.iterdir()]
    # A name without a near one would list the whole folder, which may be long.
    if len(names) > 20:
        names = difflib.get_close_matches(path.name, names, n=3)
    return near(path.name, names) if names else f": {path.parent} holds nothing of a like name; check the path"


def _conversion(path: str | Path, encoding: str) -> str:
    name = shlex.quote(str(path))
    if Path(path).suffix == ".gz":
        return f"gunzip -c {name} | iconv -f {encoding} -t utf-8 > NEW"
    return f"iconv -f {encoding} -t utf-8 {name} > NEW"


def _guess_encoding(raw: bytes) -> str:
    # GB text writes a character as two high bytes; in Western text a high byte mostly stands alone among ASCII.
    runs = re.findall(rb"[\x80-\xff]+", raw[:1_000_000])
    paired = sum(len(run) for run in runs if len(run) > 1)
    if 2 * paired > sum(map(len, runs)):
        return "gb18030"
    return "windows-1252" if any(0x80 <= byte < 0xA0 for run in runs for byte in run) else "iso-8859-1"
