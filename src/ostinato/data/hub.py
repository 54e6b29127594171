"""Hugging Face datasets, from a folder that `save_to_disk` wrote or by name. Needs the extra `data`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ostinato.data.jsonl import chosen
from ostinato.data.reading import Items, Options, by_name
from ostinato.data.table import BadRow, Place, Row
from ostinato.registry import UnknownNameError, near

MARKERS = ("dataset_dict.json", "dataset_info.json", "state.json")
"""The files of which one lies in a folder that `save_to_disk` wrote."""


def is_saved(folder: Path) -> bool:
    """Did `save_to_disk` write this folder?"""
    return any((folder / marker).exists() for marker in MARKERS)


def hub_splits(name: str | Path) -> dict[str, Any]:
    """Split -> datasets.Dataset, from a folder of `save_to_disk`, else from the hub by name ('imdb', 'conll2003').

    Raises ImportError without the package `datasets`, and what it raises itself for a name it cannot load.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "reading Hugging Face datasets needs the package datasets; install it: pip install 'ostinato[data]'"
        ) from error
    loaded: Any = datasets.load_from_disk(str(name)) if is_saved(Path(name)) else datasets.load_dataset(str(name))
    return dict(loaded) if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}


def read_hub(source: tuple[str | Path, str] | str | Path, options: Options) -> Items:
    """The rows of one split, (name, split); a dataset of one split needs no split. The line is the row, counted from 1.

    Class labels become their names, also in lists of them (tags of tokens). Raises UnknownNameError for an unknown
    split or column, ValueError where several splits are there and none is named.
    """
    name, split = source if isinstance(source, tuple) else (source, None)
    splits = hub_splits(name)
    if split is None:
        split = next(iter(splits))
        if len(splits) > 1:
            raise ValueError(
                f"{name} has the splits {', '.join(splits)}, one was expected; name it{_inner(name, split)}"
            )
    if split not in splits:
        raise UnknownNameError(f"{name}: no split is called {split!r}{near(str(split), splits)}")
    yield from _rows(splits[split], f"{name}:{split}", options)


def _inner(name: str | Path, split: str) -> str:
    # `save_to_disk` wrote each split into a folder of its own, which can be read by itself.
    return f", such as {Path(name) / split}" if is_saved(Path(name)) else ""


def _rows(table: Any, path: str, options: Options) -> Iterator[Row | BadRow]:
    names = list(table.column_names)
    keys = {ours: names[index] for ours, index in by_name(options.columns, names, path).items()}
    labels = {key: _class_names(table.features[key]) for key in keys.values()}
    for number, row in enumerate(table.select_columns(list(dict.fromkeys(keys.values()))), start=1):
        named = {key: _named(value, labels[key]) for key, value in row.items()}
        fields = chosen(named, keys, strict=options.columns is not None)
        yield BadRow(path, number, fields) if isinstance(fields, str) else Row(Place(path, number), fields)


def _class_names(feature: Any) -> list[str] | None:
    inner = getattr(feature, "feature", feature)
    return getattr(inner, "names", None)


def _named(value: Any, names: list[str] | None) -> Any:
    if names is None or value is None:
        return value
    if isinstance(value, list):
        return [_named(part, names) for part in value]
    # The hub marks a missing label (of hidden tests) with -1.
    return names[value] if value >= 0 else None
