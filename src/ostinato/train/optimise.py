"""Optimisers by name, and clipping."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .recipe import Optimiser, Training


def optimiser(groups: Sequence[Sequence[nn.Parameter]], recipe: Optimiser) -> torch.optim.Optimizer:
    """The optimiser that the recipe names, over weights in groups from the bottom to the top.

    Each of torch's groups has a "scale", its share of the learning rate: layer_decay ** (groups above it). Weight
    decay spares vectors (biases, norms) where it is decoupled ("adamw"): it is meant for matrices.
    """
    lr, decay = recipe.lr, recipe.weight_decay
    params: list[dict[str, Any]] = []
    for above, group in zip(range(len(groups) - 1, -1, -1), groups, strict=True):
        scale = recipe.layer_decay**above
        if recipe.name == "adamw":
            params += [
                {"params": [p for p in group if p.ndim > 1], "weight_decay": decay, "scale": scale},
                {"params": [p for p in group if p.ndim <= 1], "weight_decay": 0.0, "scale": scale},
            ]
        else:
            params += [{"params": list(group), "weight_decay": decay, "scale": scale}]
    params = [group for group in params if group["params"]]
    match recipe.name:
        case "sgd" | "asgd" | "ntasgd":  # the averages are kept by `Average`
            made: torch.optim.Optimizer = torch.optim.SGD(params, lr)
        case "momentum":
            made = torch.optim.SGD(params, lr, momentum=recipe.momentum)
        case "adagrad":
            made = torch.optim.Adagrad(params, lr, eps=recipe.eps)
        case "rmsprop":
            made = torch.optim.RMSprop(params, lr, momentum=recipe.momentum, eps=recipe.eps)
        case "adam":
            made = torch.optim.Adam(params, lr, recipe.betas, recipe.eps, fused=True)
        case _:
            made = torch.optim.AdamW(params, lr, recipe.betas, recipe.eps, fused=True)
    set_rate(made, lr)
    return made


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Gives each group its share of the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["scale"]


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
