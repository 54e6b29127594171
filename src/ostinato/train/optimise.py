"""Optimisers and learning-rate schedules by name, clipping, and averages of the weights."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .recipe import Optimiser, Schedule, Training


def optimiser(model: nn.Module, recipe: Optimiser) -> torch.optim.Optimizer:
    """The optimiser that the recipe names, over the model's parameters.

    Weight decay spares vectors (biases, norms) where it is decoupled ("adamw"): it is meant for matrices.
    """
    lr, decay = recipe.lr, recipe.weight_decay
    params: Any = [p for p in model.parameters() if p.requires_grad]
    match recipe.name:
        case "sgd":
            return torch.optim.SGD(params, lr, weight_decay=decay)
        case "momentum":
            return torch.optim.SGD(params, lr, momentum=recipe.momentum, weight_decay=decay)
        case "adagrad":
            return torch.optim.Adagrad(params, lr, weight_decay=decay, eps=recipe.eps)
        case "rmsprop":
            return torch.optim.RMSprop(params, lr, momentum=recipe.momentum, weight_decay=decay, eps=recipe.eps)
        case "adam":
            return torch.optim.Adam(params, lr, recipe.betas, recipe.eps, decay, fused=True)
        case "asgd":
            # torch's first averaged weights are those of step t0 + 2; its lambd would be a second weight decay.
            return torch.optim.ASGD(params, lr, lambd=0.0, t0=recipe.average_from - 2, weight_decay=decay)
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr, recipe.betas, recipe.eps, fused=True)


class LearningRate:
    """lr as a function of the step and, for "plateau", of the evaluations so far."""

    def __init__(self, recipe: Training, total: int) -> None:
        self.schedule: Schedule = recipe.schedule
        self.lr, self.total = recipe.optimiser.lr, total
        self.scale, self.best, self.stale = 1.0, math.inf, 0

    def at(self, step: int) -> float:
        """lr of step number `step`, counted from 0."""
        s = self.schedule
        if step < s.warmup_steps:
            return self.lr * (step + 1) / s.warmup_steps
        if s.name == "cosine":
            done = min(1.0, (step - s.warmup_steps) / max(1, self.total - s.warmup_steps))
            return self.lr * (s.floor + (1 - s.floor) * 0.5 * (1 + math.cos(math.pi * done)))
        return self.lr * self.scale

    def evaluated(self, metric: float) -> None:
        """Tells "plateau" the monitored metric; lower is better."""
        if metric < self.best:
            self.best, self.stale = metric, 0
            return
        self.stale += 1
        if self.schedule.name == "plateau" and self.stale > self.schedule.patience:
            self.scale, self.stale = max(self.schedule.floor, self.scale * self.schedule.factor), 0

    def state(self) -> dict[str, float]:
        return {"scale": self.scale, "best": self.best, "stale": self.stale}

    def load(self, state: dict[str, float]) -> None:
        self.scale, self.best, self.stale = state["scale"], state["best"], int(state["stale"])


def clip(parameters: Sequence[Tensor], recipe: Training) -> float:
    """Clips the gradients in place and returns their global norm before that (G13).

    By norm: g * min(1, clip_norm / |g|), with |g| over all parameters together (Pascanu et al. 2013).
    By value: each entry into [-clip_value, clip_value]. Gradients that are not finite stay as they are: they tell
    which weight went wrong.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(grads)
    if not math.isfinite(norm):
        return float(norm)
    if recipe.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, recipe.clip_value)
    if recipe.clip_norm is not None:
        total = norm if recipe.clip_value is None else nn.utils.get_total_norm(grads)
        factor = (recipe.clip_norm / total).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor)
    return float(norm)


def _warm_ema(decay: float) -> Any:
    """An exponential average whose memory grows with its age, so that the first weights do not linger in it."""

    def average(averages: list[Tensor], current: list[Tensor], seen: Any) -> None:
        age = float(seen)
        for a, c in zip(averages, current, strict=True):
            a.lerp_(c, 1 - min(decay, (1 + age) / (10 + age)))

    return average


class Average:
    """The weights that are evaluated and kept: an exponential average, ASGD's, or the model's own."""

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer, recipe: Training) -> None:
        self.model, self.optimiser = model, optimiser
        self.ema = None
        if recipe.ema is not None:
            self.ema = AveragedModel(model, multi_avg_fn=_warm_ema(recipe.ema))

    def update(self) -> None:
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def tensors(self) -> list[Tensor]:
        """The averages in the order of `model.parameters()`; empty where nothing is averaged."""
        if self.ema is not None:
            return [p.detach() for p in self.ema.module.parameters()]
        if isinstance(self.optimiser, torch.optim.ASGD):
            state = self.optimiser.state
            return [state[p]["ax"] if p in state else p.detach() for p in self.model.parameters()]
        return []

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
