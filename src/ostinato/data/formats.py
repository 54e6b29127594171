"""The formats by name, and the two ways to read any of them: `iterate`, row by row, and `read_table`, all at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ostinato.data.conll import CONLLU, read_conll, read_conllu
from ostinato.data.delimited import read_csv, read_quoted_tsv, read_semicolon_csv, read_tsv
from ostinato.data.folders import label_files, label_folders, read_folders, read_label_files
from ostinato.data.hub import is_saved, read_hub
from ostinato.data.jsonl import read_jsonl
from ostinato.data.lines import read_lines, source_name
from ostinato.data.parallel import parallel_files, read_parallel
from ostinato.data.plain import FASTTEXT, read_labelled, read_plain
from ostinato.data.reading import Columns, Items, Options, split_spaces
from ostinato.data.table import BadRow, Field, Place, Row, Table
from ostinato.registry import Registry, near

Anything = str | Path | BinaryIO | Mapping[str, str | Path] | tuple[str | Path, str]


class Format(NamedTuple):
    """One format: its reader, one line about it, and the suffixes (before .gz) that tell it."""

    read: Callable[[Any, Options], Items]
    about: str
    suffixes: tuple[str, ...] = ()


def _parallel(files: Any, options: Options) -> Items:
    if not isinstance(files, Mapping):
        return read_parallel(parallel_files(_folder(files), options.columns))
    return read_parallel(files)


def _folders(labels: Any, options: Options) -> Items:
    return read_folders(labels if isinstance(labels, Mapping) else label_folders(_folder(labels)), options)


def _files(labels: Any, options: Options) -> Items:
    return read_label_files(labels if isinstance(labels, Mapping) else label_files(_folder(labels)), options)


def _hub(source: Any, options: Options) -> Items:
    if not isinstance(source, str | Path | tuple):
        raise ValueError(f"a data set's name or folder was expected, but {source_name(source)} is a stream; name it")
    return read_hub(source, options)


def _folder(source: Any) -> Path:
    if isinstance(source, str | Path) and Path(source).is_dir():
        return Path(source)
    name = source_name(source)
    there = "is none" if name != str(source) or Path(name).exists() else "is not there"
    told = _by_suffix(Path(name)) if there == "is none" else None
    other = f"the format of that file, {told} (data.format)" if told else "another format (data.format)"
    raise ValueError(f"a folder was expected, but {name} {there}; name the folder of the files, or {other}")


FORMATS: Registry = Registry("format")
FORMATS |= {
    "lines": Format(read_plain, "one text a line", ("txt",)),
    "labelled": Format(read_labelled, "a label, a space and a text a line (TREC, SST, fastText)"),
    "csv": Format(read_csv, "comma-separated, with a header line; fields may be quoted", ("csv",)),
    "semicolon-csv": Format(read_semicolon_csv, "as csv, separated by semicolons (European spreadsheets)"),
    "tsv": Format(read_tsv, "tab-separated, with a header line; quotes are literal", ("tsv",)),
    "quoted-tsv": Format(read_quoted_tsv, "tab-separated, with a header line; fields may be quoted"),
    "jsonl": Format(read_jsonl, "one JSON object a line", ("jsonl", "ndjson", "json")),
    "conll": Format(
        read_conll,
        "a token and its tags a line, blank lines between sentences",
        ("conll", "bio", "bioes", "iob", "iob1", "iob2", "bmes", "bmeso"),
    ),
    "conllu": Format(read_conllu, "Universal Dependencies' CoNLL-U", ("conllu",)),
    "parallel": Format(_parallel, "files whose lines n belong together (column -> file)"),
    "folders": Format(_folders, "a folder a label, a file a text (aclImdb)"),
    "files": Format(_files, "a file a label, a line a text (MR)"),
    "datasets": Format(_hub, "Hugging Face datasets, by name or from save_to_disk; needs the extra `data`"),
}


def iterate(
    source: Anything,
    format: str = "auto",
    *,
    columns: Columns = None,
    tokens: Sequence[str] = (),
    header: bool | None = None,
    on_bad: Callable[[BadRow], object] | None = None,
) -> Iterator[Row]:
    """The rows of a source one by one, each with its place, in constant memory.

    source: a path (plain or .gz), "-" for standard input, an open binary stream; for `parallel` column -> path, for
        `folders` and `files` label -> path or the folder of them, for `datasets` a name or (name, split).
    format: a name of FORMATS; "auto" tells it by suffix, else by the first lines.
    columns: those wanted. Where the file names its columns: names, or our name -> its name. Where it does not: names
        by position (`_`: left out), or our name -> position (-1: the last). Columns asked for must not be empty.
    tokens: the columns to hold one string a token, cut at spaces; in each row all of them must have as many.
    header: False for csv and tsv files without a header line.
    on_bad: called with each BadRow, which is then left out; without it the first one is raised.

    Raises:
        BadRow (a ValueError): a row that cannot be used, with file and line.
        UnknownNameError (a ValueError): an unknown format or column, with the near names.
        FileNotFoundError, ValueError: what `open_bytes` raises.
    """
    chosen = FORMATS[format] if format != "auto" else FORMATS[format_of(source)]
    items = chosen.read(source, Options(columns, header))
    return _usable(items, tuple(tokens), on_bad)


def read_table(
    path: Anything,
    format: str = "auto",
    *,
    columns: Columns = None,
    tokens: Sequence[str] = (),
    skip_bad: bool = False,
    header: bool | None = None,
) -> Table:
    """All rows of a source; the arguments are those of `iterate`, and it raises what `iterate` raises.

    With `skip_bad`, rows that cannot be used are left out and listed in `Table.skipped`. Raises ValueError where no row
    is left.
    """
    skipped: list[BadRow] = []
    rows = iterate(
        path, format, columns=columns, tokens=tokens, header=header, on_bad=skipped.append if skip_bad else None
    )
    table: dict[str, list[Field]] = {}
    places: list[Place] = []
    for place, fields in rows:
        if not places:
            table = {name: [] for name in fields}
        for name, field in fields.items():
            table[name].append(field)
        places.append(place)
    if not places:
        why = f"all {len(skipped)} are unusable; the first: {skipped[0]}" if skipped else "it is empty"
        raise ValueError(f"{_shown(path)} has no row to read: {why}")
    return Table(table, places, tuple(skipped))


def told_format(source: str, learnt: str = "auto") -> str:
    """The format that a name tells by its suffix, or a folder by what is in it; "lines" for any other file and for "-".

    For what is to be answered: a guess from the first lines may take a word of a text for a label. So it counts only
    where it is the format that a model has `learnt` from.
    """
    path = Path(source)
    if path.is_dir():
        return _of_folder(path)
    told = _by_suffix(path) or "lines"
    alike = told == "lines" and learnt in ("labelled", "conll", "conllu") and path.is_file()
    return learnt if alike and _of_first_lines(path) == learnt else told


def format_of(source: Anything) -> str:
    """The name of a source's format, by suffix or from its first lines. Raises ValueError where neither tells it."""
    if isinstance(source, Mapping):
        return _of_mapping(source)
    if isinstance(source, tuple):
        return "datasets"
    if not isinstance(source, str | Path) or str(source) == "-":
        raise ValueError(f"a stream does not tell its format; name it{near('', FORMATS)}")
    path = Path(source)
    if path.is_dir():
        return _of_folder(path)
    told = _by_suffix(path)
    if told not in (None, "lines"):  # a .txt may be anything
        return told
    return _of_first_lines(path)


