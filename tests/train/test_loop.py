"""The loop: a run that is stopped and resumed is the run that never stopped, bit for bit."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import sentences
from torch import Tensor, nn

from ostinato.data.tokens import Tokenizer
from ostinato.tasks.language import Corpus, LanguageRecipe, LanguageTask
from ostinato.train import checkpoint
from ostinato.train.checkpoint import CheckpointError
from ostinato.train.loop import Diverged, Listener, Trainer, evaluate
from ostinato.train.recipe import OPTIMISERS, override, validate

pytestmark = pytest.mark.usefixtures("one_thread")

# 17 batches an epoch, evaluations after steps 7, 14, 17, 21, 28, 34; everything that is random is in use.
BASE = (
    "data.batch=4", "data.steps=10", "model.hidden=8", "model.layers=2", "model.dropout.input=0.2",
    "model.dropout.between=0.3", "model.dropout.words=0.1", "train.epochs=2", "train.ema=0.9", "train.clip_norm=1.0",
    "train.log_steps=1", "train.evaluate_steps=7", "train.checkpoint_steps=3", "train.optimiser.lr=0.01",
)  # fmt: skip
LAST = 34


class Stop(Exception):
    """What a listener raises."""


def read(path: Path, lines: int) -> Corpus:
    path.write_text(sentences(lines))
    return Corpus.read(validate(LanguageRecipe, {"data": {"path": str(path)}}))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read(tmp_path_factory.mktemp("loop") / "text.txt", 80)


def trainer(corpus: Corpus, folder: Path | None, listen: Listener, *overrides: str) -> Trainer:
    recipe = validate(LanguageRecipe, override({"task": "language", "seed": 3}, (*BASE, *overrides)))
    task = LanguageTask(recipe, corpus, torch.device("cpu"))
    return Trainer(task, recipe.train, folder, recipe.seed, torch.device("cpu"), recipe.dtype, listen)


def quiet(event: dict[str, Any]) -> None:
    pass


def raise_at(step: int) -> Listener:
    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == step:
            raise Stop

    return listen


def ctrl_c_at(step: int) -> Listener:
    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == step:
            signal.raise_signal(signal.SIGINT)

    return listen


def everything(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """The last and the best tensors of a run, and what else it knows, clocks left out."""
    last, meta = checkpoint.load(folder / "last.safetensors")
    best, _ = checkpoint.load(folder / "best.safetensors")
    del meta["progress"]["seconds"]
    return last, best, meta


def assert_same_run(one: Path, other: Path) -> None:
    (last, best, meta), (last_2, best_2, meta_2) = everything(one), everything(other)
    assert meta == meta_2
    for mine, theirs in ((last, last_2), (best, best_2)):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


@pytest.fixture(scope="module")
def whole(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that is never stopped."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    _, report = trainer(corpus, folder, quiet).run()
    torch.set_num_threads(threads)
    assert (report.interrupted, report.progress.step, report.progress.epoch) == (False, LAST, 2)
    return folder


@pytest.mark.parametrize("step", [4, 16, 18, 33])
def test_a_run_that_breaks_resumes_bit_for_bit(corpus: Corpus, whole: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(Stop):
        trainer(corpus, tmp_path, raise_at(step)).run()
    trainer(corpus, tmp_path, quiet).run(resume=True)
    assert_same_run(whole, tmp_path)


# Ctrl-C during step k is seen after step k + 1: in mid-epoch, where an evaluation is due (7, 17), at the end.
@pytest.mark.parametrize("step", [3, 6, 16, 33])
def test_ctrl_c_saves_and_resumes_bit_for_bit(corpus: Corpus, whole: Path, tmp_path: Path, step: int) -> None:
    events: list[str] = []
    press = ctrl_c_at(step)

    def listen(event: dict[str, Any]) -> None:
        events.append(event["event"])
        press(event)

    _, report = trainer(corpus, tmp_path, listen).run()
    assert report.interrupted
    assert report.progress.step == step + 1
    assert events[-1] == "interrupt"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    _, report = trainer(corpus, tmp_path, quiet).run(resume=True)
    assert not report.interrupted
    assert_same_run(whole, tmp_path)


def test_stopped_again_and_again(corpus: Corpus, whole: Path, tmp_path: Path) -> None:
    for step in (2, 8, 9, 15, 22):
        trainer(corpus, tmp_path, ctrl_c_at(step)).run(resume=step > 2)
    trainer(corpus, tmp_path, quiet).run(resume=True)
    assert_same_run(whole, tmp_path)


def test_a_second_ctrl_c_ends_at_once(corpus: Corpus, tmp_path: Path) -> None:
    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer(corpus, tmp_path, listen).run()
    assert checkpoint.load(tmp_path / "last.safetensors")[1]["progress"]["step"] == 3


@pytest.mark.parametrize("rows", ["streams", "documents"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_resumes_bit_for_bit(corpus: Corpus, tmp_path: Path, name: str, rows: str) -> None:
    setting = (f"train.optimiser.name={name}", f"data.rows={rows}", "train.schedule.name=plateau", "train.max_steps=12")
    dtype = "dtype=float64" if rows == "documents" else "dtype=float32"
    trainer(corpus, tmp_path / "whole", quiet, *setting, dtype).run()
    with pytest.raises(Stop):
        trainer(corpus, tmp_path / "parts", raise_at(8), *setting, dtype).run()
    trainer(corpus, tmp_path / "parts", quiet, *setting, dtype).run(resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_goes_on_when_it_may_take_more_steps(corpus: Corpus, tmp_path: Path) -> None:
    constant = "train.schedule.name=constant"
    trainer(corpus, tmp_path / "whole", quiet, constant, "train.max_steps=20").run()
    trainer(corpus, tmp_path / "parts", quiet, constant, "train.max_steps=11").run()
    before = (tmp_path / "parts" / "last.safetensors").stat().st_mtime_ns
    trainer(corpus, tmp_path / "parts", quiet, constant, "train.max_steps=11").run(resume=True)
    assert (tmp_path / "parts" / "last.safetensors").stat().st_mtime_ns == before  # nothing was left to do
    _, report = trainer(corpus, tmp_path / "parts", quiet, constant, "train.max_steps=20").run(resume=True)
    assert report.progress.step == 20
    mine, theirs = everything(tmp_path / "whole")[0], everything(tmp_path / "parts")[0]
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []


def test_a_full_disk_leaves_a_checkpoint_that_resumes(
    corpus: Corpus, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.fsync, 8

    def full(number: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        real(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            trainer(corpus, tmp_path, quiet).run()
    assert 0 < checkpoint.load(tmp_path / "last.safetensors")[1]["progress"]["step"] < LAST
    trainer(corpus, tmp_path, quiet).run(resume=True)
    assert_same_run(whole, tmp_path)


def test_a_checkpoint_of_another_model_is_refused(corpus: Corpus, whole: Path) -> None:
    with pytest.raises(CheckpointError, match="the recipe beside it is not the one it was trained with"):
        trainer(corpus, whole, quiet, "model.hidden=9").run(resume=True)
    with pytest.raises(CheckpointError, match="does not exist; train first"):
        trainer(corpus, whole / "nowhere", quiet).run(resume=True)


def test_a_checkpoint_of_more_processes_is_refused(corpus: Corpus, whole: Path, tmp_path: Path) -> None:
    tensors, meta = checkpoint.load(whole / "last.safetensors")
    checkpoint.save(tmp_path / "last.safetensors", tensors, {**meta, "world": 2})
    with pytest.raises(CheckpointError, match=r"written by 2 processes and 1 want .* --nproc-per-node 2"):
        trainer(corpus, tmp_path, quiet).run(resume=True)


def poison(made: Trainer, monkeypatch: pytest.MonkeyPatch, at: int, weight: str | None) -> None:
    """Spoils step `at`: the gradient of one weight, or the loss itself."""
    real, seen = made.task.loss, 0

    def loss(model: nn.Module, batch: Any, state: Any) -> tuple[Tensor, Any]:
        nonlocal seen
        seen += 1
        value, after = real(model, batch, state)
        if seen == at and weight is None:
            return value * math.inf, after
        if seen == at and weight is not None:
            model.get_parameter(weight).register_hook(lambda g: g * math.nan)
        return value, after

    monkeypatch.setattr(made.task, "loss", loss)


def test_a_gradient_that_is_not_finite_is_told_with_step_layer_and_norms(
    corpus: Corpus, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(corpus, tmp_path, quiet)
    poison(made, monkeypatch, 11, "body.parts.3.w_rec")
    with pytest.raises(Diverged) as caught:
        made.run()
    said = str(caught.value)
    assert "gradient norm nan at step 11: the gradient of body.parts.3.w_rec is not finite (1 of 9 weights" in said
    norms = [float(part.split()[1]) for part in said.partition("norms: ")[2].partition(")")[0].split(", ")]
    assert len(norms) == 3
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] > 0  # as they were, not clipped by a norm that is no number
    assert f"the last good checkpoint stands ({tmp_path / 'last.safetensors'})" in said
    tensors, meta = checkpoint.load(tmp_path / "last.safetensors")
    assert meta["progress"]["step"] == 9
    assert all(torch.isfinite(t).all() for t in tensors.values())
    monkeypatch.undo()
    trainer(corpus, tmp_path, quiet).run(resume=True)  # without the poison it goes through
    assert_same_run(whole, tmp_path)


def test_a_loss_that_is_not_finite_stops(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(corpus, None, quiet, "train.clip_norm=5.0")
    poison(made, monkeypatch, 2, None)
    with pytest.raises(Diverged, match=r"loss inf, gradient norm .* at step 2: .*no checkpoint was due yet; try"):
        made.run()


def test_weights_that_are_not_finite_are_not_saved(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(corpus, tmp_path, quiet, "train.checkpoint_steps=1", "train.evaluate_steps=100")

    def spoil(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 4:
            with torch.no_grad():
                made.model.get_parameter("head.bias").fill_(math.nan)

    monkeypatch.setattr(made, "listen", spoil)
    with pytest.raises(Diverged, match="at step 5"):
        made.run()
    assert checkpoint.load(tmp_path / "last.safetensors")[1]["progress"]["step"] == 3


def test_the_best_weights_are_given_back(corpus: Corpus, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    wild = ("train.optimiser.lr=3", "train.schedule.name=constant", "train.ema=0.001")  # worse and worse
    for folder in (None, tmp_path):
        events.clear()
        made = trainer(corpus, folder, events.append, *wild)
        model, report = made.run()
        seen = [e["metrics"]["valid/nats_per_token"] for e in events if e["event"] == "evaluate"]
        assert seen[-1] > min(seen)
        assert report.progress.best == min(seen)
        assert evaluate(made.task, model, "valid")["valid/nats_per_token"] == pytest.approx(min(seen), rel=1e-6)


def test_early_stopping_counts_evaluations(corpus: Corpus) -> None:
    events: list[dict[str, Any]] = []
    wild = ("train.optimiser.lr=0.5", "train.schedule.name=constant", "train.early_stopping=2", "train.epochs=50")
    _, report = trainer(corpus, None, events.append, *wild, "train.evaluate_steps=3").run()
    marks = [e["best"] for e in events if e["event"] == "evaluate"]
    assert marks[-2:] == [False, False]
    assert (False, False) not in zip(marks[:-2], marks[1:-1], strict=True)
    assert report.progress.step < 50 * 17


def test_a_run_takes_no_longer_than_it_may(corpus: Corpus) -> None:
    _, report = trainer(corpus, None, quiet, "train.epochs=100000", "train.max_seconds=0.2").run()
    assert not report.interrupted
    assert 0.2 <= report.progress.seconds < 1.5


def test_training_learns(tmp_path: Path) -> None:
    # Who does it decides what is done: 27 sentences of equal chance, so no model is much below ln 27 nats a line.
    corpus = read(tmp_path / "text.txt", 600)
    fast = ("model.hidden=32", "model.layers=1", "train.epochs=6", "train.optimiser.lr=0.02", "data.steps=20")
    plain = ("model.dropout.input=0", "model.dropout.between=0", "model.dropout.words=0", "train.evaluate_steps=1000")
    made = trainer(corpus, None, quiet, *fast, *plain)
    model, _ = made.run()
    best = corpus.raw.valid.count("\n") * math.log(27) / (len(corpus.splits["valid"].ids) - 1)
    assert evaluate(made.task, model, "valid")["valid/nats_per_token"] == pytest.approx(best, rel=0.15)


def test_the_seed_decides(corpus: Corpus, tmp_path: Path) -> None:
    few = "train.max_steps=4"
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        made = trainer(corpus, tmp_path / name, quiet, few)
        made.seed = seed
        made.run()
    assert_same_run(tmp_path / "a", tmp_path / "b")
    a, c = everything(tmp_path / "a")[0], everything(tmp_path / "c")[0]
    assert not torch.equal(a["model/embedding.weight"], c["model/embedding.weight"])


def test_the_vocabulary_is_the_training_parts(corpus: Corpus) -> None:
    assert corpus.tokenizer.itos == Tokenizer.train("word", corpus.raw.train).itos
