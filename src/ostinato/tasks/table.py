"""The keys of [data] that tasks on rows of text share, and the splits that they name."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..data.dataset import Layout, read_dataset
from ..data.table import BadRow, Table
from ..data.tokens import SPLIT
from ..registry import UnknownNameError
from ..train.recipe import Recipe, RecipeError, Section, one_of

PARTS = ("train", "valid", "test")
GIVEN = "given"  # the column holds tokens already


class TableData(Section):
    """Where rows come from. File names are looked for in the folder `path`, with .gz too."""

    path: str | None = None  # a file, or a folder
    format: str = "auto"
    train: str | dict[str, str] | None = None  # a file's name, or one for each column (parallel files)
    valid: str | dict[str, str] | None = None
    test: str | dict[str, str] | None = None
    columns: list[str] | dict[str, str | int] | None = (
        None  # names from left to right, or ours -> the file's name or place
    )
    header: bool | None = None  # false: a csv or tsv file without a line of names
    valid_fraction: float = Field(default=0.1, gt=0)  # cut from train where there is no such file; from 1 on: rows
    test_fraction: float = Field(default=0.1, gt=0)
    group: str | None = None  # rows with the same entry in this column stay together when a file is cut
    stratify: str | None = None  # the column whose shares a cut keeps; of classes not given: theirs
    cut: Literal["chance", "end"] = "chance"  # end: the last rows are held out, for files whose neighbours are alike
    folds: int = Field(default=0, ge=0)  # cross-validation over all rows; 0: none
    fold: int = Field(default=0, ge=0)  # which of them is the test part
    skip_bad_rows: bool = False
    batch: int = Field(default=32, ge=1)  # rows
    batch_tokens: int | None = Field(default=None, ge=1)  # at most, padding counted
    batch_valid: int = Field(default=128, ge=1)  # rows, when nothing is learnt

    def theirs(self, name: str) -> str:
        """What the files call the column `name`; a column that is known by its place keeps our name."""
        found = self.columns.get(name, name) if isinstance(self.columns, dict) else name
        return found if isinstance(found, str) else name


class TextData(TableData):
    """Rows with a text, or with tokens."""

    text: str = "text"  # the column that is read
    tokens: Annotated[str, one_of("way to cut a text into tokens", (*SPLIT, GIVEN))] = "word"
    lower: bool = False
    digits: bool = False  # every digit is read as 0
    replace: dict[str, str] = Field(default_factory=dict)  # done first of all: {"<br />" = " "}
    min_count: int = Field(default=2, ge=1)
    max_size: int | None = Field(default=None, ge=3)
    max_length: int | None = Field(
        default=None, ge=2
    )  # tokens; of a longer text the first and the last of them are read


def skipped(name: str, bad: Sequence[BadRow]) -> Iterator[str]:
    """A sentence on the rows of a part that could not be used, if there were such."""
    if bad:
        shown = "; ".join(map(str, bad[:3])) + "; ..." * (len(bad) > 3)
        rows = "row was" if len(bad) == 1 else "rows were"
        yield f"{len(bad)} bad {rows} left out of the {name} part ({shown})"


def read_tables(recipe: Any, what: str, tokens: tuple[str, ...] = (), whole: bool = False) -> dict[str, Table]:
    """Train, valid and test as the recipe's [data] says; `tokens` are the columns that hold a list.

    With `whole` no part is cut from another one; where there is no test part, all of "train" is it.

    Raises:
        RecipeError: no data.path. ValueError, OSError: as `read_dataset`.
    """
    assert isinstance(recipe, Recipe)
    data: TableData = recipe.data  # pyright: ignore[reportAttributeAccessIssue]
    if data.path is None:
        raise RecipeError(
            f"recipe {recipe.name or recipe.task} needs {what} ({recipe.about.needs or 'see docs'}): "
            "add -o data.path=FILE_OR_FOLDER"
        )
    layout = layout_of(data, recipe.seed, tokens)
    if whole:
        layout = replace(layout, valid_fraction=0.0, test_fraction=0.0, folds=0, fold=0)
        if Path(data.path).is_file():
            layout = replace(layout, train=None, valid=None, test=None)  # names of files in a folder
    try:
        tables = read_dataset(layout)
        return {"test": tables["train"], **tables} if whole else tables
    except UnknownNameError as error:
        # A column that a cut goes by is missed where the rows are no file's any more.
        raise UnknownNameError(str(error) if str(data.path) in str(error) else f"{data.path}: {error}") from None


def layout_of(data: TableData, seed: int, tokens: tuple[str, ...] = ()) -> Layout:
    """The part of [data] that says where rows are."""
    assert data.path is not None
    return Layout(
        data.path,
        format=data.format,
        train=data.train,
        valid=data.valid,
        test=data.test,
        columns=data.columns,
        tokens=tokens,
        header=data.header,
        valid_fraction=data.valid_fraction,
        test_fraction=data.test_fraction,
        group=data.group,
        stratify=data.stratify or None,
        end=data.cut == "end",
        folds=data.folds,
        fold=data.fold,
        seed=seed,
        skip_bad=data.skip_bad_rows,
    )
