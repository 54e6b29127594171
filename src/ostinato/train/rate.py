"""Learning-rate schedules by name."""

import math

from .recipe import Schedule, Training


class LearningRate:
    """lr as a function of the step and, for "plateau", of the evaluations so far."""

    def __init__(self, recipe: Training, total: int, whole: int | None = None) -> None:
        """
        Args:
            total: the steps of this training.
            whole: those of all its epochs, where it is cut short of them and may go on later; None: `total`.
        """
        self.schedule: Schedule = recipe.schedule
        self.lr, self.total = recipe.optimiser.lr, total
        # A short training would end before it reached its rate: a quarter of its steps is the most.
        self.warmup = min(self.schedule.warmup_steps, (total if whole is None else whole) // 4)
        self.scale, self.best, self.stale = 1.0, math.inf, 0

    def at(self, step: int) -> float:
        """lr of step number `step`, counted from 0."""
        s = self.schedule
        if s.name == "triangular":
            return self._triangular(step)
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if s.name == "cosine":
            done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
            return self.lr * (s.floor + (1 - s.floor) * 0.5 * (1 + math.cos(math.pi * done)))
        return self.lr * self.scale

    def _triangular(self, step: int) -> float:
        """Slanted triangle (Howard & Ruder 2018): up for a share `cut_frac` of the steps, then down to lr / ratio."""
        s = self.schedule
        cut = max(1, math.floor(self.total * s.cut_frac))
        share = step / cut if step < cut else 1 - (step - cut) / max(1, self.total - cut)
        return self.lr * (1 + max(0.0, share) * (s.ratio - 1)) / s.ratio

    def evaluated(self, cost: float) -> None:
        """Tells "plateau" how an evaluation came out; lower is better."""
        if cost < self.best:
            self.best, self.stale = cost, 0
            return
        self.stale += 1
        if self.schedule.name == "plateau" and self.stale > self.schedule.patience:
            self.scale, self.stale = max(self.schedule.floor, self.scale * self.schedule.factor), 0

    def state(self) -> dict[str, float]:
        return {"scale": self.scale, "best": self.best, "stale": self.stale}

    def load(self, state: dict[str, float]) -> None:
        self.scale, self.best, self.stale = state["scale"], state["best"], int(state["stale"])
