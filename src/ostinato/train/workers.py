"""What several processes of one training agree on: torch.distributed, or one process alone.

Each rank reads its share of every batch; gradients become the mean over all items, metrics are merged, and
states stay with their streams. Under torchrun the backend is nccl on GPUs and gloo on CPUs.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .. import tree


class Workers:
    """This process among the `world` processes of a run; the only one of its world where `alone`."""

    def __init__(self, device: torch.device, alone: bool = False) -> None:
        self.owns = False
        self.device = device
        if not alone and int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(device)  # nccl sends what is no tensor through the current device
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            self.owns = True
        active = not alone and dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if active else 0
        self.world = dist.get_world_size() if active else 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def total(self, *numbers: float) -> list[float]:
        """The sums over all ranks."""
        if self.world == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    def merge_gradients(self, parameters: Sequence[Tensor], share: float) -> None:
        """Every gradient becomes sum over ranks of share * gradient, share = this rank's part of the items."""
        if self.world == 1:
            return
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([g.flatten() for g in grads]) * share
        dist.all_reduce(flat)
        for p, g in zip(parameters, flat.split([g.numel() for g in grads]), strict=True):
            p.grad = g.view_as(p)

    def same_start(self, parameters: Sequence[Tensor]) -> None:
        """All ranks take rank 0's weights."""
        if self.world > 1:
            for p in parameters:
                dist.broadcast(p.data, 0)

    def gather_state(self, state: Any) -> list[Tensor]:
        """The leaves of a carried state with every rank's rows, in the order of the streams."""
        leaves = tree.leaves(state)
        if self.world == 1:
            return leaves
        whole = []
        for leaf in leaves:
            parts = [torch.empty_like(leaf) for _ in range(self.world)]
            dist.all_gather(parts, leaf.contiguous())
            whole.append(torch.cat(parts))
        return whole

    def own_rows(self, leaf: Tensor) -> Tensor:
        """This rank's rows of a leaf that `gather_state` gave."""
        return leaf.chunk(self.world)[self.rank].to(self.device, copy=True)

    def gather_noise(self) -> list[Tensor]:
        """The states of every rank's random generator."""
        own = generator_state(self.device)
        if self.world == 1:
            return [own]
        states: list[Any] = [None] * self.world
        dist.all_gather_object(states, own)
        return states

    def agree(self, value: Any) -> Any:
        """Rank 0's value, on all ranks."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def close(self) -> None:
        if self.owns:
            dist.destroy_process_group()


def generator_state(device: torch.device) -> Tensor:
    """The state of the generator that dropout draws from on this device (uint8)."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_generator_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
