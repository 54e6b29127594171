"""Word by word: sampling from a model that gives logits, with a state of constant size."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..recurrent import Recurrent


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn.

    Args:
        temperature: logits are divided by it; 0 is greedy, 1 the model's own distribution.
        top_k: only the k likeliest tokens; 0: all.
        top_p: only the likeliest tokens that together have this probability (Holtzman et al. 2020); 1: all.
        seed: same seed, same text.
        forbidden: token ids that are never drawn (<unk>, say).

    Raises:
        ValueError: a value out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    forbidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 (greedy) or more, and finite, and is {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top-k must be 0 (all tokens) or more and is {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top-p must be above 0 and at most 1 and is {self.top_p}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be 0 or more and below 2**64 and is {self.seed}")

    def distribution(self, logits: Tensor) -> Tensor:
        """Logits [V] to the probabilities [V] that are drawn from."""
        logits = logits.double()
        if self.forbidden:
            logits = logits.index_fill(0, torch.tensor(self.forbidden, device=logits.device), -torch.inf)
        if self.temperature == 0:
            return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
        # The largest logit becomes 0 first, so that a temperature near 0 does not overflow.
        probabilities = ((logits - logits.max()) / self.temperature).softmax(0)
        ordered, index = probabilities.sort(descending=True, stable=True)
        keep = torch.ones_like(ordered, dtype=torch.bool)
        if self.top_k:
            keep[self.top_k :] = False
        if self.top_p < 1:
            # A token stays while those before it have not reached top_p: the likeliest one always does.
            keep &= ordered.cumsum(0) - ordered < self.top_p
        kept = torch.zeros_like(probabilities).index_put((index[keep],), ordered[keep])
        return kept / kept.sum()


@torch.no_grad()
def generate(
    model: Recurrent[Any],
    prompt: Sequence[int],
    count: int,
    sampling: Sampling,
    stop: Sequence[int] | None = None,
) -> Iterator[int]:
    """Up to `count` new token ids after `prompt`, one at a time as they are drawn.

    Args:
        model: ids [1] and a state to logits [1, V] and the next state; in eval mode.
        prompt: at least one token id.
        stop: a sequence of ids that ends the text; it is given too.

    Raises:
        ValueError: the prompt is empty.
    """
    if not len(prompt):
        raise ValueError("the prompt is empty: give at least one token to begin with")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(sampling.seed)
    ids = torch.tensor(prompt, dtype=torch.int64, device=device)
    logits, state = model(ids[None])
    logits = logits[:, -1]
    drawn: list[int] = []
    for _ in range(count):
        token = int(torch.multinomial(sampling.distribution(logits[0]).cpu(), 1, generator=generator))
        yield token
        drawn.append(token)
        if stop and drawn[-len(stop) :] == list(stop):
            return
        logits, state = model.step(torch.tensor([token], device=device), state)
