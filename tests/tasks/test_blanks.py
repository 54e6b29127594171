"""Filling in blanks. Oracles: a language whose blanks have known answers; plain softmax; counts by hand."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import ostinato
from ostinato.tasks import training
from ostinato.tasks.blanks import BlanksJob, BlanksRecipe, BlanksTask, Codec, Sentences, evaluate_run
from ostinato.tasks.blanks.baselines import scored
from ostinato.tasks.blanks.task import build, metrics
from ostinato.train.recipe import RecipeError, override, validate
from tiny import Command, sentences

CPU = torch.device("cpu")
SMALL = ("data.min_count=1", "data.batch=16", "model.hidden=16", "model.width=16", "train.epochs=30",
         "train.optimiser.lr=0.03", "data.share=0.3", "baselines.ngram_order=3")  # fmt: skip


def recipe(path: Path, *overrides: str) -> BlanksRecipe:
    raw = {"task": "blanks", "seed": 2, "data": {"path": str(path)}}
    return validate(BlanksRecipe, override(raw, (*SMALL, *overrides)))


def quiet(event: dict[str, Any]) -> None:
    pass


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blanks") / "text.txt"
    path.write_text(sentences(300))
    return path


@pytest.fixture(scope="module")
def run(lines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run; results.json holds its table."""
    folder = tmp_path_factory.mktemp("blanks") / "run"
    training.train(BlanksJob(), recipe(lines), folder, quiet)
    return folder


def test_who_sees_both_sides_names_more_than_who_sees_one(run: Path) -> None:
    """The verb tells the beast, and stands after it: one side leaves a third, both leave nothing of it."""
    results = json.loads((run / "results.json").read_text())
    table = {row["model"]: row for row in results["table"]}
    both, one, counts, most = (
        table[name] for name in ("bi-lstm 1 x 16", "lstm 1 x 32", "Kneser-Ney 3-gram", "unigram")
    )
    assert both["test/accuracy"] > one["test/accuracy"] + 0.05
    assert one["test/accuracy"] > most["test/accuracy"] + 0.1
    assert counts["test/accuracy"] > most["test/accuracy"] + 0.1
    assert both["test/perplexity"] < min(one["test/perplexity"], counts["test/perplexity"]) < most["test/perplexity"]
    assert results["metrics"]["test/accuracy"] == both["test/accuracy"]


def test_a_run_fills_in_what_is_asked(run: Path) -> None:
    model = ostinato.load(run)
    asked = ["the big ___ sleeps in the house .", "the grey ____ runs on the hill .", "the ___ bird ___ on the hill ."]
    found = model.predict(asked, n_best=3)
    assert [answer["words"] for answer in found[:2]] == [["cat"], ["dog"]]
    assert found[2]["words"][1] == "sings"
    assert {one["word"] for one in found[2]["n_best"][0]} == {"big", "small", "grey"}
    for answer, text in zip(found, asked, strict=True):
        (alone,) = model.predict([text])
        assert alone["words"] == answer["words"]
        assert alone["confidence"] == pytest.approx(answer["confidence"], abs=1e-5)
    rows = [row for row in model.written(asked[2], found[2]) if row is not None]
    assert [row["word"] for row in rows] == found[2]["words"]


def test_lines_of_a_file_are_filled_in(run: Path, tmp_path: Path, cli: Command) -> None:
    file = tmp_path / "asked.txt"
    file.write_text("the big ___ sleeps in the house .\nthe small ___ sings by the old river .\n")
    said = cli("predict", run, file, "--json", "--n-best", 2)
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["words"] for row in rows] == [["cat"], ["bird"]]
    assert [len(row["n_best"][0]) for row in rows] == [2, 2]
    heading, first, *_ = cli("predict", run, file).out.splitlines()
    assert (heading.split("\t")[0], first.split("\t")[0]) == ("word", "cat")
    file.write_text("the big cat\n")
    said = cli("predict", run, file)
    assert said.code != 0 and "write ___ where a word is to be found" in said.err


def test_a_text_without_a_blank_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match=r"text 2 \('the cat sleeps'\) has no blank; write ___ where a word"):
        ostinato.load(run).predict(["the ___ runs", "the cat sleeps"])


def test_the_figures_of_a_run_are_found_again(run: Path) -> None:
    metrics_then = json.loads((run / "results.json").read_text())["metrics"]
    found = evaluate_run(run)
    assert found["test/accuracy"] == metrics_then["test/accuracy"]
    assert found["test/perplexity"] == pytest.approx(metrics_then["test/perplexity"], rel=1e-6)


