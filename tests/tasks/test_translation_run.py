"""Translation from the command line: a run and what it holds, loading, resuming, and what bad files are told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ostinato.tasks.translation import Translator, evaluate_run, load
from ostinato.train import checkpoint
from ostinato.train.recipe import RecipeError
from small_pairs import TINY, parallel
from tiny import Command, options

SHORT = (*TINY, "train.epochs=2", "train.log_steps=1", "model.dropout=0.2", "train.optimiser.lr=0.01",
         "dtype=float32", "model.encoder.cell=lstm", "model.decoder.cell=lstm", "model.sampling.kind=linear",
         "model.sampling.k=20")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parallel(tmp_path_factory.mktemp("translation") / "pairs", train=60, valid=10, test=25)


@pytest.fixture(scope="module")
def run(cli: Command, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "translation"
    words = options(f"data.path={folder}", "baselines.without_attention_epochs=1", *SHORT)
    said = cli("train", "translation", "--run", path, *words)
    assert said.code == 0, said.err
    return path


def test_a_run_says_how_good_it_is_and_how_that_was_measured(run: Path) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert {"test/bleu", "test/chrf", "test/nats_per_token", "valid/bleu"} <= set(results["metrics"])
    names = [row["model"] for row in results["table"]]
    assert names == ["bi-lstm 1 x 12 to lstm 1 x 16, general attention", "copied source", "without attention"]
    assert any("bleu by sacrebleu: nrefs:1|case:mixed" in note for note in results["notes"])
    assert set(results["lengths"]["rows"][0]["values"]) == {"this model", "without attention"}
    assert {"source", "reference", "translation", "without attention"} == set(results["translations"][0])
    assert len(results["attention"]) == 3 and results["padding"]["share"] < 0.5
    assert (run / "report.html").is_file()


def test_a_loaded_run_gives_the_same_figures_and_translations(run: Path, folder: Path) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    found = evaluate_run(run)
    assert found == {name: pytest.approx(results["metrics"][name], rel=1e-9) for name in found}
    texts = [sample["source"] for sample in results["translations"]]
    said = Translator(*load(run)).predict(texts)
    assert [one["translation"] for one in said] == [sample["translation"] for sample in results["translations"]]
    other = evaluate_run(run, (f"data.path={folder}", "search.beam=1"))
    assert other["test/nats_per_token"] == pytest.approx(results["metrics"]["test/nats_per_token"], rel=1e-9)
    with pytest.raises(RecipeError, match=r"data.lower .* cannot change in a model that is trained already"):
        evaluate_run(run, ("data.lower=true",))


def test_another_process_gives_the_same_translations(run: Path) -> None:
    texts = ["Der Hund schläft heute.", "Der kleine graue Vogel singt nie und der Kater schläft heute."]
    here = Translator(*load(run)).predict(texts, n_best=2)
    script = "import json, sys, ostinato.tasks as t; print(json.dumps(t.load(sys.argv[1]).predict(sys.argv[2:], 2)))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(run), *texts], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    there = json.loads(done.stdout)
    for one, other in zip(here, there, strict=True):
        assert [b["translation"] for b in one["n_best"]] == [b["translation"] for b in other["n_best"]]
        assert [b["score"] for b in one["n_best"]] == pytest.approx([b["score"] for b in other["n_best"]], rel=1e-5)


def test_what_a_translator_writes(run: Path) -> None:
    translator = Translator(*load(run))
    assert translator.reads() == "de"
    (answer,) = translator.predict([["Der", "Hund", "schläft", "heute."]], n_best=5)
    assert len(answer["n_best"]) == 5
    rows = list(translator.written("Der Hund", answer))
    assert [row["rank"] for row in rows if row] == [1, 2, 3, 4, 5]
    (single,) = translator.written("Der Hund", {"translation": "The dog", "score": -1.0})
    assert single == {"translation": "The dog", "score": -1.0, "source": "Der Hund"}
    texts = [f"Der Hund singt {'nie ' * (i % 5)}." for i in range(700)]
    streamed = [answer for _, answer in translator.stream(iter(texts))]
    assert [one["translation"] for one in streamed[:5] * 140] == [one["translation"] for one in streamed]
    with pytest.raises(ValueError, match=r"text 2 \('\s+'\) has no token; leave it out"):
        translator.predict(["Hund", "  "])
    with pytest.raises(ValueError, match="give it sentence by sentence"):
        translator.predict(["Hund " * 3000])


def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(cli: Command, folder: Path, tmp_path: Path) -> None:
    words = (f"data.path={folder}", "baselines.copy_source=false", "data.batch_tokens=150", *SHORT)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert cli("train", "translation", "--run", whole, *options(*words)).code == 0
    # Stops in the middle of an epoch, with the checkpoint of its last step.
    said = cli("train", "translation", "--run", cut, *options(*words, "train.max_seconds=0.0001"))
    assert said.code == 0, said.err
    assert json.loads((cut / "results.json").read_text())["metrics"]["train/steps"] == 1
    said = cli("train", "--resume", cut, *options("train.max_seconds=1000"))
    assert said.code == 0, said.err
    one, other = (checkpoint.load(path / "checkpoint" / "last.safetensors")[0] for path in (whole, cut))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_unequal_parallel_files_are_told_with_both_counts(cli: Command, tmp_path: Path) -> None:
    path = parallel(tmp_path / "pairs", train=20, valid=5, test=5)
    lines = (path / "train.en").read_text(encoding="utf-8").splitlines(keepends=True)
    (path / "train.en").write_text("".join(lines[:-2]), encoding="utf-8")
    said = cli("train", "translation", "--run", tmp_path / "run", *options(f"data.path={path}", *SHORT))
    assert said.code == 2 and len(said.err.strip().splitlines()) == 1
    assert "train.en, line 19" in said.err
    assert "train.de 20" in said.err and "train.en 18" in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("side", "line", "told"),
    [("de", "\n", "train.de, line 3: the row is empty"), ("en", "a\0b\n", "train.en, line 3: ")],
)
def test_a_bad_line_is_told_with_its_place_or_skipped(
    cli: Command, tmp_path: Path, side: str, line: str, told: str
) -> None:
    path = parallel(tmp_path / "pairs", train=20, valid=5, test=5)
    file = path / f"train.{side}"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([*lines[:2], line, *lines[3:]]), encoding="utf-8")
    said = cli("train", "translation", "--run", tmp_path / "run", *options(f"data.path={path}", *SHORT))
    assert said.code == 2 and told in said.err
    skipping = options(f"data.path={path}", "data.skip_bad_rows=true", *SHORT)
    assert cli("train", "translation", "--run", tmp_path / "run", *skipping).code == 0
    notes = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["notes"]
    assert any("1 bad row was left out of the train part" in note and told in note for note in notes)


def test_a_missing_column_is_told_with_those_there_are(cli: Command, folder: Path, tmp_path: Path) -> None:
    words = options(f"data.path={folder}", *SHORT, "data.target=eng")
    said = cli("train", "translation", "--run", tmp_path / "run", *words)
    assert said.code == 2 and "no column is called 'eng'; did you mean en?" in said.err
    said = cli("train", "translation", "--run", tmp_path / "run")
    assert said.code == 2 and "needs pairs of sentences" in said.err and "-o data.path=" in said.err


def test_a_renamed_column_is_read_from_tables_of_the_same_names(cli: Command, folder: Path, tmp_path: Path) -> None:
    sides = [(folder / f"train.{side}").read_text(encoding="utf-8").splitlines() for side in ("de", "en")]
    table = tmp_path / "pairs.tsv"
    table.write_text("".join(f"{de}\t{en}\n" for de, en in [("german", "english"), *zip(*sides, strict=True)]))
    renamed = (*SHORT, "data.format=tsv", "data.columns.de=german", "data.columns.en=english")
    said = cli("train", "translation", "--run", tmp_path / "run", *options(f"data.path={table}", *renamed))
    assert said.code == 0, said.err
    said = cli("predict", tmp_path / "run", table, "--json")
    assert said.code == 0, said.err
    assert [json.loads(line)["text"] for line in said.out.splitlines()] == sides[0]
