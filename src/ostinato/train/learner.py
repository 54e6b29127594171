"""All that changes while a task is learnt: what a checkpoint holds, and how it is written and read."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import tree
from . import checkpoint
from .average import Average
from .rate import LearningRate
from .workers import Workers, set_generator_state


@dataclass
class Progress:
    """Where a run stands. Everything that a resumed run needs besides tensors."""

    step: int = 0  # updates made
    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches done in this epoch
    items: int = 0  # tokens so far, over all ranks
    seconds: float = 0.0  # of training, evaluations not counted
    best: float | None = None  # monitored metric, in its own unit; None: nothing was evaluated yet
    best_step: int = 0
    stale: int = 0  # evaluations since it last became better
    evaluated: int = -1  # step of the last evaluation

    def judged(self, value: float, higher_is_better: bool) -> bool:
        """Takes in an evaluation after the last step; true where none was better, so that its weights are to be kept.

        Of equals the last one is: it has learnt the most, where a metric does not show it yet (a BLEU of zero).
        It counts as stale, for nothing has become better.
        """
        self.evaluated, self.stale = self.step, self.stale + 1
        worse = self.best is not None and (value < self.best if higher_is_better else value > self.best)
        if worse or not math.isfinite(value):
            return False
        if value != self.best:
            self.stale = 0
        self.best, self.best_step = value, self.step
        return True


@dataclass
class Learner:
    """Weights, averages, optimiser, learning rate, progress, the carried state, and the random generators."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average
    rate: LearningRate
    progress: Progress
    fingerprint: str = ""  # of what is learnt from
    state: Any = None  # of the recurrence after the last batch, detached

    def save(self, path: Path, workers: Workers) -> bool:
        """Writes one file; true on the rank that did. All ranks must call it.

        Weights that are not finite are not written: the checkpoint before them is the good one.
        """
        state = [] if self.state is None else workers.gather_state(self.state)
        noise = workers.gather_noise()
        if not workers.first:
            return False
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            return False
        slots, data = checkpoint.pack_optimiser(self.optimiser)
        averages, facts = self.average.stored()
        p = checkpoint.prefixed
        tensors = {
            **p("model", checkpoint.weights(self.model)),
            **p("optimiser", slots),
            **p("state", {str(i): leaf for i, leaf in enumerate(state)}),
            **p("noise", {str(rank): n for rank, n in enumerate(noise)}),
            **p("average", averages),
        }
        meta = {"progress": asdict(self.progress), "optimiser": data, "rate": self.rate.state(), "average": facts,
                "world": workers.world, "torch": torch.__version__, "learns": self.fingerprint}  # fmt: skip
        checkpoint.save(path, tensors, meta)
        return True

    def load(self, path: Path, workers: Workers) -> None:
        """Restores what `save` wrote, bit for bit.

        Raises:
            CheckpointError: the file does not fit, another number of processes wrote it, or it learnt from other data.
        """
        tensors, meta = checkpoint.load(path)
        if meta["world"] != workers.world:
            raise checkpoint.CheckpointError(
                f"{path} was written by {meta['world']} processes and {workers.world} want to go on; "
                f"start as many as then (torchrun --nproc-per-node {meta['world']})"
            )
        if meta["learns"] != self.fingerprint:
            raise checkpoint.CheckpointError(
                f"{path} learnt from other data than these: the text or the tokeniser has changed since; "
                "put the old ones back, or start a new run"
            )
        part = checkpoint.part
        checkpoint.restore(self.model, part("model", tensors), path)
        checkpoint.unpack_optimiser(self.optimiser, part("optimiser", tensors), meta["optimiser"])
        self.average.restore(part("average", tensors), meta["average"], path)
        self.rate.load(meta["rate"])
        for field in fields(Progress):
            setattr(self.progress, field.name, meta["progress"][field.name])
        leaves = part("state", tensors)
        self.state = None
        if leaves:
            rows = [workers.own_rows(leaves[str(i)]) for i in range(len(leaves))]
            self.state = tree.like(self.model.initial_state(1), rows)  # type: ignore[operator]
        set_generator_state(workers.device, tensors[f"noise/{workers.rank}"])
