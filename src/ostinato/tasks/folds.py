"""Cross-validation: the same recipe on each fold in turn, and the means of what came out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..storage import atomic_write

Outcome = tuple[dict[str, float], list[dict[str, Any]]]  # the figures of a fold, and its table of models


def cross_validated(
    count: int, first: int, own: Outcome, run_fold: Callable[[int], Outcome], kept: Path, recipe: str
) -> Outcome:
    """Figures and table over all folds: means, and the standard deviation over folds as "test/accuracy_sd".

    Args:
        count: of folds.
        first: the fold whose outcome is `own`, that of the model which is kept.
        run_fold: trains and scores another fold.
        kept: a file that holds the outcomes so far, so that an interrupted run need not repeat them.
        recipe: what the folds are learnt by; outcomes of another one are not used.
    """
    done = {**_kept(kept, recipe), str(first): own}
    for fold in range(count):
        if str(fold) not in done:
            done[str(fold)] = run_fold(fold)
            atomic_write(kept, json.dumps({"recipe": recipe, "folds": done}, ensure_ascii=False))
    outcomes = [done[str(fold)] for fold in range(count)]
    figures: dict[str, float] = {}
    for name in own[0]:
        values = [found[name] for found, _ in outcomes]
        figures[name] = sum(values) / count
        if name.startswith("test/"):
            spread = sum((value - figures[name]) ** 2 for value in values) / (count - 1)
            figures[f"{name}_sd"] = spread**0.5
    return figures, [_mean([table[i] for _, table in outcomes], count) for i in range(len(own[1]))]


def _kept(kept: Path, recipe: str) -> dict[str, Outcome]:
    if not kept.is_file():
        return {}
    found = json.loads(kept.read_text("utf-8"))
    if found.get("recipe") != recipe:
        return {}
    return {fold: (figures, table) for fold, (figures, table) in found["folds"].items()}


def _mean(rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """One line of the table: means of its figures, the first fold's words."""
    shared = dict(rows[0])
    for name in shared:
        values = [row[name] for row in rows]
        if "/" in name and all(isinstance(value, float) for value in values):
            shared[name] = sum(values) / count
    shared["note"] = f"mean of {count} folds" + f"; {shared['note']}" * bool(shared["note"])
    return shared
