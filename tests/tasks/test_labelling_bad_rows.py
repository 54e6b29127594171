"""Bad input to classification, tagging and multitask: exit code 2, one sentence, file and line. Nothing is made."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from ostinato.tasks.labelling import LabellingJob
from ostinato.tasks.labelling.recipe import LabellingRecipe
from ostinato.train.recipe import find, read, validate
from tiny import Command, options
from tiny_rows import LEARNT, questions, sentences, write_conll, write_parallel, write_tsv

ONCE = ("train.max_steps=1", "baselines.majority=false", "baselines.hmm=false")


@pytest.fixture
def refused(cli: Command, tmp_path: Path):
    """What `train` says of what it refuses; no run folder is left behind."""

    def say(task: str, path: Path, *changes: str) -> str:
        said = cli("train", task, "--run", tmp_path / "run", *options(*LEARNT, *ONCE, f"data.path={path}", *changes))
        assert (said.code, said.out) == (2, ""), said
        assert said.err.startswith("ostinato: ")
        assert said.err.count("\n") == 1
        assert not (tmp_path / "run").exists()
        return said.err

    return say


def asked(folder: Path, *more: str, count: int = 30) -> Path:
    path = write_tsv(folder / "asked.tsv", questions(count))
    with path.open("a") as file:
        file.write("".join(line + "\n" for line in more))
    return path


def tagged(folder: Path, *more: str) -> Path:
    path = write_conll(folder / "tagged.conll", sentences(30))
    with path.open("a") as file:
        file.write("".join(f"\n{block}\n" for block in more))
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (("data.text=txet",), "no column is called 'txet'; did you mean text?"),
        (("heads.label.column=lable",), "no column is called 'lable'; did you mean label?"),
        (("data.stratify=labell",), "no column is called 'labell'; did you mean label?"),
        (('data.columns=["text","labels"]',), "no column is called 'labels'; did you mean label?"),
        (("data.format=tvs",), "no format is called 'tvs'; did you mean tsv?"),
        (("data.tokens=wrod",), "no way to cut a text into tokens is called 'wrod'; did you mean word?"),
        (("heads.label.pool=maxx",), "no pooling is called 'maxx'; did you mean max"),
        (("model.cell=lstmm",), "no cell is called 'lstmm'; did you mean lstm"),
        (
            ("data.columns=3",),
            "data.columns = 3: input should be a list such as [1, 2] or a table such as {key = value}",
        ),
        (("data.columns.text=[1]",), "data.columns.text = [1]: input should be a text or a valid integer"),
        (("heads.label.crf=false",), "heads.label: crf = False is for heads of kind tags, and has no effect here"),
        (("heads.label.separator=;",), "separator = ';' is for heads of kind labels, and has no effect here"),
        (("heads.label.kind=tags",), "classification has one head, of kind class or labels"),
        (("heads.other.kind=class",), "classification has one head, of kind class or labels"),
        (("task=multitask",), "multitask needs two heads or more, such as [heads.intent] and [heads.slot]"),
        (("task=multitask", "heads.type.kind=class"), "a head cannot be called 'type'"),
        (("task=multitask", "heads.sum.kind=class"), "a head cannot be called 'sum'"),
        (("task=multitask", "heads.weights.kind=class"), "a head cannot be called 'weights'"),
        (("data.folds=1",), "folds must be 0 or at least 2"),
        (("data.min_count=999",), "different tokens none is found 999 times or more; lower min_count"),
    ],
)
def test_a_recipe_that_does_not_fit_is_told(refused, tmp_path: Path, changes: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused("classification", asked(tmp_path), *changes)


def test_tags_want_tokens(refused, tmp_path: Path) -> None:
    path = tagged(tmp_path)
    assert "set data.tokens = given" in refused("tagging", path, "data.tokens=word")
    assert "data.max_length cuts texts, and each token has a tag" in refused("tagging", path, "data.max_length=4")
    assert "tagging has one head, of kind tags" in refused("tagging", path, "heads.tags.kind=class")
    assert "no column is called 'tgas'; did you mean tags?" in refused("tagging", path, "heads.tags.column=tgas")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("who did it\t", "column 'label' is empty; fill it or drop the row"),
        ("  \tperson", "column 'text' holds no token; fill it or drop the row"),
        ("who did it", "2 fields were expected, got 1"),
        ("who\0did\tperson", "a NUL byte stands at byte 4 of the line"),
        ("who " + "x" * 10_000_000 + "\tperson", "the line is longer than 1,048,576 bytes"),
    ],
)
def test_a_bad_row_is_told_with_its_line_or_left_out(
    refused, cli: Command, tmp_path: Path, line: str, sentence: str
) -> None:
    path = asked(tmp_path, line, "who did it\tperson")
    said = refused("classification", path)
    assert f"{path}, line 32: " in said
    assert sentence in said
    run = tmp_path / "run"
    changes = options(*LEARNT, *ONCE, f"data.path={path}")
    done = cli("train", "classification", "--run", run, *changes, "--skip-bad-rows", "--json")
    assert done.code == 0, done.err
    (note,) = (note for note in json.loads(done.out)["notes"] if "bad row" in note)
    assert f"1 bad row was left out of the train part ({path}, line 32: " in note
    assert note in done.err.replace("\n", "") or sentence in done.err.replace("\n", "")


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_label_that_training_never_saw_is_told(refused, cli: Command, tmp_path: Path, part: str) -> None:
    for name in ("train", "valid", "test"):
        # Enough to learn from; elsewhere the stranger stands on line 22.
        rows = (
            questions(80) if name == "train" else [*questions(20, seed=1), *[("why did it", "cause")] * (name == part)]
        )
        write_tsv(tmp_path / f"{name}.tsv", rows)
    said = refused("classification", tmp_path)
    assert f"{tmp_path / f'{part}.tsv'}, line 22: 'cause' is none of the 3 labels seen in training" in said
    assert "person, place, time" in said and "or count them as missed by --skip-bad-rows" in said
    done = {}
    for name, change in (("skipped", "data.skip_bad_rows=true"), ("wrong", "heads.label.unseen=wrong")):
        changes = options(*LEARNT, "baselines.majority=false", f"data.path={tmp_path}", change)
        found = cli("train", "classification", "--run", tmp_path / name, *changes, "--json")
        assert found.code == 0, found.err
        done[name] = json.loads(found.out)
    for results in done.values():  # a part that was given loses no row
        assert results["metrics"][f"{part}/accuracy"] == pytest.approx(20 / 21)
        told = f"1 answer of label in the {part} part that training never saw counts as missed (cause)"
        assert told in results["notes"]


def test_a_cut_part_may_lose_rows_that_training_never_saw(cli: Command, tmp_path: Path) -> None:
    path = asked(tmp_path, "why did it\tcause", count=80)
    rows = {}
    for name, change in (("skipped", "data.skip_bad_rows=true"), ("wrong", "heads.label.unseen=wrong")):
        changes = options(*LEARNT, *ONCE, f"data.path={path}", "data.cut=end", "data.stratify=", change)
        found = cli("train", "classification", "--run", tmp_path / name, *changes, "--json")
        assert found.code == 0, found.err
        rows[name] = json.loads(found.out)["notes"]
    assert any("'cause' is none of the 3 labels" in note for note in rows["skipped"])
    assert any("never saw counts as missed (cause)" in note for note in rows["wrong"])


def test_tags_and_tokens_of_different_length_are_told(refused, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"words": words, "tags": tags} for words, tags, _ in sentences(20)]
    rows[7]["tags"] = rows[7]["tags"][1:]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = refused("tagging", path)
    assert f"{path}, line 8: each token needs one tag, but the row has" in said
    path = tagged(tmp_path, "Ada B-PER\ngoes\nRome B-LOC")
    assert "2 columns were expected, as on the lines before, got 1 ('goes')" in refused("tagging", path)


def test_what_is_no_tag_is_told(refused, tmp_path: Path) -> None:
    path = tagged(tmp_path, "Rome Z-LOC")
    said = refused("tagging", path, "heads.tags.scheme=BIO")
    assert f"{path}, line " in said
    assert "'Z-LOC'" in said


def test_a_broken_sequence_of_tags_is_told_or_read(refused, cli: Command, tmp_path: Path) -> None:
    path = tagged(tmp_path, "Ada B-PER\ngoes O\nRome I-LOC")
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text == "Rome I-LOC") - 2
    said = refused("tagging", path)
    assert f"{path}, line {line}: BIO cannot have I-LOC after O (token 3); mend the tags, or read them as" in said
    assert "-o heads.tags.broken=read" in said
    changes = options(*LEARNT, "baselines.majority=false", "baselines.hmm=false", f"data.path={path}", "data.folds=0")
    read = cli("train", "tagging", "--run", tmp_path / "run", *changes, "-o", "heads.tags.broken=read", "--json")
    assert read.code == 0, read.err
    assert json.loads(read.out)["metrics"]["test/span_f1"] == 1


def test_unequal_parallel_files_are_told(refused, tmp_path: Path) -> None:
    folder = write_parallel(tmp_path / "both", sentences(20))
    (folder / "train" / "label").write_text("goes\n" * 19)
    raw = tmp_path / "both.toml"
    raw.write_text(
        'task = "multitask"\n[heads.intent]\nkind = "class"\n[heads.slot]\nkind = "tags"\ncolumn = "slots"\n'
        '[data]\nformat = "parallel"\ntext = "words"\ntokens = "given"\n'
        '[data.columns]\nwords = "seq.in"\nslots = "seq.out"\nintent = "label"\n'
    )
    said = refused(str(raw), folder)
    assert "19" in said
    assert "20" in said
    assert str(folder / "train" / "label") in said


@pytest.mark.parametrize("content", [b"", b"\n\n", b"text\tlabel\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9])
def test_a_file_without_rows_is_told(refused, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(content)
    assert str(path) in refused("classification", path)
    assert str(path) in refused("classification", path, "data.skip_bad_rows=true")


def test_what_is_not_there_is_told(refused, tmp_path: Path) -> None:
    path = asked(tmp_path)
    assert "nothing is called" in refused("classification", path.with_name("askde.tsv"))
    assert "wide.txt" in refused("classification", path, f"model.vectors={tmp_path / 'wide.txt'}")
    (tmp_path / "wide.txt").write_text("who 1 2 3\n")
    assert "wide.txt has vectors of 3 numbers; set model.width to that" in refused(
        "classification", path, f"model.vectors={tmp_path / 'wide.txt'}"
    )


def test_every_row_bad_is_told_even_where_bad_rows_may_go(refused, tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text("text\tlabel\n" + " \tperson\n" * 20)
    said = refused("classification", path, "data.skip_bad_rows=true")
    assert f"{path}, line " in said
    assert "can be used" in said


@pytest.mark.parametrize(("task", "wanted"), [("classification", True), ("multitask", True), ("tagging", False)])
def test_a_missing_scikit_learn_is_told_before_anything_is_learnt(
    task: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a class or labels among the heads gets a bag of words; it is built after the training."""
    monkeypatch.setattr("ostinato.tasks.labelling.job.find_spec", lambda name: None)
    recipe = validate(LabellingRecipe, read(find(task)))
    with pytest.raises(ImportError, match=r"ostinato\[baselines\]") if wanted else nullcontext():
        LabellingJob().check(recipe, None)  # type: ignore[arg-type]
