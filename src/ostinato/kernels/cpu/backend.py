"""The backend "numba": any recurrence, by a kernel derived from its step. What is slow to import is imported late."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ... import tree
from ..._torch import in_forward_mode, in_jit_trace, in_transform
from ..scan.executors import EXECUTORS
from ..table import ANY, Call, inputs, is_affine, kernel
from ..table import leaves as drive_leaves
from .runtime.pristine_builtins import own_functions

# Steps below which no derived kernel is chosen: to pack its weights, or to compile it, costs more than it saves.
SHORT = 4
_DTYPES = (torch.float32, torch.float64)


def refuses(
    recurrence: Any,
    drive: Any,
    state: Any,
    *weights: Tensor,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    initial: Any = None,
) -> str | None:
    leaves = [*tree.leaves(drive), *tree.leaves(state), *([] if initial is None else tree.leaves(initial))]
    tensors = [t for t in (*leaves, *weights) if isinstance(t, Tensor)]
    kinds = {t.dtype for t in tensors}
    if any(t.device.type != "cpu" for t in tensors):
        return "its kernels run on the CPU"
    mixed = torch.is_autocast_enabled("cpu")
    if mixed and (why := _no_mixed(kinds)):
        return why
    if not mixed and (len(kinds) > 1 or not kinds <= set(_DTYPES)):
        names = ", ".join(sorted(str(k).removeprefix("torch.") for k in kinds))
        return f"it is written for float32 or float64 throughout, and this call has {names}"
    if in_transform():
        return "inside a torch.func transform only the reference can be differentiated further"
    if in_jit_trace():
        return "torch.jit.trace keeps operations of torch alone"
    if in_forward_mode():
        return "in forward mode only the reference can be differentiated"
    driven = inputs(drive)
    if any(t.ndim < 2 or t.shape[:2] != driven[0].shape[:2] for t in driven):
        return "its drive must be [B, T, ...], with the same rows and steps in all leaves"
    if any(is_affine(leaf) and leaf.x.ndim != 3 for leaf in drive_leaves(drive)):
        return "what its drive is a product with must be [B, T, features]"
    if 0 in leaves[0].shape[:2]:
        return "the batch is empty"
    with own_functions() if torch.compiler.is_exporting() else nullcontext():
        from ..scan.scan import why_not

        return why_not(recurrence, drive, state, weights)


def _no_mixed(kinds: set[torch.dtype]) -> str | None:
    """Why this call cannot run in mixed precision."""
    from .runtime.cpu_features import has_avx512_bf16

    if torch.get_autocast_dtype("cpu") != torch.bfloat16 or not kinds <= {torch.float32, torch.bfloat16}:
        return "mixed precision is written for float32 and bfloat16"
    return None if has_avx512_bf16() else "this processor has no products of bfloat16 (AVX512-BF16)"


def scans(calls: Sequence[Call]) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    from ..scan.scan import run

    return run(calls)


def pays(drive: Any) -> bool:
    """Whether a call with that drive has steps enough; where a tracer leaves them open it counts as long."""
    steps = inputs(drive)[0].shape[1]
    return not isinstance(steps, int) or steps >= SHORT


def _executor(dtype: torch.dtype, products: str | None = None) -> Any:
    from .executor import executor

    return executor(dtype, products)


EXECUTORS["cpu"] = _executor


def _after_fork() -> None:
    # GNU's OpenMP waits in a child for ever for the parent's threads, in operations of torch's as well.
    if torch.backends.openmp.is_available():
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@kernel(ANY, "numba", refuses, scans, pays)
def scan(recurrence: Any, drive: Any, state: Any, *weights: Tensor, lengths=None, resets=None, initial=None):
    return scans([Call(recurrence, drive, state, weights, lengths, resets, initial)])[0]
