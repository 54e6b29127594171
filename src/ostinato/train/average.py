"""Averages of the weights that a training went through: what is evaluated and kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from . import checkpoint
from .recipe import Training


def _warm_ema(decay: float) -> Any:
    """An exponential average whose memory grows with its age, so that the first weights do not linger in it."""

    def average(averages: list[Tensor], current: list[Tensor], seen: Any) -> None:
        age = float(seen)
        for a, c in zip(averages, current, strict=True):
            a.lerp_(c, 1 - min(decay, (1 + age) / (10 + age)))

    return average


class Average:
    """An exponential average of the weights, their mean since some step, or the model's own.

    The mean is that of "asgd" (Polyak & Juditsky 1992) from step `average_from` on, and of "ntasgd" (Merity et al.
    2018) from the evaluation on that is worse than the best of those more than `nonmonotone` evaluations before it.
    """

    def __init__(self, model: nn.Module, recipe: Training) -> None:
        self.model, self.recipe = model, recipe.optimiser
        self.ema = None if recipe.ema is None else AveragedModel(model, multi_avg_fn=_warm_ema(recipe.ema))
        self.averaging = False
        self.costs: list[float] = []  # of all evaluations before the averaging began
        self.mean: dict[str, Tensor] = {}
        self.count = 0  # weights in the mean

    def update(self, step: int) -> None:
        """Takes in the weights after step number `step`, counted from 1."""
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        if self.recipe.name == "asgd" and step >= self.recipe.average_from:
            self.averaging = True
        if not self.averaging:
            return
        now = {name: p.detach() for name, p in self.model.named_parameters()}
        self.count += 1
        if self.count == 1:
            self.mean = {name: p.clone() for name, p in now.items()}
        for name, p in now.items():
            self.mean[name].lerp_(p, 1 / self.count)

    def evaluated(self, cost: float) -> None:
        """Tells "ntasgd" how an evaluation came out; lower is better."""
        if self.recipe.name != "ntasgd" or self.averaging:
            return
        before = self.costs[: -self.recipe.nonmonotone]
        self.averaging = bool(before) and cost > min(before)
        self.costs.append(cost)

    def tensors(self) -> list[Tensor]:
        """The averages in the order of `model.parameters()`; empty where nothing is averaged."""
        if self.ema is not None:
            return [p.detach() for p in self.ema.module.parameters()]
        return list(self.mean.values())

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a checkpoint must hold: tensors by name, and JSON data."""
        held = {} if self.ema is None else checkpoint.weights(self.ema)
        facts = {"averaging": self.averaging, "count": self.count, "costs": self.costs}
        return {**checkpoint.prefixed("ema", held), **checkpoint.prefixed("mean", self.mean)}, facts

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], path: Path) -> None:
        """Restores what `stored` gave.

        Raises:
            CheckpointError: the tensors are those of another model.
        """
        if self.ema is not None:
            checkpoint.restore(self.ema, checkpoint.part("ema", dict(tensors)), path)
        self.averaging, self.count, self.costs = facts["averaging"], facts["count"], list(facts["costs"])
        kept = checkpoint.part("mean", dict(tensors))
        own = dict(self.model.named_parameters()) if self.count else {}
        if missing := sorted(own.keys() - kept.keys()):
            raise checkpoint.CheckpointError(f"{path} lacks the average of the weight {missing[0]}: of another model")
        # The file's order is its own; the averages go with the model's.
        self.mean = {name: kept[name].to(p.device) for name, p in own.items()}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model holds the averages."""
        averages = self.tensors()
        if not averages:
            yield
            return
        with torch.no_grad():
            own = [p.clone() for p in self.model.parameters()]
            for p, a in zip(self.model.parameters(), averages, strict=True):
                p.copy_(a)
            try:
                yield
            finally:
                for p, o in zip(self.model.parameters(), own, strict=True):
                    p.copy_(o)
