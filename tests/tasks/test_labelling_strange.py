"""What strangers tried: each mistake is told in one sentence, and no answer is quietly another one's."""

import json
from pathlib import Path

import pytest

import ostinato
from tiny import Command, options
from tiny_rows import LEARNT, questions, sentences, write_conll, write_tsv

QUICK = (*LEARNT, "train.epochs=1")


@pytest.fixture(scope="module")
def asked(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of questions."""
    folder = tmp_path_factory.mktemp("asked")
    data = write_tsv(folder / "rows.tsv", questions(60))
    said = cli("train", "classification", "--run", folder / "run", *options(f"data.path={data}", *LEARNT))
    assert said.code == 0, said.err
    return folder / "run"


@pytest.fixture(scope="module")
def tagger(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger that learnt BIOES from files in BIO."""
    folder = tmp_path_factory.mktemp("tagger")
    data = write_conll(folder / "rows.conll", sentences(60))
    more = ("heads.tags.kind=tags", "heads.tags.learnt=BIOES", "baselines.hmm=false")
    said = cli("train", "tagging", "--run", folder / "run", *options(f"data.path={data}", *LEARNT, *more))
    assert said.code == 0, said.err
    return folder / "run"


def test_a_line_that_begins_with_a_number_is_read_whole(cli: Command, asked: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("5 who did it\n1 where\n")
    rows = [json.loads(line) for line in cli("predict", asked, tmp_path / "lines.txt", "--json").out.splitlines()]
    assert [row["text"] for row in rows] == ["5 who did it", "1 where"]


def test_tags_are_told_and_counted_in_the_scheme_of_the_files(cli: Command, tagger: Path, tmp_path: Path) -> None:
    rows = sentences(25, seed=5)
    figures = json.loads(
        cli("evaluate", tagger, "--json", "-o", f"data.path={write_conll(tmp_path / 'other.conll', rows)}").out
    )
    said = [answer["tags"] for answer in ostinato.load(tagger).predict([words for words, _, _ in rows])]
    assert {tag[0] for tags in said for tag in tags} <= set("BIO")
    pairs = [(a, b) for tags, (_, gold, _) in zip(said, rows, strict=True) for a, b in zip(tags, gold, strict=True)]
    assert figures["test/token_accuracy"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


def test_how_a_text_becomes_numbers_cannot_be_changed_afterwards(cli: Command, asked: Path) -> None:
    for change in ("data.tokens=char", "data.lower=false", "data.max_length=2"):
        said = cli("evaluate", asked, "-o", change)
        assert (said.code, "cannot change in a model that is trained already" in said.err) == (2, True), change


def test_one_odd_tag_among_chunks_is_told(cli: Command, tmp_path: Path) -> None:
    rows = sentences(20)
    rows[3] = (rows[3][0], ["Z-PER", *rows[3][1][1:]], rows[3][2])
    said = cli("train", "tagging", *options(f"data.path={write_conll(tmp_path / 'rows.conll', rows)}", *QUICK))
    assert said.code == 2
    assert "'Z-PER' is no tag of a chunk, as most others are; mend it, or say -o heads.tags.scheme=none" in said.err


def test_one_class_alone_is_told(cli: Command, tmp_path: Path) -> None:
    data = write_tsv(tmp_path / "rows.tsv", [(text, "same") for text, _ in questions(30)])
    said = cli("train", "classification", "--run", tmp_path / "run", *options(f"data.path={data}", *QUICK))
    assert said.code == 2
    assert "column 'label' holds nothing but 'same' in the training part" in said.err
    assert not (tmp_path / "run").exists()


def test_a_wrong_key_of_a_head_is_told(cli: Command, tmp_path: Path) -> None:
    data = write_tsv(tmp_path / "rows.tsv", questions(30))
    said = cli("train", "classification", "-o", f"data.path={data}", "-o", "heads.label.pol=max")
    assert said.code == 2
    assert said.err.strip().endswith("no key is called 'heads.label.pol'; did you mean pool?")


def test_what_a_recipe_sets_can_be_set_to_none(cli: Command, tmp_path: Path) -> None:
    data = write_tsv(tmp_path / "rows.tsv", questions(40))
    more = options(f"data.path={data}", *QUICK, "train.early_stopping=", "data.stratify=")
    said = cli("train", "classification", "--run", tmp_path / "run", *more)
    assert said.code == 0, said.err
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    assert ("early_stopping" in recipe, 'stratify = ""' in recipe) == (False, True)
    assert cli("train", "--resume", tmp_path / "run").code == 0  # the same recipe, read again


@pytest.mark.parametrize("wrong", [{"text": "who"}, None, 3])
def test_what_is_no_text_is_refused(asked: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"text 1 is a \w+; each must be a str, or a list of str"):
        ostinato.load(asked).predict([wrong])  # type: ignore[list-item]
    assert len(ostinato.load(asked).predict(text for text in ["who", "where"])) == 2  # type: ignore[arg-type]


def test_a_run_of_another_task_is_told(cli: Command, asked: Path) -> None:
    said = cli("generate", asked, "--prompt", "who")
    assert said.code == 2
    assert f"{asked} is a run of classification, and this is for runs of another task" in said.err
