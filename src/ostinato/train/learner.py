"""All that changes while a task is learnt: what a checkpoint holds, and how it is written and read."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import tree
from . import checkpoint
from .optimise import Average, LearningRate
from .workers import Workers, set_generator_state


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

    def plain(self) -> dict[str, Any]:
        """As JSON values, which have no infinity."""
        return {**asdict(self), "best": self.best if math.isfinite(self.best) else None}


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
        p = checkpoint.prefixed
        tensors = {
            **p("model", checkpoint.weights(self.model)),
            **p("optimiser", slots),
            **p("state", {str(i): leaf for i, leaf in enumerate(state)}),
            **p("noise", {str(rank): n for rank, n in enumerate(noise)}),
            **(p("average", checkpoint.weights(self.average.ema)) if self.average.ema is not None else {}),
        }
        meta = {"progress": self.progress.plain(), "optimiser": data, "rate": self.rate.state(),
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
        if self.average.ema is not None:
            checkpoint.restore(self.average.ema, part("average", tensors), path)
        self.rate.load(meta["rate"])
        for field in fields(Progress):
            setattr(self.progress, field.name, meta["progress"][field.name])
        self.progress.best = math.inf if self.progress.best is None else self.progress.best
        leaves = part("state", tensors)
        self.state = None
        if leaves:
            rows = [workers.own_rows(leaves[str(i)]) for i in range(len(leaves))]
            self.state = tree.like(self.model.initial_state(1), rows)  # type: ignore[operator]
        set_generator_state(workers.device, tensors[f"noise/{workers.rank}"])
