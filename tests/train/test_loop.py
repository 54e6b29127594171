"""The loop: what it gives back, when it ends, and how it stops when the numbers go wrong."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.data.tokens import Tokenizer
from ostinato.tasks.language import Corpus
from ostinato.train import checkpoint
from ostinato.train.loop import Diverged, Trainer, evaluate
from small_loop import LAST, assert_same_run, everything, quiet, read, scripted, trainer


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
    corpus: Corpus, unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert_same_run(unstopped, tmp_path)


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
    whole = trainer(corpus, None, events.append)
    whole.run()
    seen = {e["step"]: e["metrics"]["valid/perplexity"] for e in events if e["event"] == "evaluate"}
    for folder in (None, tmp_path):
        # Step 17's weights are called the best, and so are kept, though later ones are better.
        made = scripted(trainer(corpus, folder, quiet), lambda step: abs(step - 17.0))
        model, report = made.run()
        assert (report.progress.best, report.progress.best_step) == (0.0, 17)
        found = whole.task.evaluate(model.eval(), "valid", True)["valid/perplexity"]
        assert found == pytest.approx(seen[17], rel=1e-6)
        assert found != pytest.approx(seen[LAST], rel=1e-6)


def test_early_stopping_counts_evaluations(corpus: Corpus) -> None:
    events: list[dict[str, Any]] = []
    wild = ("train.optimiser.lr=0.5", "train.schedule.name=constant", "train.early_stopping=2", "train.epochs=50")
    _, report = trainer(corpus, None, events.append, *wild, "train.evaluate_steps=3").run()
    marks = [e["best"] for e in events if e["event"] == "evaluate"]
    assert marks[-2:] == [False, False]
    assert (False, False) not in pairwise(marks[:-1])
    assert report.progress.step < 50 * 17
    told = [e["text"] for e in events if e["event"] == "phase"]
    assert any("train.early_stopping: no evaluation of 2" in text for text in told)


def test_nothing_is_given_up_while_the_rate_still_rises(corpus: Corpus) -> None:
    """A metric that never becomes better ends the run so many evaluations after the warm-up, not within it."""
    events: list[dict[str, Any]] = []
    flat = ("train.schedule.warmup_steps=20", "train.early_stopping=2", "train.epochs=50", "train.evaluate_steps=3")
    stuck = trainer(corpus, None, events.append, *flat)
    stuck.task.worth = lambda metrics: 1.0  # type: ignore[method-assign]
    _, report = stuck.run()
    seen = [e for e in events if e["event"] == "evaluate"]
    assert [e["step"] for e in seen if e["step"] > 20] == [21, 24]
    assert report.progress.step == 24
    assert [e["equal"] for e in seen] == [False] + [True] * (len(seen) - 1)


def test_a_run_takes_no_longer_than_it_may(corpus: Corpus) -> None:
    _, report = trainer(corpus, None, quiet, "train.epochs=100000", "train.max_seconds=0.2").run()
    assert not report.interrupted
    assert report.progress.seconds >= 0.2
    assert report.progress.step < 100_000 * 17


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
