"""What a user can get wrong: exit code 2, one sentence on stderr that says what to do, and no traceback."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from ostinato.train import checkpoint
from tiny import NO_BASELINES, SMALL, Command, options, sentences

QUICK = options(*SMALL, *NO_BASELINES)


class Place(NamedTuple):
    """Where a mistake is made."""

    folder: Path
    text: Path
    run: Path  # a copy of a finished run, to spoil


Mistake = Callable[[Place], list[object]]


def learn(*words: object) -> Mistake:
    return lambda at: ["train", "language", "--text", at.text, "--run", at.folder / "new", *QUICK, *words]


def learn_from(name: str, content: bytes) -> Mistake:
    def make(at: Place) -> list[object]:
        (at.folder / name).write_bytes(content)
        return ["train", "language", "--text", at.folder / name, "--run", at.folder / "new", *QUICK]

    return make


def use(spoil: Callable[[Path], object], command: str = "evaluate") -> Mistake:
    def make(at: Place) -> list[object]:
        spoil(at.run)
        return ["train", "--resume", at.run] if command == "resume" else [command, at.run]

    return make


def ask(*words: object) -> Mistake:
    return lambda at: ["generate", at.run, *words]


def newer(run: Path) -> None:
    (run / "config.json").write_text(json.dumps({"format": 99}))


def other_shape(run: Path) -> None:
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe.replace("hidden = 16", "hidden = 17"))


def cut(name: str) -> Callable[[Path], None]:
    def spoil(run: Path) -> None:
        os.truncate(run / name, (run / name).stat().st_size * 2 // 3)

    return spoil


def pickled(name: str) -> Callable[[Path], None]:
    return lambda run: torch.save({"w": torch.zeros(2)}, run / name)


def a_file(name: str) -> Mistake:
    def make(at: Place) -> list[object]:
        (at.folder / name).write_bytes(pickle.dumps([1]))
        return ["evaluate", at.folder / name]

    return make


MISTAKES: dict[str, tuple[Mistake, str]] = {
    "missing file": (lambda at: ["train", "language", "--text", at.folder / "lines.text"], "no file is called"),
    "no text": (lambda at: ["train", "language"], "recipe language needs a text (any UTF-8 text"),
    "no recipe": (lambda at: ["train"], "name a recipe (see `ostinato recipes`)"),
    "empty file": (learn_from("a.txt", b""), "a.txt is empty"),
    "white space": (learn_from("a.txt", b" \n\n "), "a.txt is empty (white space only)"),
    "not UTF-8": (learn_from("a.txt", "naïve ".encode("latin-1") * 99), "not UTF-8: byte 0xEF at offset 2; convert it"),
    "no gzip": (learn_from("a.txt.gz", b"plain"), "named .gz but is not gzip data"),
    "short text": (learn_from("a.txt", sentences(30).encode()[:60]), "part of"),
    "shorter than a batch": (learn("-o", "data.batch=4000"), "4000 streams need at least 4001 tokens"),
    "folder without parts": (
        lambda at: ["train", "language", "--text", at.run], "is ambiguous|has no file for train"),
    "unknown cell": (learn("-o", "model.cell=lstmm"), "no cell is called 'lstmm'; did you mean lstm"),
    "unknown optimiser": (learn("-o", "train.optimiser.name=adm"), "no optimiser is called 'adm'; did you mean adam"),
    "unknown key": (learn("-o", "model.hiden=3"), "no key is called 'model.hiden'; did you mean hidden"),
    "unknown task": (learn("-o", "task=langage"), "no task is called 'langage'; did you mean language"),
    "task that is no text": (learn("-o", "task=5"), "no task is called '5'"),
    "unknown recipe": (lambda at: ["train", "langage", "--text", at.text], "no recipe is called 'langage'"),
    "unknown option of a cell": (learn("-o", "model.options.forget=1"), "do not fit the cell lstm"),
    "unknown initialiser": (learn("-o", "model.initial.recurrent=orthogonl"), "did you mean orthogonal"),
    "unknown device": (learn("-o", "device=gpu"), "device 'gpu' cannot be used here"),
    "section that is a value": (learn("-o", "data=3"), "data is a value, not a section"),
    "two texts": (learn("-o", "data.path=other.txt"), "both name the text: leave one of them out"),
    "override without =": (learn("-o", "model.hidden"), "should look like model.hidden=256"),
    "prompt without a token": (learn("-o", 'samples.prompts=[""]', "-o", "data.tokens=char"), "the prompt is empty"),
    "vectors of another width": (lambda at: vectors(at), "has vectors of 2 numbers; set model.width to that"),
    "existing run": (lambda at: ["train", "language", "--text", at.text, "--run", at.run], "already holds a run"),
    "run that is a file": (lambda at: ["train", "language", "--text", at.text, "--run", at.text], "is a file"),
    "resume of nothing": (lambda at: ["train", "--resume", at.folder / "gone"], "no run folder is called"),
    "resume of an empty folder": (lambda at: ["train", "--resume", at.folder], "is incomplete: recipe.toml is missing"),
    "resume with a text": (lambda at: ["train", "--resume", at.run, "--text", at.text], "--resume takes the run's own"),
    "resume without a checkpoint": (
        use(lambda run: shutil.rmtree(run / "checkpoint"), "resume"), "checkpoint/last.safetensors is missing"),
    "resume with another shape": (use(other_shape, "resume"), "should be of shape"),
    "resume from a damaged file": (use(cut("checkpoint/last.safetensors"), "resume"), "is damaged or cut short"),
    "resume of a newer format": (use(newer, "resume"), "has format 99 and this Ostinato reads up to 1"),
    "evaluation of nothing": (lambda at: ["evaluate", at.folder / "gone"], "no run folder is called"),
    "incomplete run": (
        use(lambda run: (run / "model.safetensors").unlink()), "incomplete: model.safetensors is missing; its"),
    "newer format": (use(newer), "has format 99 and this Ostinato reads up to 1: upgrade Ostinato"),
    "damaged config": (use(lambda run: (run / "config.json").write_text("{")), "config.json cannot be read"),
    "damaged recipe": (use(lambda run: (run / "recipe.toml").write_text("[")), "is not valid TOML"),
    "damaged tokenizer": (use(cut("tokenizer.json")), "tokenizer.json is not as the training wrote it"),
    "wrong shape": (use(other_shape), "should be of shape (21, 17) and is (21, 16)"),
    "truncated weights": (use(cut("model.safetensors")), "is damaged or cut short"),
    "pickled weights": (use(pickled("model.safetensors")), "looks like a pickle (torch.save)"),
    "a .pt as run": (a_file("model.pt"), "is a pickle (.pt), which is refused"),
    "a text as run": (lambda at: ["evaluate", at.text], "is a file; a run folder was expected"),
    "text that is gone": (
        lambda at: ["evaluate", at.run, "-o", f"data.path={at.folder / 'gone.txt'}"], "no file is called"),
    "unknown words": (ask("--prompt", "the zebra eats"), "the model never saw ('zebra', 'eats')"),
    "unknown words, near ones": (ask("--prompt", "the hous"), "did you mean house"),
    "stop that never comes": (ask("--prompt", "the", "--stop", "zebra"), "the text to stop at has 'zebra'"),
    "negative temperature": (ask("--prompt", "the", "--temperature", "-1"), "temperature must be 0 (greedy) or more"),
    "temperature nan": (ask("--prompt", "the", "--temperature", "nan"), "temperature must be 0 (greedy) or more"),
    "top-p of 2": (ask("--prompt", "the", "--top-p", "2"), "top-p must be above 0 and at most 1 and is 2.0"),
    "top-k of -3": (ask("--prompt", "the", "--top-k", "-3"), "top-k must be 0 (all tokens) or more and is -3"),
    "huge seed": (ask("--prompt", "the", "--seed", 2**70), "seed must be 0 or more and below 2**64"),
    "explain of nothing": (lambda at: ["explain", "lstmm"], "no cell is called 'lstmm'; did you mean lstm"),
    "explain of no dtype": (lambda at: ["explain", "lstm", "--dtype", "float23"], "no dtype is called 'float23'"),
    "explain of no option": (lambda at: ["explain", "lstm", "-o", "depth=3"], "do not fit the cell lstm"),
}  # fmt: skip


def vectors(at: Place) -> list[object]:
    (at.folder / "glove.txt").write_text("the 0.5 0.25\n")
    return learn("-o", f"model.vectors={at.folder / 'glove.txt'}")(at)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(
    cli: Command, text: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make, sentence = MISTAKES[name]
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    said = cli(*make(Place(tmp_path, text, run)))
    assert said.code == 2, said
    assert said.out == ""
    assert said.err.startswith("ostinato: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert any(part in said.err for part in sentence.split("|")), said.err
    assert not (tmp_path / "new").exists()  # no folder is left behind
    assert not (tmp_path / "runs").exists()


def test_a_diverging_run_ends_with_code_1_and_keeps_its_checkpoint(cli: Command, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wild = options("train.optimiser.name=sgd", "train.optimiser.lr=1e36", "train.checkpoint_steps=1",
                   "train.schedule.name=constant", "train.schedule.warmup_steps=0")  # fmt: skip
    said = cli("train", "language", "--text", text, "--run", run, *QUICK, *wild)
    assert said.code == 1
    sentence = said.err.splitlines()[-1]
    assert sentence.startswith("ostinato: loss ")
    for part in ("gradient norm", "at step", "not finite", "the last good checkpoint stands", "train.optimiser.lr"):
        assert part in sentence
    assert "Traceback" not in said.err
    tensors, meta = checkpoint.load(run / "checkpoint" / "last.safetensors")
    assert meta["progress"]["step"] >= 1
    assert all(t.isfinite().all() for name, t in tensors.items() if name.startswith("model/"))


def test_a_fault_of_ours_is_not_hidden(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from ostinato import console

    def fault(_: object) -> None:
        raise RuntimeError("our fault")

    monkeypatch.setattr(console, "print_json", fault)
    with pytest.raises(RuntimeError, match="our fault"):
        cli("recipes", "--json")


def test_tracebacks_are_shown_on_request(cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSTINATO_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no run folder is called"):
        cli("evaluate", tmp_path / "gone")
