"""Oracles: the rows that went in, and what `datasets` itself saved."""

import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.data import Layout, Place, Table, fold_of, held_out, read_dataset, read_table
from ostinato.registry import UnknownNameError


def table(rows: list[tuple[str, str]]) -> Table:
    columns: dict[str, list[Any]] = {"text": [row[0] for row in rows], "label": [row[1] for row in rows]}
    return Table(columns, [Place("f", line) for line in range(1, len(rows) + 1)])


ROWS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), min_size=30, max_size=60)
KEYS = st.sampled_from([None, "label"])


def lines(part: Table) -> list[int]:
    return [place.line for place in part.places]


@settings(deadline=None)
@given(ROWS, KEYS, st.integers(0, 9))
def test_a_cut_takes_every_row_once_and_no_group_apart(
    rows: list[tuple[str, str]], stratify: str | None, seed: int
) -> None:
    rows = [*rows, *((f"only {index}", "x") for index in range(20))]
    rest, held = held_out(table(rows), 0.2, seed=seed, group="text", stratify=stratify)
    assert sorted(lines(rest) + lines(held)) == list(range(1, len(rows) + 1))
    assert lines(held) == sorted(lines(held))
    assert not set(rest.column("text")) & set(held.column("text"))


@settings(deadline=None)
@given(ROWS, KEYS, st.integers(0, 9), st.integers(2, 10))
def test_folds_are_the_table(rows: list[tuple[str, str]], stratify: str | None, seed: int, folds: int) -> None:
    parts = [fold_of(table(rows), folds, fold, seed=seed, stratify=stratify) for fold in range(folds)]
    assert sorted(line for _, held in parts for line in lines(held)) == list(range(1, len(rows) + 1))
    assert all(sorted(lines(rest) + lines(held)) == list(range(1, len(rows) + 1)) for rest, held in parts)
    sizes = [len(held) for _, held in parts]
    assert max(sizes) - min(sizes) <= 1
    if stratify:
        shares = [held.column("label").count("x") for _, held in parts]
        assert max(shares) - min(shares) <= 1


def test_stratified_cuts_keep_the_shares_and_the_sum() -> None:
    whole = table([(str(i), "rare" if i % 10 == 0 else "common") for i in range(1000)])
    held = held_out(whole, 0.15, seed=3, stratify="label")[1]
    assert (len(held), held.column("label").count("rare")) == (150, 15)
    assert len(held_out(whole, 77, seed=3)[1]) == 77
    assert lines(held_out(whole, 77, seed=3)[1]) == lines(held_out(whole, 77, seed=3)[1])
    assert lines(held_out(whole, 77, seed=4)[1]) != lines(held_out(whole, 77, seed=3)[1])
    with pytest.raises(ValueError, match=r"f: 2 rows cannot be cut at 0\.1, one part would be empty"):
        held_out(whole.rows([0, 1]), 0.1, seed=0)


def test_at_the_end_the_last_rows_of_each_label_are_held_out() -> None:
    whole = table([(str(i), "x" if i < 60 else "y") for i in range(100)])
    rest, held = held_out(whole, 0.1, seed=3, stratify="label", end=True)
    assert lines(held) == [*range(55, 61), *range(97, 101)]  # counted from 1
    assert len(rest) == 90
    assert lines(held_out(whole, 5, seed=3, end=True)[1]) == [*range(96, 101)]


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_the_test_part_does_not_depend_on_the_valid_part(tmp_path: Path) -> None:
    path = written(tmp_path, all_txt="".join(f"row {i}\n" for i in range(100))) / "all.txt"
    one, two = (read_dataset(Layout(path, valid_fraction=share, seed=5)) for share in (0.1, 30))
    assert lines(one["test"]) == lines(two["test"])
    assert [len(part) for part in two.values()] == [60, 30, 10]
    assert list(read_dataset(Layout(path, valid_fraction=0))) == ["train", "test"]


def test_a_part_knows_whether_it_was_given_or_cut(tmp_path: Path) -> None:
    rows = "0 x\n1 y\n" * 20
    given = read_dataset(Layout(written(tmp_path, a_train=rows, a_test=rows), group="text", test_fraction=0.5))
    assert {part: table.cut for part, table in given.items()} == {"train": False, "valid": True, "test": False}
    assert len(given["test"]) == 40  # however equal its rows are to those of training
    folds = read_dataset(Layout(tmp_path, folds=4))
    assert {part: table.cut for part, table in folds.items()} == {"train": False, "valid": True, "test": True}
    assert given["valid"].rows([0]).cut


def test_skipped_rows_stay_listed_when_train_is_cut(tmp_path: Path) -> None:
    path = written(tmp_path, all_csv="text,label\nx\n" + "a,b\n" * 20) / "all.csv"
    parts = read_dataset(Layout(path, skip_bad=True))
    assert [bad.line for bad in parts["train"].skipped] == [2]


