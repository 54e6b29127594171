"""NT-ASGD (Merity et al. 2018, algorithm 1): when the averaging begins, what is averaged, and that it resumes."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.tasks.language import Corpus
from ostinato.train import checkpoint
from ostinato.train.average import Average
from ostinato.train.checkpoint import CheckpointError
from ostinato.train.recipe import Optimiser, Training
from small_loop import assert_same_run, quiet, scripted, trainer

AVERAGED = (
    "train.optimiser.name=ntasgd", "train.optimiser.nonmonotone=2", "train.optimiser.lr=1.0",
    "train.schedule.name=constant", "train.evaluate_steps=3",
)  # fmt: skip


def without_ema(corpus: Corpus, folder: Path | None, listen: Any, *overrides: str) -> Any:
    made = trainer(corpus, folder, listen, *overrides)
    made.recipe = made.recipe.model_copy(update={"ema": None})
    return made


def begins(costs: list[float], n: int) -> int | None:
    """Merity's program: the first evaluation worse than the best of all but the last n before it."""
    for t, cost in enumerate(costs):
        if t > n and cost > min(costs[: t - n]):
            return t
    return None


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(
    "costs",
    [
        [5.0, 4.0, 3.0, 4.5, 4.4, 4.3, 4.2, 4.1, 3.9, 3.8],
        [5.0, 4.0, 4.1, 3.9, 4.0, 3.8, 3.9, 3.7, 3.8, 3.6],
        [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5],
        [1.0, 2.0, 0.9, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
    ],
)
def test_averaging_begins_when_it_has_not_become_better_for_long(costs: list[float], n: int) -> None:
    recipe = Training(optimiser=Optimiser(name="ntasgd", nonmonotone=n))
    average = Average(nn.Linear(2, 2), recipe)
    began = None
    for t, cost in enumerate(costs):
        average.evaluated(cost)
        if average.averaging and began is None:
            began = t
    assert began == begins(costs, n)


def test_the_mean_of_all_weights_since_then_is_evaluated_and_kept(corpus: Corpus, tmp_path: Path) -> None:
    path: list[list[Tensor]] = []
    seen: dict[int, list[Tensor]] = {}
    made = scripted(
        without_ema(corpus, tmp_path, quiet, *AVERAGED), lambda step: [9, 8, 8.5, 8.6][min(3, step // 3 - 1)]
    )
    real = made.task.evaluate

    def evaluate(model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        seen[made.progress.step] = [p.detach().clone() for p in model.parameters()]
        return real(model, split, quick) | ({"valid/nats_per_token": 0.1} if made.progress.step == 21 else {})

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            path.append([p.detach().clone() for p in made.model.parameters()])

    made.listen = listen
    setattr(made.task, "evaluate", evaluate)  # noqa: B010 - a method of this one task
    model, report = made.run()
    # Steps 3, 6, 9, 12, 15 give 9, 8, 8.5, 8.6, 8.6: the last is worse than 8, which is old enough.
    began = 15
    assert all(torch.equal(p, w) for step in (3, 9, 12, 15) for p, w in zip(seen[step], path[step - 1], strict=True))
    for step in (17, 18, 21, 33):  # an epoch ends with step 17
        mean = [torch.stack(ws).mean(0) for ws in zip(*path[began:step], strict=True)]
        torch.testing.assert_close(seen[step], mean, rtol=1e-5, atol=1e-6)
    assert report.progress.best_step == 21
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), seen[21], strict=True))


# Before the averaging begins (at 12 or 15), where it begins, and after that.
@pytest.mark.parametrize("step", [4, 11, 14, 15, 16, 25])
def test_it_resumes_bit_for_bit(corpus: Corpus, tmp_path: Path, step: int) -> None:
    def run(folder: Path, listen: Any, resume: bool = False) -> bool:
        made = scripted(without_ema(corpus, folder, listen, *AVERAGED), lambda step: 5.0 + (step - 8) ** 2)
        return made.run(resume)[1].interrupted

    def press(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == step:
            signal.raise_signal(signal.SIGINT)

    run(tmp_path / "whole", quiet)
    assert run(tmp_path / "parts", press)
    run(tmp_path / "parts", quiet, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    tensors, meta = checkpoint.load(tmp_path / "whole" / "last.safetensors")
    assert meta["average"]["averaging"]
    assert any(name.startswith("average/mean/") for name in tensors)


def test_averages_of_another_model_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    average = Average(nn.Linear(2, 2), Training(optimiser=Optimiser(name="asgd")))
    average.update(1)
    tensors, facts = average.stored()
    other = Average(nn.Sequential(nn.Linear(2, 2)), Training(optimiser=Optimiser(name="asgd")))
    with pytest.raises(CheckpointError, match=r"lacks the average of the weight 0\.bias"):
        other.restore(tensors, facts, tmp_path)
