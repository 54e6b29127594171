"""A metric that should rise is followed as one that should fall: the same run, its values turned over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ostinato.tasks.language import Corpus
from ostinato.train import checkpoint
from ostinato.train.learner import Progress
from ostinato.train.loop import Trainer
from small_loop import quiet, scripted, trainer

SETTING = ("train.schedule.name=plateau", "train.early_stopping=4", "train.epochs=9", "train.evaluate_steps=3")


def judged(
    corpus: Corpus, folder: Path, higher: bool, value: Callable[[int], float], *more: str
) -> tuple[Trainer, Any]:
    events: list[dict[str, Any]] = []
    made = scripted(trainer(corpus, folder, events.append, *SETTING, *more), value)
    setattr(made.task, "higher_is_better", higher)  # noqa: B010 - of this one task
    made.run()
    return made, [(e["step"], e.get("lr"), e.get("best")) for e in events if e["event"] in ("step", "evaluate")]


@pytest.mark.parametrize("optimiser", ["adamw", "ntasgd"])
def test_higher_is_better_is_lower_is_better_turned_over(corpus: Corpus, tmp_path: Path, optimiser: str) -> None:
    def accuracy(step: int) -> float:
        return 0.9 - (step - 14) ** 2 / 10_000  # best where it is evaluated nearest to step 14

    name = (f"train.optimiser.name={optimiser}", "train.optimiser.nonmonotone=1")
    up, risen = judged(corpus, tmp_path / "up", True, accuracy, *name)
    down, fallen = judged(corpus, tmp_path / "down", False, lambda step: -accuracy(step), *name)
    assert risen == fallen
    assert len({lr for _, lr, _ in risen if lr}) > 1  # the plateau was seen
    assert up.progress.step < 9 * 17  # and so was that nothing better came
    assert (up.progress.best, up.progress.best_step) == (accuracy(15), 15)
    assert down.progress.best == -accuracy(15)
    for name, w in checkpoint.load(tmp_path / "up" / "best.safetensors")[0].items():
        assert torch.equal(w, checkpoint.load(tmp_path / "down" / "best.safetensors")[0][name])
    for file in ("last", "best"):
        meta = checkpoint.load(tmp_path / "up" / f"{file}.safetensors")[1]
        assert meta.get("progress", meta)["best"] == accuracy(15)


def test_a_resumed_run_knows_what_was_best(corpus: Corpus, tmp_path: Path) -> None:
    first = scripted(trainer(corpus, tmp_path, quiet, "train.max_steps=14"), lambda step: 0.5 + step / 100)
    setattr(first.task, "higher_is_better", True)  # noqa: B010 - of this one task
    assert first.run()[1].progress.best == 0.64
    second = scripted(trainer(corpus, tmp_path, quiet), lambda step: 0.6)
    setattr(second.task, "higher_is_better", True)  # noqa: B010 - of this one task
    report = second.run(resume=True)[1]
    assert (report.progress.best, report.progress.best_step) == (0.64, 14)


@pytest.mark.parametrize("higher", [False, True])
def test_what_is_no_number_is_never_the_best(higher: bool) -> None:
    progress = Progress()
    assert not progress.judged(float("nan"), higher)
    assert not progress.judged(float("inf"), higher)
    assert not progress.judged(float("-inf"), higher)
    assert progress.best is None
    assert progress.judged(0.0, higher)
    progress.step = 7
    assert progress.judged(0.0, higher) and progress.stale == 1  # as good: kept, for it has learnt more, but stale
    assert progress.best_step == 7
    assert not progress.judged(float("nan"), higher)
    assert progress.judged(1.0 if higher else -1.0, higher)
    assert (progress.best, progress.stale) == (1.0 if higher else -1.0, 0)
