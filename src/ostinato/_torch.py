"""Every private symbol of torch that Ostinato uses, under a name of ours; tests/test_private_torch.py holds each to it.

No other file names one: when a release of torch moves something, this file alone changes. "Since" is the first release
of torch in which the symbol does what is said here, as far as we have used it: 2.10, the oldest that is supported.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._C._functorch import is_functorch_wrapped_tensor, peek_interpreter_stack  # pyright: ignore
from torch._decomp import _core_aten_decompositions_post_autograd, core_aten_decompositions, get_decompositions
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["TorchDispatchMode", "pytree"]  # classes and functions that torch documents in private modules. Since 2.10


def in_transform() -> bool:
    """Whether a torch.func transform (vmap, grad, jvp) is at work: no public function tells. Since 2.10."""
    return peek_interpreter_stack() is not None


def is_wrapped(t: Tensor) -> bool:
    """Whether a torch.func transform has wrapped a tensor, whose values cannot be looked at. Since 2.10."""
    return is_functorch_wrapped_tensor(t)


def onednn_has_bfloat16() -> bool:
    """Whether oneDNN has primitives of bfloat16 here; without, an LSTM under autocast raises. Since 2.10."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def in_jit_trace() -> bool:
    """Whether torch.jit.trace records: torch.jit.is_tracing warns and is no part of compiled graphs. Since 2.10."""
    return torch._C._get_tracing_state() is not None


def in_dispatch_mode() -> bool:
    """Whether a dispatch mode (fake tensors, a profiler of operations) follows operations. Since 2.10."""
    return torch._C._len_torch_dispatch_stack() > 0


def dispatches(t: Tensor) -> bool:
    """Whether a tensor's class has its own meaning of operations: then it may have no memory. Since 2.10."""
    plain = torch._C._disabled_torch_dispatch_impl  # of Tensor and Parameter
    return getattr(type(t), "__torch_dispatch__", plain) is not plain


def in_forward_mode() -> bool:
    """Whether forward-mode differentiation (dual numbers) is entered. Since 2.10."""
    return forward_ad._current_level >= 0  # pyright: ignore[reportAttributeAccessIssue]


def decomposition(operation: Any) -> Callable[..., Any] | None:
    """What a composite ATen operation consists of, in C++; None where it is none. Since 2.10."""
    return operation.decompose if operation._can_decompose() else None


def schema(operation: Any) -> Any:
    """An ATen operation's schema: its arguments, and whether it writes into one. Since 2.10."""
    return operation._schema


def decompositions(names: Sequence[str], after_autograd: bool) -> dict[Any, Callable[..., Any]]:
    """Torch's decompositions of what it calls core, and of further ATen operations by name. Since 2.10.

    Args:
        after_autograd: those core ones alone that a tracer below autograd meets.
    """
    core = _core_aten_decompositions_post_autograd() if after_autograd else dict(core_aten_decompositions())
    return {**core, **get_decompositions([getattr(torch.ops.aten, name) for name in names])}


def node_name(graph: fx.Graph, operation: str) -> str:
    """The name that torch.fx gives a node that calls an operation, before it makes it unique. Since 2.10."""
    return graph._target_to_str(operation)


def storage_id(t: Tensor) -> int:
    """What two tensors in one memory have in common, also where they have no address (device "meta"). Since 2.10."""
    return t.untyped_storage()._cdata


def writes(t: Tensor) -> int:
    """How often a tensor, or a view of it, was written into: autograd's own count. Since 2.10."""
    return t._version


def child_modules(module: nn.Module) -> dict[str, nn.Module]:
    """A module's parts by name; one that stands there twice too, which named_children leaves out. Since 2.10."""
    return {name: child for name, child in module._modules.items() if child is not None}


def buffer(module: nn.Module, name: str) -> Tensor | None:
    """A buffer, or None where it is registered as None, which get_buffer refuses. Since 2.10."""
    return module._buffers[name]


def multiplies_bfloat16() -> bool:
    """Whether torch's products of bfloat16 run in hardware (AMX or AVX512-BF16). Since 2.10."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def nonstrict_trace(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that Dynamo does not look into, while AOT autograd does. Since 2.10.

    Imports torch._dynamo, which takes a second.
    """
    from torch._dynamo import nonstrict_trace as decorate

    return decorate(function)
