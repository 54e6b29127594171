"""A name of the hub is no path. Oracle: what `load_dataset` was called with."""

from pathlib import Path

import datasets
import pytest

from tiny import Command, options
from tiny_rows import LEARNT, questions


def test_a_name_of_the_hub_stays_a_name(cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str) -> datasets.DatasetDict:
        asked.append(name)
        texts, labels = zip(*questions(60), strict=True)
        return datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": texts, "label": labels})})

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = ("data.format=datasets", "data.path=someone/questions", "train.max_steps=1", "baselines.majority=false")
    said = cli("train", "classification", "--run", tmp_path / "run", *options(*LEARNT, *data))
    assert said.code == 0, said.err
    assert set(asked) == {"someone/questions"}
    assert 'path = "someone/questions"' in (tmp_path / "run" / "recipe.toml").read_text()