def test_names_that_leave_a_doubt_are_told(tmp_path: Path) -> None:
    folder = written(tmp_path, a_train="0 x\n" * 9, b_train="0 y\n", c_dev="0 z\n")
    with pytest.raises(ValueError, match=r"a.train, b.train are all named train; name the one you mean"):
        read_dataset(Layout(folder))
    assert len(read_dataset(Layout(folder, train="a.train", valid="c.dev", test_fraction=2))["train"]) == 7
    with pytest.raises(FileNotFoundError, match=r"nothing is called .*a.trian; did you mean a.train"):
        read_dataset(Layout(folder, train="a.trian"))
    with pytest.raises(ValueError, match=r"valid of .* was named, but not train"):
        read_dataset(Layout(folder, valid="c.dev"))
    with pytest.raises(FileNotFoundError, match="nothing is called"):
        read_dataset(Layout(folder / "nowhere"))
    (folder / "a.train").unlink()
    (folder / "b.train").unlink()
    written(folder, d_all="0 x\n")
    with pytest.raises(ValueError, match=r"no file of the folder .* has train in its name; .*\(it has c.dev, d.all\)"):
        read_dataset(Layout(folder))


def test_parallel_files_of_a_folder_find_their_columns(tmp_path: Path) -> None:
    folder = written(tmp_path, train_de="1\n2\n", train_en="a\nb\n", val_de="3\n", val_en="c\n")
    choice = {"format": "parallel", "test_fraction": 0}
    assert read_dataset(Layout(folder, **choice))["valid"].columns == {"de": ["3"], "en": ["c"]}
    named = read_dataset(Layout(folder, columns={"source": "en", "target": "de"}, **choice))
    assert named["train"].columns == {"source": ["a", "b"], "target": ["1", "2"]}
    files = {"x": "train.de", "y": "train.en"}
    assert read_dataset(Layout(folder, train=files, valid_fraction=1, **choice))["train"].columns.keys() == files.keys()
    with pytest.raises(UnknownNameError, match="no file of column 'fr' is called 'fr'"):
        read_dataset(Layout(folder, columns=("de", "fr"), **choice))


def test_acl_imdb_is_read_as_it_is_unpacked(tmp_path: Path) -> None:
    for name in (
        "train/pos/0_9.txt",
        "train/neg/0_1.txt",
        "train/unsup/0_0.txt",
        "test/pos/0_9.txt",
        "test/neg/1_1.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "train" / "urls_pos.txt").write_text("http://")
    (tmp_path / "imdb.vocab").write_text("the")
    parts = read_dataset(Layout(tmp_path, valid_fraction=0))
    assert parts["train"].columns == {"label": ["neg", "pos"], "text": ["train/neg/0_1.txt", "train/pos/0_9.txt"]}
    assert parts["test"].column("text") == ["test/neg/1_1.txt", "test/pos/0_9.txt"]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"valid_fraction": -0.1}, "valid_fraction must be a fraction from 0 to 1 or a whole number of rows, got -0.1"),
        ({"test_fraction": 1.5}, "test_fraction must be"),
        ({"folds": 1}, "folds must be 0 or at least 2"),
        ({"folds": 3, "fold": 3}, "fold from 0 to folds - 1, got 3 and 3"),
        ({"folds": 3, "test": "x"}, "with folds, test is one of them"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Layout("x", **choice)


def saved(folder: Path) -> Path:
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-LOC"])),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
        }
    )
    rows = {"tokens": [["in", "Rome"], ["ok"]], "ner_tags": [[0, 1], [0]], "label": [1, 0]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": whole, "validation": whole, "test": whole}).save_to_disk(folder, num_proc=None)
    return folder


def test_hugging_face_datasets_give_the_names_of_their_classes(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    parts = read_dataset(Layout(folder, columns={"words": "tokens", "tags": "ner_tags", "label": "label"}))
    assert list(parts) == ["train", "valid", "test"]
    assert parts["valid"].columns == {
        "words": [["in", "Rome"], ["ok"]],
        "tags": [["O", "B-LOC"], ["O"]],
        "label": ["pos", "neg"],
    }
    assert str(parts["test"].places[1]) == f"{folder}:test, line 2"
    with pytest.raises(UnknownNameError, match="no column is called 'token'; did you mean tokens"):
        read_dataset(Layout(folder, columns=("token",)))
    with pytest.raises(UnknownNameError, match="no split is called 'tset'; did you mean test"):
        read_table((folder, "tset"), "datasets")
    with pytest.raises(ValueError, match=r"has the splits train, validation, test, one was expected; name it, such as"):
        read_table(folder, "datasets")
    assert read_table(folder / "train").column("label") == ["pos", "neg"]


def test_datasets_by_name_are_loaded_by_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of plain files is a name to `load_dataset`, which needs no network for it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "plain"
    folder.mkdir()
    written(folder, train_jsonl='{"text": "a", "label": 1}\n' * 9, test_jsonl='{"text": "b", "label": 0}\n')
    parts = read_dataset(Layout(folder, "datasets", valid_fraction=2))
    assert [len(part) for part in parts.values()] == [7, 2, 1]
    assert parts["test"].columns == {"text": ["b"], "label": ["0"]}


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"needs the package datasets; install it: pip install 'ostinato\[data\]'"):
        read_table("some/name", "datasets")
