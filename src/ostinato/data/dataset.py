"""Train, valid and test tables of one task, from the files that a Layout describes."""

from dataclasses import dataclass, replace
from pathlib import Path

from ostinato.data.cuts import fold_of, held_out
from ostinato.data.formats import Anything, format_of, read_table
from ostinato.data.places import PARTS, Part, find_parts
from ostinato.data.reading import Columns
from ostinato.data.table import Table


@dataclass(frozen=True)
class Layout:
    """Where the parts of a data set lie and how they are read.

    path: a folder, a file, or for `datasets` a name on the hub.
    format, columns, tokens, header: as in `iterate`.
    train, valid, test: the part's file (or folder, or split of `datasets`) in the folder, `.gz` or not; for `parallel`
        column -> file, for `files` and `folders` label -> path. Without any of them they are told from the names:
        sub-folders or files with train, valid (dev, val) and test in them; one file alone is all of it.
    valid_fraction, test_fraction: cut from train where that part has no file; from 1 on a number of rows; 0: no part.
    group: the column whose equal rows never fall on both sides of a cut.
    stratify: the column whose shares a cut keeps.
    end: a cut takes the last rows, not rows by chance: for files in which neighbours belong together.
    folds, fold: with folds > 0, `test` is fold number `fold` (from 0) of a cross-validation.
    seed: decides the cuts, and nothing else does.
    skip_bad: leave out rows that cannot be used; they are listed in `Table.skipped`.
    """

    path: str | Path
    format: str = "auto"
    train: Part | None = None
    valid: Part | None = None
    test: Part | None = None
    columns: Columns = None
    tokens: tuple[str, ...] = ()
    header: bool | None = None
    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    group: str | None = None
    stratify: str | None = None
    end: bool = False
    folds: int = 0
    fold: int = 0
    seed: int = 0
    skip_bad: bool = False

    def __post_init__(self) -> None:
        for name in ("valid_fraction", "test_fraction"):
            share = getattr(self, name)
            if share < 0 or (share > 1 and share != int(share)):
                raise ValueError(f"{name} must be a fraction from 0 to 1 or a whole number of rows, got {share:g}")
        if self.folds < 0 or self.folds == 1 or not 0 <= self.fold < max(self.folds, 1):
            raise ValueError(
                f"folds must be 0 or at least 2, and fold from 0 to folds - 1, got {self.folds} and {self.fold}"
            )
        if self.folds and self.test is not None:
            raise ValueError(f"with folds, test is one of them, but a test part was named, {self.test!r}; drop one")


def read_dataset(layout: Layout) -> dict[str, Table]:
    """The tables `train`, `valid` and `test`; a part with neither file nor fraction is left out.

    The test part is cut first, so that it is the same for any `valid_fraction`. Rows left out of a part that was cut
    are listed in `train`. Raises what `iterate` and `read_splits` raise.
    """
    sources = find_parts(layout.path, layout.format, {part: getattr(layout, part) for part in PARTS}, layout.columns)
    tables = {part: _read(source, layout) for part, source in sources.items()}
    if layout.folds and "test" in tables:
        # A cross-validation runs over all there is, whatever split the files have.
        tables = {"train": Table.join(tables.values())}
    train, skipped = tables["train"], tables["train"].skipped
    if layout.folds:
        train, tables["test"] = fold_of(
            train, layout.folds, layout.fold, seed=layout.seed, group=layout.group, stratify=layout.stratify
        )
    for part, share in (("test", layout.test_fraction), ("valid", layout.valid_fraction)):
        if part not in tables and share:
            how = {"group": layout.group, "stratify": layout.stratify, "end": layout.end}
            train, tables[part] = held_out(train, share, seed=layout.seed, **how)
    tables["train"] = replace(train, skipped=skipped)
    return {part: tables[part] for part in PARTS if part in tables}


def _read(source: Anything, layout: Layout) -> Table:
    kind = format_of(source) if layout.format == "auto" else layout.format
    # The columns of parallel files are chosen with the files.
    columns = None if kind == "parallel" else layout.columns
    return read_table(
        source, kind, columns=columns, tokens=layout.tokens, header=layout.header, skip_bad=layout.skip_bad
    )
