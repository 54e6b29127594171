"""Parts of a table by seeded chance: a held-out share, or the folds of a cross-validation."""

from dataclasses import replace

import torch

from ostinato.data.table import Table


def held_out(
    table: Table, share: float, *, seed: int, group: str | None = None, stratify: str | None = None, end: bool = False
) -> tuple[Table, Table]:
    """(the rest, the part held out), both in the table's order.

    share: a fraction below 1, or from 1 on a number of rows.
    group: rows that are equal in this column stay together, so the part may be a few rows larger.
    stratify: the part has the shares of this column's values (of a group counts the first row).
    end: the last rows are held out, not rows by chance: for files in which neighbours belong together.

    Raises UnknownNameError for an unknown column, ValueError where one of the two would be empty.
    """
    wanted = share if share < 1 else share / len(table)
    chosen: list[int] = []
    before = 0
    for units in _strata(table, group, stratify, None if end else seed):
        before += sum(map(len, units))
        # Rounding what is wanted so far, not each stratum's share, keeps the sum right.
        target = round(before * wanted)
        for unit in units:
            if len(chosen) >= target:
                break
            chosen.extend(unit)
    if not 0 < len(chosen) < len(table):
        raise ValueError(
            f"{table.places[0].file}: {len(table)} rows cannot be cut at {share:g}, one part would be empty; "
            "give another share or more rows"
        )
    return _parted(table, chosen)


def fold_of(
    table: Table, folds: int, fold: int, *, seed: int, group: str | None = None, stratify: str | None = None
) -> tuple[Table, Table]:
    """(the other folds, fold number `fold` of 0 to folds - 1); `group` and `stratify` as in `held_out`.

    The folds of one seed share no row and together are the table. Raises ValueError for too few rows.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold must lie from 0 to {folds - 1}, for {folds} folds, got {fold}")
    units = [unit for stratum in _strata(table, group, stratify, seed) for unit in stratum]
    if not 2 <= folds <= len(units):
        raise ValueError(f"folds must lie from 2 to {len(units)}, the rows there are, got {folds}")
    return _parted(table, [row for unit in units[fold::folds] for row in unit])


def _strata(table: Table, group: str | None, stratify: str | None, seed: int | None) -> list[list[list[int]]]:
    """The units that stay together, by the value of `stratify`; a unit is a list of rows.

    They are shuffled, or without a seed from the last one to the first.
    """
    units: dict[object, list[int]] = {}
    for row, key in enumerate(table.column(group) if group else range(len(table))):
        units.setdefault(tuple(key) if isinstance(key, list) else key, []).append(row)
    values = table.texts(stratify) if stratify else None
    strata: dict[str, list[list[int]]] = {}
    for unit in units.values():
        strata.setdefault(values[unit[0]] if values else "", []).append(unit)
    if seed is None:
        return [members[::-1] for _, members in sorted(strata.items())]
    generator = torch.Generator().manual_seed(seed)
    shuffled = []
    for _, members in sorted(strata.items()):
        shuffled.append([members[index] for index in torch.randperm(len(members), generator=generator).tolist()])
    return shuffled


def _parted(table: Table, chosen: list[int]) -> tuple[Table, Table]:
    held = set(chosen)
    rest = [row for row in range(len(table)) if row not in held]
    return table.rows(rest), replace(table.rows(sorted(held)), cut=True)
