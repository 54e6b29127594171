"""The command line does what it says; figures are checked against the run's own files and against the library."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ostinato.tasks.language import demo as language_demo
from ostinato.tasks.language import load
from ostinato.train import checkpoint
from tiny import NO_BASELINES, SMALL, Command, options, sentences

QUICK = options(*SMALL, *NO_BASELINES, "train.max_steps=2", "samples.tokens=3")


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_folder_is_complete(trained: Path, text: Path) -> None:
    assert {"recipe.toml", "config.json", "tokenizer.json", "model.safetensors", "events.jsonl", "results.json",
            "report.html"} <= {file.name for file in trained.iterdir()}  # fmt: skip
    assert any((trained / "figures").iterdir())
    assert {file.name for file in (trained / "checkpoint").iterdir()} == {"last.safetensors", "best.safetensors"}
    config = json.loads((trained / "config.json").read_text())
    tensors, _ = checkpoint.load(trained / "model.safetensors")
    assert config["format"] == 1
    assert config["parameters"] == sum(t.numel() for t in tensors.values())
    assert config["interrupted"] is False
    assert f'path = "{text}"' in (trained / "recipe.toml").read_text()
    assert "hidden = 16" in (trained / "recipe.toml").read_text()
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "Kneser-Ney 2-gram" in page


def test_events_tell_the_whole_story(trained: Path) -> None:
    rows = events(trained)
    kinds = [row["event"] for row in rows]
    assert (kinds[0], kinds[-1]) == ("start", "end")
    steps = [row for row in rows if row["event"] == "step"]
    assert [row["step"] for row in steps] == list(range(1, steps[0]["of"] + 1))
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert kinds.count("evaluate") == 2  # one an epoch
    assert rows[0]["tokens"]["train"] > rows[0]["tokens"]["test"] > 0


def test_the_table_compares_with_every_baseline(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert [row["model"] for row in results["table"]] == [
        "lstm 1 x 16", "unigram", "Kneser-Ney 2-gram", "feed-forward net",
    ]  # fmt: skip
    first = results["table"][0]
    assert first["test/perplexity"] == results["metrics"]["test/perplexity"]
    assert [len(sample["text"]) > 0 for sample in results["samples"]] == [True]
    assert "aten" in results["kernel"]


def test_evaluate_json_is_one_flat_object_with_the_runs_figures(cli: Command, trained: Path) -> None:
    said = cli("evaluate", trained, "--json")
    assert (said.code, said.err) == (0, "")
    figures = json.loads(said.out)
    assert all(isinstance(value, float) for value in figures.values())
    assert {"test/perplexity", "test/nats_per_char", "test/bits_per_char", "valid/perplexity"} <= figures.keys()
    stored = json.loads((trained / "results.json").read_text())["metrics"]
    assert figures == {key: pytest.approx(stored[key], rel=1e-6) for key in figures}
    shown = cli("evaluate", trained).out
    assert "test/perplexity" in shown
    assert f"{figures['test/perplexity']:.4g}" in shown


def test_evaluate_takes_another_text(cli: Command, trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(sentences(30, seed=5))
    said = cli("evaluate", trained, "--json", "-o", f"data.path={other}")
    assert said.code == 0, said.err
    # From end to end: a model that has not learnt from a text may be scored on all of it.
    assert json.loads(said.out)["test/tokens"] == len(sentences(30, seed=5).replace("\n", " <eos> ").split()) - 1


def test_generate_writes_on(cli: Command, trained: Path) -> None:
    said = cli("generate", trained, "--prompt", "the big", "--tokens", 12, "--seed", 4)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("the big ")
    assert cli("generate", trained, "--prompt", "the big", "--tokens", 12, "--seed", 4).out == said.out
    assert cli("generate", trained, "--prompt", "the big", "--tokens", 12, "--seed", 5).out != said.out
    found = json.loads(cli("generate", trained, "--prompt", "the big", "--tokens", 12, "--seed", 4, "--json").out)
    assert found["prompt"] + found["text"] + "\n" == said.out
    assert found["settings"] == {"temperature": 0.8, "top_k": 0, "top_p": 0.95, "seed": 4}


def test_greedy_text_is_the_models_argmax(cli: Command, trained: Path) -> None:
    model, _, tokenizer, _ = load(trained)
    ids = tokenizer.encode("the old").tolist()
    with torch.no_grad():
        for _ in range(10):
            logits = model(torch.tensor([ids]))[0][0, -1]
            logits[tokenizer.unknown] = -torch.inf
            ids.append(int(logits.argmax()))
    said = cli("generate", trained, "--prompt", "the old", "--tokens", 10, "--greedy")
    assert said.out == tokenizer.decode(ids) + "\n"


def test_generate_stops_begins_from_nothing_and_takes_strangers(cli: Command, trained: Path) -> None:
    found = json.loads(cli("generate", trained, "--tokens", 200, "--stop", ".", "--json").out)
    assert found["text"].count(".") == 1
    assert found["text"].endswith(".")
    said = cli("generate", trained, "--prompt", "the zebra", "--tokens", 3, "--allow-unknown")
    assert said.code == 0, said.err
    assert said.out.startswith("the zebra")


def test_a_run_of_characters_in_chinese(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("黛玉道：「你来了。」宝玉笑道：「我来了。」\n" * 60, encoding="utf-8")
    run = tmp_path / "run"
    said = cli("train", "language", "--text", tmp_path / "text.txt", "--run", run, *QUICK, "-o", "data.tokens=char")
    assert said.code == 0, said.err
    said = cli("generate", run, "--prompt", "黛玉", "--tokens", 5)
    assert said.out.startswith("黛玉")
    assert len(said.out) == 2 + 5 + 1


@pytest.mark.parametrize("form", ["gz", "folder", "recipe file"])
def test_texts_come_in_every_form(cli: Command, tmp_path: Path, form: str) -> None:
    words: list[object] = ["language", "--text", tmp_path / "text"]
    if form == "gz":
        words[-1] = tmp_path / "text.txt.gz"
        (tmp_path / "text.txt.gz").write_bytes(gzip.compress(sentences(60).encode()))
    elif form == "folder":
        (tmp_path / "text").mkdir()
        for number, part in enumerate(("train", "dev", "test")):
            (tmp_path / "text" / f"my.{part}.txt").write_text(sentences((40, 5, 7)[number], seed=number))
    else:
        (tmp_path / "text.txt").write_text(sentences(60))
        (tmp_path / "my.toml").write_text(f'task = "language"\n[data]\npath = "{tmp_path / "text.txt"}"\n')
        words = [tmp_path / "my.toml"]
    said = cli("train", *words, "--run", tmp_path / "run", "--json", *QUICK)
    assert said.code == 0, said.err
    results = json.loads(said.out)
    assert results["metrics"]["train/steps"] == 2
    if form == "folder":
        assert results["metrics"]["test/tokens"] == len(sentences(7, seed=2).replace("\n", " <eos> ").split()) - 1


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_every_dtype_trains_and_evaluates_the_same_again(cli: Command, text: Path, tmp_path: Path, dtype: str) -> None:
    said = cli("train", "language", "--text", text, "--run", tmp_path / "run", "--json", *QUICK, "-o", f"dtype={dtype}")
    assert said.code == 0, said.err
    trained = json.loads(said.out)["metrics"]["test/perplexity"]
    tensors, _ = checkpoint.load(tmp_path / "run" / "model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float64 if dtype == "float64" else torch.float32}
    again = json.loads(cli("evaluate", tmp_path / "run", "--json").out)["test/perplexity"]
    assert again == pytest.approx(trained, rel=1e-12 if dtype == "float64" else 1e-6)


def test_a_run_can_be_used_from_any_folder(
    cli: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "text.txt").write_text(text.read_text())
    (tmp_path / "here" / "glove.txt").write_text("the 0.5 0.25\ncat 1.0 2.0\n")
    monkeypatch.chdir(tmp_path / "here")
    vectors = options("model.vectors=glove.txt", "model.width=2")
    assert cli("train", "language", "--text", "text.txt", *QUICK, *vectors).code == 0
    monkeypatch.chdir(tmp_path)
    run = Path("here/runs/language")
    assert "word vectors cover 2 of " in (run / "results.json").read_text()
    assert cli("evaluate", run, "--json").code == 0
    said = cli("train", "--resume", run, "-o", "train.max_steps=4")
    assert said.code == 0, said.err
    # What was overridden holds from now on.
    assert "max_steps = 4" in (run / "recipe.toml").read_text()
    assert json.loads((run / "results.json").read_text())["metrics"]["train/steps"] == 4
    (tmp_path / "here" / "glove.txt").unlink()
    assert cli("generate", run, "--prompt", "the", "--tokens", 2).code == 0  # its weights hold them


def test_train_tells_how_it_goes_and_ends_with_a_table(cli: Command, text: Path, tmp_path: Path) -> None:
    said = cli("train", "language", "--text", text, "--run", tmp_path / "run", *options(*SMALL, "train.max_steps=5"))
    assert said.code == 0
    assert "parameters, vocabulary" in said.err
    assert "best so far" in said.err
    assert "lstm 1 x 16" in said.out
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said.out


def test_the_demo_trains_and_then_remembers(
    cli: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "topics.txt"
    ours.write_text("The class . If the object .\n" * 20 + text.read_text())  # the recipe's prompts are of these words
    monkeypatch.setattr(language_demo, "python_topics", lambda folder: ours)  # the real one takes a minute
    said = cli("demo", "--run", tmp_path / "run")
    assert said.code == 0, said.err
    assert "lstm 1 x 256" in said.out
    assert "after 我 爱 自然 语言 comes 处理; chance is 0.25" in said.out
    assert "4 of 4" in said.out
    assert (tmp_path / "run" / "report.html").is_file()
