"""`ostinato predict`: folders, parallel files, other delimiters, and cells that are parsed back.

Oracle: `ostinato.load(run).predict` of the texts that were written.
"""

import json
from pathlib import Path

import pytest

import ostinato
from small_pairs import TINY, parallel
from tiny import Command, options
from tiny_rows import LEARNT, questions, sentences, write_conll, write_parallel, write_tsv

MULTITASK = (
    'task = "multitask"\n[heads.intent]\nkind = "class"\n[heads.slot]\nkind = "tags"\ncolumn = "slots"\n'
    '[data]\nformat = "parallel"\ntext = "words"\ntokens = "given"\n'
    '[data.columns]\nwords = "seq.in"\nslots = "seq.out"\nintent = "label"\n'
)
# A program that splits at commas, blanks or quotes gets these wrong.
NASTY = {"who": 'a, b  0.5"', "where": "[tab\\t] 字", "when": "plain"}


@pytest.fixture(scope="module")
def translator(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and the folder that it learnt from."""
    folder = parallel(tmp_path_factory.mktemp("translator") / "pairs", train=60, valid=10, test=10)
    changes = options(*TINY, f"data.path={folder}", "train.max_steps=2", "baselines.without_attention_epochs=0")
    said = cli("train", "translation", "--run", folder.parent / "run", *changes)
    assert said.code == 0, said.err
    return folder.parent / "run", folder


@pytest.fixture(scope="module")
def multitask(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and the folder that it learnt from."""
    folder = write_parallel(tmp_path_factory.mktemp("multitask") / "rows", sentences(60))
    recipe = folder.parent / "both.toml"
    recipe.write_text(MULTITASK)
    changes = options(*LEARNT, f"data.path={folder}", "baselines.majority=false", "baselines.hmm=false")
    said = cli("train", recipe, "--run", folder.parent / "run", *changes)
    assert said.code == 0, said.err
    return folder.parent / "run", folder


@pytest.fixture(scope="module")
def nasty(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose labels are hard to split at."""
    folder = tmp_path_factory.mktemp("nasty")
    path = write_tsv(folder / "rows.tsv", [(f"{word} did it", label) for word, label in NASTY.items()] * 12)
    changes = options(*LEARNT, "baselines.majority=false", f"data.path={path}")
    said = cli("train", "classification", "--run", folder / "run", *changes)
    assert said.code == 0, said.err
    return folder / "run"


def answers(cli: Command, *words: object) -> list[dict[str, object]]:
    said = cli("predict", *words, "--json")
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def refused(cli: Command, *words: object) -> str:
    said = cli("predict", *words)
    assert (said.code, said.out) == (2, ""), said
    assert said.err.count("\n") == 1
    return said.err


def test_one_side_of_parallel_files_is_translated(cli: Command, translator: tuple[Path, Path], tmp_path: Path) -> None:
    run, folder = translator
    file = folder / "test.de"
    texts = file.read_text(encoding="utf-8").splitlines()
    wanted = [{"text": text, **answer} for text, answer in zip(texts, ostinato.load(run).predict(texts), strict=True)]
    assert answers(cli, run, file) == wanted
    assert answers(cli, run, file, "--format", "parallel") == wanted
    alone = tmp_path / "alone"
    alone.mkdir()
    for side in ("de", "en"):
        (alone / f"talk.{side}").write_bytes((folder / f"test.{side}").read_bytes())
    assert answers(cli, run, alone) == wanted
    assert [row["text"] for row in answers(cli, run, alone, "--column", "en")] == (
        (folder / "test.en").read_text(encoding="utf-8").splitlines()
    )


def test_the_folder_that_a_run_learnt_from_is_refused_with_the_file_to_name(
    cli: Command, translator: tuple[Path, Path]
) -> None:
    run, folder = translator
    for format in ("auto", "parallel", "lines"):
        said = refused(cli, run, folder, "--format", format)
        assert "holds several parts of a data set (train, valid, test)" in said
        assert said.endswith(f"name the one to answer for, such as {folder / 'test.de'}\n")


def test_a_folder_of_tokens_tags_and_labels_is_answered_by_its_tokens(
    cli: Command, multitask: tuple[Path, Path]
) -> None:
    run, folder = multitask
    lines = (folder / "train" / "seq.in").read_text().splitlines()
    found = ostinato.load(run).predict([line.split() for line in lines])
    wanted = [{"text": line, **answer} for line, answer in zip(lines, found, strict=True)]
    assert answers(cli, run, folder / "train" / "seq.in") == wanted
    assert answers(cli, run, folder / "train") == wanted
    assert answers(cli, run, folder / "train", "--format", "parallel") == wanted


def test_a_folder_with_parts_in_folders_is_not_answered_by_nothing(cli: Command, nasty: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("pos", "neg"):
            (tmp_path / part / label).mkdir(parents=True)
            (tmp_path / part / label / "1.txt").write_text("who did it")
    assert refused(cli, nasty, tmp_path).endswith(f"such as {tmp_path / 'test'}\n")
    assert [row["text"] for row in answers(cli, nasty, tmp_path / "test")] == ["who did it"] * 2
    (tmp_path / "test" / "neg" / "1.txt").unlink()
    assert "of the label 'neg', holds no file; fill or remove it" in refused(cli, nasty, tmp_path / "test")


def test_semicolons_are_told_and_read(cli: Command, nasty: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text;id\nwho did it, then;1\n")
    assert "looks separated by ';'" in refused(cli, nasty, path)
    assert [row["text"] for row in answers(cli, nasty, path, "--format", "semicolon-csv")] == ["who did it, then"]


def test_several_answers_in_a_cell_are_parsed_back(cli: Command, nasty: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("".join(f"{word} did it\n" for word in NASTY))
    wanted = answers(cli, nasty, path, "--n-best", 3)
    assert {label for row in wanted for label in [row["label"]]} == set(NASTY.values())
    heading, *rows = [line.split("\t") for line in cli("predict", nasty, path, "--n-best", 3).out.splitlines()]
    for row, answer in zip(rows, wanted, strict=True):
        ranked = json.loads(dict(zip(heading, row, strict=True))["n_best"])
        assert isinstance(answer["n_best"], list)
        assert [label for label, _ in ranked] == [one["label"] for one in answer["n_best"]]
        assert [p for _, p in ranked] == pytest.approx([one["confidence"] for one in answer["n_best"]], abs=1e-4)


def test_rows_of_the_recipe_s_own_kind_are_read_without_their_labels(cli: Command, tmp_path: Path) -> None:
    """TREC's and SST's files have no suffix that tells: what stands before the text is the label, and no word of it."""
    texts = [text for text, _ in questions(40)]
    labelled = tmp_path / "rows.all"
    labelled.write_text("".join(f"{i % 2} {text}\n" for i, text in enumerate(texts)), encoding="utf-8")
    changes = options(*LEARNT, "baselines.majority=false", f"data.path={labelled}", "data.format=labelled")
    said = cli("train", "classification", "--run", tmp_path / "run", *changes)
    assert said.code == 0, said.err
    assert [row["text"] for row in answers(cli, tmp_path / "run", labelled)] == texts
    # The same model asked about lines that only begin with a number, some of them.
    plain = tmp_path / "plain"
    plain.write_text("3 dogs\nwho did it\n", encoding="utf-8")
    assert [row["text"] for row in answers(cli, tmp_path / "run", plain)] == ["3 dogs", "who did it"]


def test_columns_of_tags_are_no_words(cli: Command, tmp_path: Path) -> None:
    rows = sentences(30)
    file = write_conll(tmp_path / "eng.train", rows)
    changes = options(*LEARNT, "model.characters.kind=none", f"data.path={file}", "data.format=conll")
    said = cli("train", "tagging", "--run", tmp_path / "run", *changes)
    assert said.code == 0, said.err
    found = answers(cli, tmp_path / "run", file)
    assert [row["tokens"] for row in found] == [words for words, *_ in rows]
