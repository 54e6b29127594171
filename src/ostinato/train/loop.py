"""The training loop: truncated BPTT with carried states, exact resume, several processes."""

import math
import threading
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import tree
from . import checkpoint
from .average import Average
from .groups import checked, thaw
from .interrupt import interruptible
from .learner import Learner, Progress
from .meter import Diverged, Listener, Meter, diagnosis
from .optimise import clip, optimiser, set_rate
from .rate import LearningRate
from .recipe import Training
from .task import Task
from .workers import Workers

LAST, BEST = "last.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Report:
    """How a training ended."""

    progress: Progress
    interrupted: bool
    items_per_second: float


@dataclass
class Trainer:
    """One training of one task. `run()` is all there is to call.

    Args:
        task: what is learnt.
        recipe: how.
        folder: holds last.safetensors and best.safetensors; None keeps the best weights in memory only.
        seed: of the weights and of dropout.
        device, dtype: "bfloat16" is mixed precision with float32 weights.
        listen: gets an event (a dict of JSON values) for every logged step, evaluation and checkpoint.
        alone: this process trains by itself, even under torchrun.
    """

    task: Task
    recipe: Training
    folder: Path | None
    seed: int
    device: torch.device
    dtype: str
    listen: Listener
    alone: bool = False

    def run(self, resume: bool = False) -> tuple[nn.Module, Report]:
        """Trains, and gives the model with its best weights.

        Raises:
            Diverged: with step, layer and norms; the last checkpoint stands.
            CheckpointError: `resume` from a file that does not fit.
        """
        self.workers = Workers(self.device, self.alone)
        try:
            with interruptible() as stop:
                self._build()
                if resume:
                    assert self.folder is not None
                    self.learner.load(self.folder / LAST, self.workers)
                    if self.progress.best is not None and not (self.folder / BEST).is_file():
                        raise checkpoint.CheckpointError(f"{self.folder / BEST} is missing: restore it from a copy")
                    self.listen({"event": "resume", "step": self.progress.step})
                interrupted = self._epochs(stop)
            self._take_best()
        finally:
            self.workers.close()
        p = self.progress
        return self.model, Report(p, interrupted, p.items / p.seconds if p.seconds else 0.0)

    def _build(self) -> None:
        torch.manual_seed(self.seed)
        precision = torch.float64 if self.dtype == "float64" else torch.float32
        self.model = self.task.model().to(self.device, precision)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.workers.same_start(self.parameters)
        torch.manual_seed(self.seed + 1 + self.workers.rank)  # dropout differs between ranks
        self.groups = checked(self.task.groups(self.model), self.model)
        self.optimiser = optimiser(self.groups, self.recipe.optimiser)
        self.average = Average(self.model, self.recipe)
        total = self.recipe.epochs * self.task.batch_count()
        self.total = min(total, self.recipe.max_steps or total)
        self.rate = LearningRate(self.recipe, self.total, total)
        self.progress = Progress()
        made = (self.model, self.optimiser, self.average, self.rate, self.progress)
        self.learner = Learner(*made, self.task.fingerprint())
        self.best: dict[str, Tensor] | None = None
        self.saved = time.monotonic()

    def _epochs(self, stop: threading.Event) -> bool:
        """Trains to the end; true when it was interrupted instead."""
        p, count = self.progress, self.task.batch_count()
        self.model.train()
        meter = Meter(p)
        if self._evaluation_due() and not self._over():
            self._evaluate(meter)  # the run was interrupted just before it
            self._save()
        while not self._over():
            self.learning = thaw(self.groups, p.epoch, self.recipe.unfreeze_epochs)
            for batch in self.task.batches(p.epoch, p.batch, self.workers.rank, self.workers.world):
                halt = self._step(batch, meter, stop)
                if p.batch == count:
                    p.epoch, p.batch, self.learner.state = p.epoch + 1, 0, None
                if halt:
                    self._save()
                    self.listen({"event": "interrupt", "step": p.step})
                    return True
                if self._over():
                    break
                if self._evaluation_due():
                    self._evaluate(meter)
                    self._save()  # so that a resumed run does not evaluate twice
                elif self._due():
                    self._save()
                if p.batch == 0 or self._over():
                    break
        if p.evaluated != p.step:
            self._evaluate(meter)
            self._save()
        if self._settled() and p.step < self.total:
            said = f"train.early_stopping: no evaluation of {p.stale} was better than the best one"
            self.listen({"event": "phase", "text": f"stopped after epoch {p.epoch} by {said}"})
        return self.workers.total(stop.is_set())[0] > 0  # during the last evaluation

    def _over(self) -> bool:
        p, r = self.progress, self.recipe
        # The ranks' clocks differ, and all must stop at the same step.
        late = r.max_seconds is not None and self.workers.agree(p.seconds) >= r.max_seconds
        return p.epoch >= r.epochs or p.step >= self.total or self._settled() or late

    def _settled(self) -> bool:
        patience = self.recipe.early_stopping
        return patience is not None and self.progress.stale >= patience

    def _evaluation_due(self) -> bool:
        p, every = self.progress, self.recipe.evaluate_steps
        if p.step == 0 or p.evaluated == p.step:
            return False
        return (p.batch == 0 and p.epoch % self.recipe.evaluate_epochs == 0) or bool(every and p.step % every == 0)

    def _step(self, batch: Any, meter: Meter, stop: threading.Event) -> bool:
        began = time.perf_counter()
        p = self.progress
        lr = self.rate.at(p.step)
        set_rate(self.optimiser, lr)
        items = self.task.size(batch)
        mixed = torch.autocast(self.device.type, torch.bfloat16) if self.dtype == "bfloat16" else nullcontext()
        with mixed:
            loss, state = self.task.loss(self.model, batch, self.learner.state)
        self.optimiser.zero_grad()
        loss.backward()
        own = (loss.item() * items, items, self.task.tokens(batch), stop.is_set())
        nats, items_all, tokens_all, halt = self.workers.total(*own)
        self.workers.merge_gradients(self.learning, items / items_all)
        norm = clip(self.learning, self.recipe)
        if not (math.isfinite(nats) and math.isfinite(norm)):
            raise Diverged(
                diagnosis(self.model, nats / items_all, norm, p.step + 1, self.folder and self.folder / LAST)
            )
        self.optimiser.step()
        self.average.update(p.step + 1)
        self.learner.state = None if state is None else tree.detach(state)
        p.step, p.batch, p.items = p.step + 1, p.batch + 1, p.items + int(tokens_all)
        p.seconds += time.perf_counter() - began
        meter.add(nats, int(items_all), int(tokens_all), norm)
        if p.step % self.recipe.log_steps == 0:
            meter.tell(self.listen, p, self.task.batch_count(), self.total, lr)
        return halt > 0

    def _evaluate(self, meter: Meter) -> None:
        """Evaluates the averaged weights and keeps the best."""
        p = self.progress
        meter.tell(self.listen, p, self.task.batch_count(), self.total, self.rate.at(max(0, p.step - 1)))
        began = time.perf_counter()
        metrics: dict[str, float] = {}
        with self.average.applied():
            if self.workers.first:
                metrics = evaluate(self.task, self.model, "valid", quick=True)
            metrics = self.workers.agree(metrics)
            value = self.task.worth(metrics)
            if best := p.judged(value, self.task.higher_is_better):
                self._keep_best()
            equal = best and p.stale > 0
            if p.step <= self.rate.warmup:
                p.stale = 0  # nothing is given up before it learns at its full rate
        for listener in (self.rate, self.average):
            listener.evaluated(-value if self.task.higher_is_better else value)
        epoch = p.epoch + p.batch / self.task.batch_count()
        seconds = time.perf_counter() - began
        self.listen({"event": "evaluate", "step": p.step, "epoch": epoch, "split": "valid", "metrics": metrics,
                     "monitor": f"valid/{self.task.monitor}",
                     "best": best, "equal": equal, "seconds": round(seconds, 3)})  # fmt: skip

    def _keep_best(self) -> None:
        weights = checkpoint.weights(self.model)
        if self.folder is None:
            self.best = {name: w.detach().clone() for name, w in weights.items()}
        elif self.workers.first:
            checkpoint.save(self.folder / BEST, weights, asdict(self.progress))

    def _take_best(self) -> None:
        thaw(self.groups, 0, None)
        path = self.folder and self.folder / BEST
        if path and path.is_file() and self.workers.first:
            self.best = checkpoint.load(path)[0]
        if self.best is not None:
            checkpoint.restore(self.model, self.best, path or Path("memory"))
        self.workers.same_start(self.parameters)

    def _due(self) -> bool:
        every = self.recipe.checkpoint_steps
        if every:
            return self.progress.step % every == 0
        late = self.workers.world == 1 and time.monotonic() - self.saved > self.recipe.checkpoint_seconds
        return late or (self.workers.world > 1 and self.progress.step % 500 == 0)  # ranks must agree

    def _save(self) -> None:
        self.saved = time.monotonic()
        if self.folder is not None and self.learner.save(self.folder / LAST, self.workers):
            self.listen({"event": "checkpoint", "step": self.progress.step})


def evaluate(task: Task, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
    """The task's metrics, dropout off and no graph kept; the model's mode is put back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return task.evaluate(model, split, quick)
    finally:
        model.train(training)