def test_another_text_is_scored_from_end_to_end(run: Path, tmp_path: Path) -> None:
    """Oracle: the same lines as the test part of a folder."""
    other, alone, folder = tmp_path / "other.txt", tmp_path / "alone", tmp_path / "parts"
    for made in (alone, folder):
        made.mkdir()
    for path in (other, alone / "text.txt", folder / "test.txt"):
        path.write_text(sentences(40, seed=9))
    for part in ("train", "valid"):
        (folder / f"{part}.txt").write_text(sentences(5, seed=10))
    found = evaluate_run(run, (f"data.path={other}",))
    assert found["test/blanks"] == 40 * 3
    assert {name.partition("/")[0] for name in found} == {"test"}
    assert evaluate_run(run, (f"data.path={alone}",)) == found
    parts = evaluate_run(run, (f"data.path={folder}",))
    assert {name: parts[name] for name in found} == found and parts["valid/blanks"] == 15
    cut = evaluate_run(run, (f"data.path={other}", "data.fractions=[0.5,0.25,0.25]"))
    assert cut["valid/blanks"] < 40 and cut["test/blanks"] < 40


@torch.no_grad()
def test_figures_are_those_of_each_blank_by_itself(lines: Path) -> None:
    made = recipe(lines, "model.layers=2", "data.batch_valid=7")
    text = Sentences.read(made)
    model = build(made, text.codec).double().eval()
    nats, right = [], 0
    for number, place in text.blanks["test"]:
        ids = text.parts["test"][number].clone()
        word = int(ids[place])
        ids[place] = text.codec.blank
        y, _ = model.body(model.embedder(ids[None]))
        h = y[0, place] if model.projection is None else model.projection(y[0, place])
        logits = model.embedder.words.weight[3:] @ h + model.bias  # words alone: no <pad>, <unk>, <blank>
        nats.append(float(-logits.log_softmax(0)[word - 3]))
        right += int(logits.argmax()) == word - 3
    found = BlanksTask(made, text, CPU).evaluate(model, "test")
    assert found["test/blanks"] == len(nats)
    assert found["test/perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-6)
    assert found["test/accuracy"] == right / len(nats)


def test_from_left_to_right_nothing_after_the_blank_counts(lines: Path) -> None:
    made = recipe(lines)
    codec = Sentences.read(made).codec
    for bidirectional in (False, True):
        told = made.model_copy(update={"model": made.model.model_copy(update={"bidirectional": bidirectional})})
        model = build(told, codec).eval()
        texts = ("the big ___ sleeps in the house .", "the big ___ runs on the hill .")
        x = torch.stack([codec.encode(text) for text in texts])
        logits = model(x, x == codec.blank, torch.tensor([len(row) for row in x]))
        assert torch.allclose(logits[0], logits[1], rtol=0, atol=1e-6) != bidirectional


def test_places_follow_the_seed_and_are_known_words(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text("a b c a b c\nc b a <unk> new\n")
    (tmp_path / "test.txt").write_text("a zebra b c\nnobody knows\na b\n")
    first, again = (Sentences.read(recipe(tmp_path, "data.min_count=2")) for _ in range(2))
    assert first.blanks == again.blanks
    assert first.blanks["test"] == [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1)]
    counts = Counter(number for number, _ in first.blanks["valid"])
    assert counts == {0: 3, 1: 3}


def test_batches_hide_known_words_and_one_at_least(lines: Path) -> None:
    made = recipe(lines, "data.share=0.01")
    task = BlanksTask(made, Sentences.read(made), CPU)
    blank = task.sentences.codec.blank
    for one, two in zip(task.batches(1, 0, 0, 1), task.batches(1, 0, 0, 1), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        hidden = one.targets >= 0
        assert (hidden.sum(1) >= 1).all()
        assert torch.equal(hidden, one.x == blank)
        assert (one.targets[hidden] >= 3).all()


def test_figures_of_counts_by_hand(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text("a a a b\n")
    text = Sentences.read(recipe(tmp_path, "data.places=9"))
    # Of 6 ids, three of them special and one the end mark: a has a half, b an eighth; as words alone 4/5 and 1/5.
    found = scored(text, "test", lambda before: torch.tensor([0.1, 0.1, 0.1, 0.5, 0.125, 0.075]).double().numpy())
    assert found == {
        "test/accuracy": 0.75,
        "test/perplexity": pytest.approx((0.8**3 * 0.2) ** -0.25),
        "test/nats_per_blank": pytest.approx(-math.log(0.8**3 * 0.2) / 4),
        "test/blanks": 4.0,
    }
    assert metrics("x", 2.0, 1, 2)["x/perplexity"] == pytest.approx(math.e)


def test_a_codec_is_read_as_it_was_written(lines: Path, tmp_path: Path) -> None:
    codec = Sentences.read(recipe(lines)).codec
    codec.save(tmp_path / "codec.json")
    assert Codec.load(tmp_path / "codec.json") == codec
    (tmp_path / "codec.json").write_text("{}")
    with pytest.raises(ValueError, match="is not as a training writes it"):
        Codec.load(tmp_path / "codec.json")


def test_a_text_that_hides_nothing_is_refused(tmp_path: Path) -> None:
    for part, line in (("train", "a b c"), ("valid", "x y"), ("test", "a b")):
        (tmp_path / f"{part}.txt").write_text(line)
    with pytest.raises(RecipeError, match=r"the valid part of .* has no line of two words with a known one"):
        Sentences.read(recipe(tmp_path))
    with pytest.raises(RecipeError, match=r"add -o data\.path=FILE_OR_FOLDER"):
        Sentences.read(validate(BlanksRecipe, {"task": "blanks"}))
