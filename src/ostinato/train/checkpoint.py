"""Checkpoints: one safetensors file each, JSON in its header, written atomically. Nothing is ever unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..storage import atomic_write

_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_SUFFIXES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")


class CheckpointError(ValueError):
    """A file of weights that cannot be used; the message says why and what to do."""


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes tensors and JSON data to one file; the old file stands if anything fails.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    flat: dict[str, Tensor] = {}
    stored: set[int] = set()
    for name, t in tensors.items():
        t = t.detach().cpu().contiguous()
        # safetensors refuses two names of one memory; a state may well hold the same tensor twice.
        flat[name] = t.clone() if t.untyped_storage().data_ptr() in stored else t
        stored.add(flat[name].untyped_storage().data_ptr())
    header = json.dumps({"meta": meta, "sha256": _digest(flat)})
    atomic_write(path, safetensors.torch.save(flat, metadata={"ostinato": header}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON data of a file that `save` wrote.

    Raises:
        CheckpointError: the file is missing, a pickle, cut short, or another program's.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; train first, or name the run folder that holds it")
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file begins with the length of its header in 8 bytes, which may look like a pickle's, and "{".
    if path.suffix in _SUFFIXES or (head.startswith(_PICKLES) and head[8:] != b"{"):
        raise CheckpointError(
            f"{path} looks like a pickle (torch.save), which can run anybody's code when it is opened; Ostinato reads "
            "only safetensors: load it where you trust it and write it again with safetensors.torch.save_file"
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("ostinato")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or cut short ({error}); restore it from a copy, or train again"
        ) from error
    if header is None:
        raise CheckpointError(f"{path} was not written by Ostinato: its header has no 'ostinato' part")
    body = json.loads(header)
    if body["sha256"] != _digest(tensors):
        raise CheckpointError(f"{path} is damaged (its SHA-256 differs); restore it from a copy, or train again")
    return tensors, body["meta"]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and bytes, in hex."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name]
        total.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        total.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers by name; what is shared stands once, under its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def restore(model: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copies `tensors` into the model's weights.

    Raises:
        CheckpointError: a name is missing or unknown, or a shape differs.
    """
    own = weights(model)
    if missing := sorted(own.keys() - tensors.keys()):
        raise CheckpointError(f"{source} lacks the weight {missing[0]} ({len(missing)} in all): it is of another model")
    if extra := sorted(tensors.keys() - own.keys()):
        raise CheckpointError(f"{source} has the weight {extra[0]}, which this model lacks: it is of another model")
    for name, weight in own.items():
        if weight.shape != tensors[name].shape:
            raise CheckpointError(
                f"{source}: {name} should be of shape {tuple(weight.shape)} and is {tuple(tensors[name].shape)}: "
                "the recipe beside it is not the one it was trained with"
            )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(tensors[name])


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": t for name, t in tensors.items()}


def part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors saved under `prefix`, without it."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and JSON data."""
    state = optimiser.state_dict()
    tensors, scalars = {}, {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{key}"] = value
            else:
                scalars[f"{index}/{key}"] = value
    return tensors, {"scalars": scalars}


def unpack_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
    """Restores what `pack_optimiser` gave, bit for bit; settings (decay, momentum, ...) stay the optimiser's."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors.items(), *data["scalars"].items()):
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for number, entries in state.items():
        own = optimiser.state[parameters[number]]
        # load_state_dict casts to the weight's dtype, which not every entry has.
        own.update({key: v.to(own[key].device) for key, v in entries.items() if isinstance(v, Tensor)})
