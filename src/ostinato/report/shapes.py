"""What a model has learnt, matrix by matrix: names, shapes and counts, none of which contains the length T."""

from typing import NamedTuple

from torch import nn


class ParameterRow(NamedTuple):
    """One parameter of a model."""

    name: str
    shape: tuple[int, ...]
    numbers: int  # in it
    role: str  # what it does, in words


def parameter_table(model: nn.Module) -> list[ParameterRow]:
    """One row a parameter in the model's order; a shared one stands once, under its first name.

    The counts add up to `total_parameters(model)`. They are the same for every length of the sequence: the
    recurrent weights are used again at every step.
    """
    names: dict[int, list[str]] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(p), []).append(name)
    rows = []
    for name, p in model.named_parameters():
        role = _role(model, name, p.ndim)
        others = names[id(p)][1:]
        if others:
            role += f"; shared with {', '.join(others)}"
        if not p.requires_grad:
            role += "; frozen"
        rows.append(ParameterRow(name, tuple(p.shape), p.numel(), role))
    return rows


def total_parameters(model: nn.Module) -> int:
    """Numbers in all parameters; shared ones counted once."""
    return sum(p.numel() for p in model.parameters())


def _role(model: nn.Module, name: str, ndim: int) -> str:
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    # In a cell the linear map of the input is a module of its own: its path ends in w_in.
    words = f"{path.rpartition('.')[2]}.{leaf}".lower()
    bias = "bias" in leaf or (ndim == 1 and leaf.startswith("b"))
    if isinstance(owner, nn.ParameterList):
        return f"{path.rpartition('.')[2]}, entry {leaf}"
    if isinstance(owner, nn.Embedding):
        return "one row a hashed pair of tokens" if words.startswith("pairs.") else "one row a token"
    if isinstance(owner, nn.LayerNorm | nn.RMSNorm):
        return "shift" if bias else "scale"
    if any(mark in words for mark in ("weight_hh", "bias_hh", "w_rec", "w_hh")):
        return "bias of the recurrence" if bias else "state to gates, the same at every step"
    if any(mark in words for mark in ("weight_ih", "bias_ih", "w_in", "w_xh")):
        return "bias of the gates" if bias else "input to gates"
    if isinstance(owner, nn.Linear):
        return "bias" if bias else f"linear map {owner.in_features} -> {owner.out_features}"
    if bias:
        return "bias"
    return f"{leaf} of {type(owner).__name__}"