def _of_first_lines(path: Path) -> str:
    return _of_content([line for _, line in islice(read_lines(path), 100) if isinstance(line, str)])


def _by_suffix(path: Path) -> str | None:
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    return next((name for name, known in FORMATS.items() if suffix in known.suffixes), None)


def _of_mapping(source: Mapping[str, str | Path]) -> str:
    if all(Path(path).is_dir() for path in source.values()):
        return "folders"
    raise ValueError("files by name are either columns or labels; say format 'parallel' or 'files'")


def _of_folder(path: Path) -> str:
    if is_saved(path):
        return "datasets"
    if sum(entry.is_dir() for entry in path.iterdir()) > 1:
        return "folders"
    raise ValueError(f"{path} is a folder and does not tell its format; name a file in it, or say the format")


def _of_content(lines: list[str]) -> str:
    filled = [line for line in lines if line and not line.isspace()]
    gaps = "" in "\n".join(line.strip() for line in lines).strip("\n").split("\n")[1:]
    starts = [line.partition(" ")[0] for line in filled]
    tabs = {line.count("\t") for line in filled}
    widths = {len(line.split()) for line in filled}
    if filled and all(line.startswith("{") for line in filled):
        return "jsonl"
    if any(line.count("\t") == len(CONLLU) - 1 and line[0].isdigit() for line in filled[:20]):
        return "conllu"
    if gaps and (len(widths) == 1 < max(widths) or tabs == {1}):
        return "conll"
    if filled and all(start.isdigit() or start.startswith(FASTTEXT) for start in starts):
        return "labelled"
    return "tsv" if len(tabs) == 1 and max(tabs) else "lines"


def _usable(items: Items, tokens: tuple[str, ...], on_bad: Callable[[BadRow], object] | None) -> Iterator[Row]:
    for item in items:
        row = _tokenised(item, tokens) if tokens and isinstance(item, Row) else item
        if isinstance(row, Row):
            yield row
        elif on_bad is None:
            raise row
        else:
            on_bad(row)


def _tokenised(row: Row, tokens: tuple[str, ...]) -> Row | BadRow:
    place, fields = row
    sizes: dict[str, int] = {}
    for name in tokens:
        if name not in fields:
            Table({key: [] for key in fields}, []).column(name)
        field = fields[name]
        fields[name] = field = split_spaces(field) if isinstance(field, str) else field
        sizes[name] = len(field)
    if 0 in sizes.values():
        return BadRow(*place, "the row has no tokens; fill it or drop it")
    if len(set(sizes.values())) > 1:
        told = " and ".join(f"{size} {name}" for name, size in sizes.items())
        return BadRow(*place, f"each token needs one tag, but the row has {told}; mend or drop it")
    return row


def _shown(path: Anything) -> str:
    return ", ".join(map(str, path.values())) if isinstance(path, Mapping) else str(path)
