"""Cross-validation. Oracles: numpy, and the rows themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.tasks.folds import Outcome, cross_validated
from ostinato.tasks.labelling import Examples, LabellingRecipe
from ostinato.train.recipe import validate
from tiny_rows import questions, write_tsv

SCORES = [0.5, 0.75, 0.25, 1.0]


def outcome(fold: int) -> Outcome:
    figures = {"test/accuracy": SCORES[fold], "valid/accuracy": SCORES[fold] / 2}
    row = {"model": "lstm", "test/accuracy": SCORES[fold], "parameters": 10, "note": "this run"}
    return figures, [row, {**row, "model": "majority", "test/accuracy": 0.0, "note": ""}]


def test_mean_and_deviation_are_those_of_numpy(tmp_path: Path) -> None:
    figures, table = cross_validated(4, 1, outcome(1), outcome, tmp_path / "folds.json", "recipe")
    assert figures == pytest.approx({
        "test/accuracy": np.mean(SCORES), "valid/accuracy": np.mean(SCORES) / 2,
        "test/accuracy_sd": np.std(SCORES, ddof=1),
    })  # fmt: skip
    assert [(row["model"], row["test/accuracy"], row["parameters"]) for row in table] == [
        ("lstm", pytest.approx(np.mean(SCORES)), 10), ("majority", 0.0, 10),
    ]  # fmt: skip
    assert [row["note"] for row in table] == ["mean of 4 folds; this run", "mean of 4 folds"]


def test_an_interrupted_one_repeats_no_fold(tmp_path: Path) -> None:
    kept, seen = tmp_path / "folds.json", []

    def interrupted(fold: int) -> Outcome:
        if fold == 2:
            raise KeyboardInterrupt
        seen.append(fold)
        return outcome(fold)

    def going_on(fold: int) -> Outcome:
        seen.append(fold)
        return outcome(fold)

    with pytest.raises(KeyboardInterrupt):
        cross_validated(4, 0, outcome(0), interrupted, kept, "recipe")
    again = cross_validated(4, 0, outcome(0), going_on, kept, "recipe")
    assert seen == [1, 2, 3]
    assert again == cross_validated(4, 0, outcome(0), outcome, tmp_path / "other.json", "recipe")


def test_outcomes_of_another_recipe_are_not_used(tmp_path: Path) -> None:
    kept, seen = tmp_path / "folds.json", []

    def counted(fold: int) -> Outcome:
        seen.append(fold)
        return outcome(fold)

    for recipe in ("one epoch", "two epochs", "two epochs"):
        cross_validated(4, 0, outcome(0), counted, kept, recipe)
    assert seen == [1, 2, 3, 1, 2, 3]
    assert json.loads(kept.read_text())["recipe"] == "two epochs"


def test_each_row_is_tested_exactly_once(tmp_path: Path) -> None:
    rows = [(f"{text} {i}", label) for i, (text, label) in enumerate(questions(41))]
    path = write_tsv(tmp_path / "rows.tsv", rows)
    tested: list[str] = []
    for fold in range(5):
        data: dict[str, Any] = {"path": str(path), "folds": 5, "fold": fold, "stratify": "label", "min_count": 1}
        parts = Examples.read(validate(LabellingRecipe, {"task": "classification", "data": data})).parts
        texts = {name: part.table.texts("text") for name, part in parts.items()}
        assert sorted(texts["train"] + texts["valid"] + texts["test"]) == sorted(text for text, _ in rows)
        tested += texts["test"]
    assert sorted(tested) == sorted(text for text, _ in rows)
