"""A model's weights in groups from the bottom to the top: each learns at its own rate, and from its own epoch on.

Discriminative learning rates and gradual unfreezing (Howard & Ruder 2018, ULMFiT).
"""

from collections.abc import Sequence

from torch import nn

Groups = list[list[nn.Parameter]]


def checked(groups: Sequence[Sequence[nn.Parameter]], model: nn.Module) -> Groups:
    """The groups without weights that need no gradient, and without those that are empty then.

    Raises:
        ValueError: a weight of the model is in no group, or in two.
    """
    counts: dict[nn.Parameter, int] = {}
    for group in groups:
        for p in group:
            counts[p] = counts.get(p, 0) + 1
    for name, p in model.named_parameters():
        count = counts.pop(p, 0)
        if count != 1:
            raise ValueError(f"Task.groups must hold each weight of the model once, and holds {name} {count} times")
    if counts:
        shape = tuple(next(iter(counts)).shape)
        raise ValueError(f"Task.groups must hold weights of the model alone, and holds one of shape {shape} besides")
    kept = [[p for p in group if p.requires_grad] for group in groups]
    return [group for group in kept if group]


def thaw(groups: Groups, epoch: int, unfreeze_epochs: int | None) -> list[nn.Parameter]:
    """Sets which weights learn in an epoch, and gives them: one more group from the top after so many epochs each.

    A weight that does not learn needs no gradient, so nothing is computed for it on the way back.

    Args:
        epoch: counted from 0.
        unfreeze_epochs: None: all learn from the beginning.
    """
    count = len(groups) if unfreeze_epochs is None else 1 + epoch // unfreeze_epochs
    frozen = max(0, len(groups) - count)
    for number, group in enumerate(groups):
        for p in group:
            p.requires_grad_(number >= frozen)
            if number < frozen:
                p.grad = None  # optimisers leave such a weight alone: no decay, no momentum
    return [p for group in groups[frozen:] for p in group]
