"""What a training tells of itself: logged means, and why it stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .learner import Progress

Listener = Callable[[dict[str, Any]], None]


class Diverged(RuntimeError):
    """The loss or a gradient is not finite."""


def diagnosis(model: nn.Module, loss: float, norm: float, step: int, kept: Path | None) -> str:
    """Where a training that diverged stands: step, layer, norms, and the checkpoint `kept` if there is one."""
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    bad = [n for n, g in grads.items() if not bool(torch.isfinite(g).all())]
    sizes = sorted(((float(g.norm()), n) for n, g in grads.items() if n not in bad), reverse=True)[:3]
    where = f"the gradient of {bad[0]} is not finite" if bad else "the gradients are still finite"
    good = f"the last good checkpoint stands ({kept})" if kept and kept.is_file() else "no checkpoint was due yet"
    largest = ", ".join(f"{n} {size:.3g}" for size, n in sizes) or "none"
    return (
        f"loss {loss:.4g}, gradient norm {norm:.4g} at step {step}: {where} ({len(bad)} of "
        f"{len(grads)} weights; largest finite norms: {largest}); {good}; try a smaller train.optimiser.lr or "
        "train.clip_norm"
    )


class Meter:
    """Means over the steps since the last logged one."""

    def __init__(self, progress: Progress) -> None:
        self.nats, self.items, self.tokens, self.norm, self.steps = 0.0, 0, 0, 0.0, 0
        self.since = progress.seconds

    def add(self, nats: float, items: int, tokens: int, norm: float) -> None:
        self.nats, self.items, self.tokens = self.nats + nats, self.items + items, self.tokens + tokens
        self.norm, self.steps = norm, self.steps + 1

    def tell(self, listen: Listener, p: Progress, count: int, total: int, lr: float) -> None:
        if self.steps == 0:
            return
        span = max(p.seconds - self.since, 1e-9)
        listen({"event": "step", "step": p.step, "of": total, "epoch": p.epoch + p.batch / count,
                "loss": self.nats / self.items, "grad_norm": self.norm, "lr": lr,
                "tokens_per_s": round(self.tokens / span, 1), "tokens": p.items,
                "seconds": round(p.seconds, 3)})  # fmt: skip
        self.__init__(p)
