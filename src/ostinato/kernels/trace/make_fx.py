"""The graph of a step by torch's own tracer, `make_fx`: it follows more than our recorder, and imports the compiler."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from ..._torch import decompositions, pytree
from .rewrites import SYNONYMS

FURTHER = (
    "native_layer_norm", "native_layer_norm_backward", "addmm", "sigmoid_backward", "tanh_backward",
    "threshold_backward", "var_mean", "mean", "_softmax", "_softmax_backward_data", "_log_softmax",
    "_log_softmax_backward_data", "silu", "silu_backward", "softplus", "softplus_backward", "gelu", "gelu_backward",
    "leaky_relu", "leaky_relu_backward",
)  # fmt: skip

Step = Callable[..., tuple[Tensor, Any]]  # (drive, state, *weights) -> (out, state)


def trace_by_make_fx(step: Step, inputs: Any, gradients: bool) -> fx.Graph:
    """What `record` gives, by torch's `make_fx`, which imports torch's compiler."""
    with _quiet():
        return _traced(step, inputs, gradients)


@contextmanager
def _quiet() -> Iterator[None]:
    """What cannot be traced is told in a sentence by who asked; torch logs pages of its own."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _traced(step: Step, inputs: Any, gradients: bool) -> fx.Graph:
    options: Any = {"decomposition_table": _table(), "tracing_mode": "fake"}
    if not gradients:
        return make_fx(lambda inputs: step(*inputs), **options)(inputs).graph

    def joint(inputs: Any, grad_out: Any) -> Any:
        value, vjp, *_ = torch.func.vjp(step, *inputs)
        return value, vjp(grad_out)

    grad_out = pytree.tree_map(torch.empty_like, step(*inputs))
    return make_fx(joint, **options)(inputs, grad_out).graph


def _table() -> dict[Any, Any]:
    return {**decompositions(FURTHER, after_autograd=False), **SYNONYMS}
