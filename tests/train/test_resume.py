"""A run that is stopped and resumed is the run that never stopped, bit for bit."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ostinato.tasks.language import Corpus
from ostinato.train import checkpoint
from ostinato.train.checkpoint import CheckpointError
from ostinato.train.loop import Listener, Report
from ostinato.train.recipe import OPTIMISERS
from small_loop import LAST, assert_same_run, everything, quiet, scripted, trainer


class Stop(Exception):
    """What a listener raises."""


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


@pytest.mark.parametrize("step", [4, 16, 18, 33])
def test_a_run_that_breaks_resumes_bit_for_bit(corpus: Corpus, unstopped: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(Stop):
        trainer(corpus, tmp_path, raise_at(step)).run()
    trainer(corpus, tmp_path, quiet).run(resume=True)
    assert_same_run(unstopped, tmp_path)


# Ctrl-C during step k is seen after step k + 1: in mid-epoch, where an evaluation is due (7, 17), at the end.
@pytest.mark.parametrize("step", [3, 6, 16, 33])
def test_ctrl_c_saves_and_resumes_bit_for_bit(corpus: Corpus, unstopped: Path, tmp_path: Path, step: int) -> None:
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
    assert_same_run(unstopped, tmp_path)


def test_stopped_again_and_again(corpus: Corpus, unstopped: Path, tmp_path: Path) -> None:
    for step in (2, 8, 9, 15, 22):
        trainer(corpus, tmp_path, ctrl_c_at(step)).run(resume=step > 2)
    trainer(corpus, tmp_path, quiet).run(resume=True)
    assert_same_run(unstopped, tmp_path)


# Stopped where an evaluation is due, at the end of an epoch, and between two: each would show in the rates that follow.
@pytest.mark.parametrize("step", [9, 16, 22])
def test_rates_and_evaluations_are_those_of_the_whole_run(corpus: Corpus, tmp_path: Path, step: int) -> None:
    setting = ("train.schedule.name=plateau", "train.evaluate_steps=5")

    def run(folder: Path, listen: Listener, resume: bool = False) -> Report:
        return scripted(trainer(corpus, folder, listen, *setting), float).run(resume)[1]  # worse and worse

    def seen(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        facts = ("event", "step", "lr", "loss", "metrics", "best")
        return [tuple(e.get(f) for f in facts) for e in events if e["event"] in ("step", "evaluate")]

    whole: list[dict[str, Any]] = []
    run(tmp_path / "whole", whole.append)
    assert len({e["lr"] for e in whole if e["event"] == "step"}) > 3  # it did decay
    parts: list[dict[str, Any]] = []

    def listen(event: dict[str, Any]) -> None:
        parts.append(event)
        if event["event"] == "step" and event["step"] == step:
            signal.raise_signal(signal.SIGINT)

    assert run(tmp_path / "parts", listen).interrupted
    run(tmp_path / "parts", parts.append, resume=True)
    assert seen(parts) == seen(whole)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


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


@pytest.mark.parametrize("step", [5, 8])
def test_regularisers_resume_bit_for_bit(corpus: Corpus, tmp_path: Path, step: int) -> None:
    # So wide that the masks of the recurrent matrices come from our own kernel.
    wide = ("model.hidden=40", "model.dropout.recurrent=0.5", "model.dropout.output=0.2", "train.max_steps=12")
    setting = (*wide, "model.regularise.activation=2", "model.regularise.temporal=1")
    trainer(corpus, tmp_path / "whole", quiet, *setting).run()
    with pytest.raises(Stop):
        trainer(corpus, tmp_path / "parts", raise_at(step), *setting).run()
    trainer(corpus, tmp_path / "parts", quiet, *setting).run(resume=True)
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
    corpus: Corpus, unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert_same_run(unstopped, tmp_path)


def test_a_checkpoint_of_another_model_is_refused(corpus: Corpus, unstopped: Path) -> None:
    with pytest.raises(CheckpointError, match="the recipe beside it is not the one it was trained with"):
        trainer(corpus, unstopped, quiet, "model.hidden=9").run(resume=True)
    with pytest.raises(CheckpointError, match="does not exist; train first"):
        trainer(corpus, unstopped / "nowhere", quiet).run(resume=True)


def test_a_checkpoint_of_more_processes_is_refused(corpus: Corpus, unstopped: Path, tmp_path: Path) -> None:
    tensors, meta = checkpoint.load(unstopped / "last.safetensors")
    checkpoint.save(tmp_path / "last.safetensors", tensors, {**meta, "world": 2})
    with pytest.raises(CheckpointError, match=r"written by 2 processes and 1 want .* --nproc-per-node 2"):
        trainer(corpus, tmp_path, quiet).run(resume=True)
