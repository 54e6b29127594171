"""The training loop: truncated BPTT with carried states, exact resume, several processes."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import tree
from . import checkpoint
from .optimise import Average, LearningRate, clip, optimiser
from .recipe import Training
from .task import Task
from .workers import Workers, set_generator_state

Listener = Callable[[dict[str, Any]], None]


class Diverged(RuntimeError):
    """The loss or a gradient is not finite."""


@dataclass
class Progress:
    """Where a run stands. Everything that a resumed run needs besides tensors."""

    step: int = 0  # updates made
    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches done in this epoch
    items: int = 0  # scored items (tokens) so far, over all ranks
    seconds: float = 0.0  # of training, evaluations not counted
    best: float = math.inf  # monitored metric
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    evaluated: int = -1  # step of the last evaluation


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
            self._build()
            if resume:
                self._restore()
            else:
                self.state: Any = None
            with _interruptible() as stop:
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
        self.optimiser = optimiser(self.model, self.recipe.optimiser)
        self.average = Average(self.model, self.optimiser, self.recipe)
        total = self.recipe.epochs * self.task.batch_count()
        self.total = min(total, self.recipe.max_steps or total)
        self.rate = LearningRate(self.recipe, self.total)
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self.saved = time.monotonic()

    def _epochs(self, stop: threading.Event) -> bool:
        """Trains to the end; true when it was interrupted instead."""
        p, count = self.progress, self.task.batch_count()
        self.model.train()
        meter = _Meter(p)
        if self._evaluation_due() and not self._over():
            self._evaluate(meter)  # the run was interrupted just before it
            self._save()
        while not self._over():
            for batch in self.task.batches(p.epoch, p.batch, self.workers.rank, self.workers.world):
                halt = self._step(batch, meter, stop)
                if p.batch == count:
                    p.epoch, p.batch, self.state = p.epoch + 1, 0, None
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
        return False

    def _over(self) -> bool:
        p, r = self.progress, self.recipe
        early = r.early_stopping is not None and p.stale >= r.early_stopping
        # The ranks' clocks differ, and all must stop at the same step.
        late = r.max_seconds is not None and self.workers.agree(p.seconds) >= r.max_seconds
        return p.epoch >= r.epochs or p.step >= self.total or early or late

    def _evaluation_due(self) -> bool:
        p, every = self.progress, self.recipe.evaluate_steps
        if p.step == 0 or p.evaluated == p.step:
            return False
        return (p.batch == 0 and p.epoch % self.recipe.evaluate_epochs == 0) or bool(every and p.step % every == 0)

    def _step(self, batch: Any, meter: "_Meter", stop: threading.Event) -> bool:
        began = time.perf_counter()
        p = self.progress
        lr = self.rate.at(p.step)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        items = self.task.size(batch)
        mixed = torch.autocast(self.device.type, torch.bfloat16) if self.dtype == "bfloat16" else nullcontext()
        with mixed:
            loss, state = self.task.loss(self.model, batch, self.state)
        self.optimiser.zero_grad()
        loss.backward()
        nats, items_all, halt = self.workers.total(loss.item() * items, items, stop.is_set())
        self.workers.merge_gradients(self.parameters, items / items_all)
        norm = clip(self.parameters, self.recipe)
        if not (math.isfinite(nats) and math.isfinite(norm)):
            raise Diverged(self._diagnosis(nats / items_all, norm))
        self.optimiser.step()
        self.average.update()
        self.state = tree.detach(state)
        p.step, p.batch, p.items = p.step + 1, p.batch + 1, p.items + int(items_all)
        p.seconds += time.perf_counter() - began
        meter.add(nats, int(items_all), norm)
        if p.step % self.recipe.log_steps == 0:
            meter.tell(self.listen, p, self.task.batch_count(), self.total, lr)
        return halt > 0

    def _evaluate(self, meter: "_Meter") -> None:
        """Evaluates the averaged weights and keeps the best."""
        p = self.progress
        meter.tell(self.listen, p, self.task.batch_count(), self.total, self.rate.at(max(0, p.step - 1)))
        began = time.perf_counter()
        metrics: dict[str, float] = {}
        with self.average.applied():
            if self.workers.first:
                metrics = evaluate(self.task, self.model, "valid", quick=True)
            metrics = self.workers.agree(metrics)
            value = metrics[f"valid/{self.task.monitor}"]
            if value < p.best:
                p.best, p.best_step, p.stale = value, p.step, 0
                self._keep_best()
            else:
                p.stale += 1
        p.evaluated = p.step
        self.rate.evaluated(value)
        epoch = p.epoch + p.batch / self.task.batch_count()
        seconds = time.perf_counter() - began
        self.listen({"event": "evaluate", "step": p.step, "epoch": epoch, "split": "valid", "metrics": metrics,
                     "best": p.stale == 0, "seconds": round(seconds, 3)})  # fmt: skip

    def _keep_best(self) -> None:
        weights = checkpoint.weights(self.model)
        if self.folder is None:
            self.best = {name: w.detach().clone() for name, w in weights.items()}
        elif self.workers.first:
            checkpoint.save(self.folder / "best.safetensors", weights, asdict(self.progress))

    def _take_best(self) -> None:
        path = self.folder and self.folder / "best.safetensors"
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
        """Writes last.safetensors: weights, averages, optimiser, carried state, generators, progress."""
        self.saved = time.monotonic()
        if self.folder is None:
            return
        state = [] if self.state is None else self.workers.gather_state(self.state)
        noise = self.workers.gather_noise()
        if not self.workers.first:
            return
        if not all(bool(torch.isfinite(p).all()) for p in self.parameters):
            return  # the next loss will not be finite; the checkpoint before this one is the good one
        slots, data = checkpoint.pack_optimiser(self.optimiser)
        p = checkpoint.prefixed
        tensors = {
            **p("model", checkpoint.weights(self.model)),
            **p("optimiser", slots),
            **p("state", {str(i): leaf for i, leaf in enumerate(state)}),
            **p("noise", {str(rank): n for rank, n in enumerate(noise)}),
            **(p("average", checkpoint.weights(self.average.ema)) if self.average.ema is not None else {}),
        }
        meta = {"progress": _plain(self.progress), "optimiser": data, "rate": self.rate.state(),
                "world": self.workers.world, "torch": torch.__version__}  # fmt: skip
        checkpoint.save(self.folder / "last.safetensors", tensors, meta)
        self.listen({"event": "checkpoint", "step": self.progress.step})

    def _restore(self) -> None:
        assert self.folder is not None
        path = self.folder / "last.safetensors"
        tensors, meta = checkpoint.load(path)
        if meta["world"] != self.workers.world:
            raise checkpoint.CheckpointError(
                f"{path} was written by {meta['world']} processes and {self.workers.world} want to go on; "
                f"start as many as then (torchrun --nproc-per-node {meta['world']})"
            )
        part = checkpoint.part
        checkpoint.restore(self.model, part("model", tensors), path)
        checkpoint.unpack_optimiser(self.optimiser, part("optimiser", tensors), meta["optimiser"])
        if self.average.ema is not None:
            checkpoint.restore(self.average.ema, part("average", tensors), path)
        self.rate.load(meta["rate"])
        self.progress = Progress(**{f.name: meta["progress"][f.name] for f in fields(Progress)})
        self.progress.best = math.inf if self.progress.best is None else self.progress.best
        leaves = part("state", tensors)
        self.state = None
        if leaves:
            rows = [self.workers.own_rows(leaves[str(i)]) for i in range(len(leaves))]
            self.state = tree.like(self.model.initial_state(1), rows)  # type: ignore[operator]
        set_generator_state(self.device, tensors[f"noise/{self.workers.rank}"])
        self.listen({"event": "resume", "step": self.progress.step})

    def _diagnosis(self, loss: float, norm: float) -> str:
        grads = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        bad = [n for n, g in grads.items() if not bool(torch.isfinite(g).all())]
        sizes = sorted(((float(g.norm()), n) for n, g in grads.items() if n not in bad), reverse=True)[:3]
        where = f"the gradient of {bad[0]} is not finite" if bad else "the gradients are still finite"
        kept = self.folder / "last.safetensors" if self.folder else None
        good = f"the last good checkpoint stands ({kept})" if kept and kept.is_file() else "no checkpoint was due yet"
        largest = ", ".join(f"{n} {size:.3g}" for size, n in sizes) or "none"
        return (
            f"loss {loss:.4g}, gradient norm {norm:.4g} at step {self.progress.step + 1}: {where} ({len(bad)} of "
            f"{len(grads)} weights; largest finite norms: {largest}); {good}; try a smaller train.optimiser.lr or "
            "train.clip_norm"
        )


def evaluate(task: Task, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
    """The task's metrics, dropout off and no graph kept; the model's mode is put back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return task.evaluate(model, split, quick)
    finally:
        model.train(training)


class _Meter:
    """Means over the steps since the last logged one."""

    def __init__(self, progress: Progress) -> None:
        self.nats, self.items, self.norm, self.steps = 0.0, 0, 0.0, 0
        self.since = progress.seconds

    def add(self, nats: float, items: int, norm: float) -> None:
        self.nats, self.items, self.norm, self.steps = self.nats + nats, self.items + items, norm, self.steps + 1

    def tell(self, listen: Listener, p: Progress, count: int, total: int, lr: float) -> None:
        if self.steps == 0:
            return
        span = max(p.seconds - self.since, 1e-9)
        listen({"event": "step", "step": p.step, "of": total, "epoch": p.epoch + p.batch / count,
                "loss": self.nats / self.items, "grad_norm": self.norm, "lr": lr,
                "tokens_per_s": round(self.items / span, 1), "tokens": p.items,
                "seconds": round(p.seconds, 3)})  # fmt: skip
        self.__init__(p)


def _plain(progress: Progress) -> dict[str, Any]:
    data = asdict(progress)
    if not math.isfinite(progress.best):
        data["best"] = None  # JSON has no infinity
    return data


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event; a second one raises KeyboardInterrupt as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def once(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, once)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
