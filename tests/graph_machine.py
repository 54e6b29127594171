"""Computes a lowered step node by node, in NumPy: what its graph means, without a kernel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ostinato import tree
from ostinato.kernels.ir.graph import Node
from ostinato.kernels.lower.lower import lower, order_of_leaf
from ostinato.kernels.lower.step_graph import StepGraph
from ostinato.kernels.lower.weight_graph import WeightValues
from ostinato.kernels.trace.tracer import trace

POINTWISE: dict[str, Any] = {
    "neg": np.negative, "exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: np.where(x < 0, 0, x), "abs": np.abs, "sqrt": np.sqrt, "expm1": np.expm1,
    "sign": lambda x: (x > 0) * 1.0 - (x < 0),
    "erf": lambda x: torch.erf(torch.tensor(x)).numpy(), "sin": np.sin, "cos": np.cos, "atan": np.arctan,
    "floor": np.floor, "round": np.rint, "maximum": np.maximum, "minimum": np.minimum, "pow": np.power, "add": np.add,
    "sub": np.subtract, "mul": np.multiply, "div": np.divide, "where": lambda c, x, y: np.where(c != 0, x, y),
    "gt": lambda x, y: (x > y) * 1.0, "ge": lambda x, y: (x >= y) * 1.0, "lt": lambda x, y: (x < y) * 1.0,
    "le": lambda x, y: (x <= y) * 1.0, "eq": lambda x, y: (x == y) * 1.0, "ne": lambda x, y: (x != y) * 1.0,
    "log2": np.log2, "log10": np.log10, "erfc": lambda x: torch.erfc(torch.tensor(x)).numpy(), "fmod": np.fmod,
    "copysign": np.copysign, "copy": lambda x: x,
}  # fmt: skip


class GraphMachine:
    """The values of nodes, [B, *shape], and of the gradients of weights.

    Args:
        inputs: (kind, number) -> [B, *shape of the node]. weights: traced node -> tensor.
    """

    def __init__(self, reading: StepGraph, inputs: dict[tuple[str, int], np.ndarray], weights: WeightValues) -> None:
        self.reading, self.inputs, self.weights = reading, inputs, weights
        self.rows = len(next(iter(inputs.values())))
        self.known: dict[Node, np.ndarray] = {}

    def __call__(self, n: Node) -> np.ndarray:
        if n not in self.known:
            with np.errstate(all="ignore"):
                x = self._of(n)
            self.known[n] = np.broadcast_to(x, (self.rows, *n.shape))
        return self.known[n]

    def row(self, value: tuple[Node, ...]) -> np.ndarray:
        return np.concatenate([self(n).reshape(self.rows, -1) for n in value], axis=1)

    def _of(self, n: Node) -> np.ndarray:
        full = (self.rows, *n.shape)
        args = [self(a) for a in n.args]
        match n.op:
            case "in":
                return self.inputs[n.attr].reshape(full)
            case "vector":
                return self.weights(n.attr).numpy().reshape(n.shape)[None]
            case "const":
                return np.full(full, n.attr)
            case "slice":
                return args[0].reshape(self.rows, -1)[:, n.attr : n.attr + n.width].reshape(full)
            case "cat":
                return self.row(n.args).reshape(full)
            case "spread":
                return args[0].reshape(self.rows, *[1] * len(n.shape))
            case "mm":
                matrix = self.weights(self.reading.matrices[n.attr]).numpy()
                return (args[0].reshape(self.rows, -1, matrix.shape[0]) @ matrix).reshape(full)
            case "view":
                return self._view(args[0], n)
            case "join":
                axis, _ = n.attr
                sizes = [*n.shape[:axis], -1, *n.shape[axis + 1 :]]
                return np.concatenate([a.reshape(self.rows, *sizes) for a in args], axis + 1)
            case "sum" | "amax":
                axes = tuple(i + 1 for i in n.attr) if n.attr else tuple(range(1, args[0].ndim))
                return (np.sum if n.op == "sum" else np.max)(args[0], axis=axes)
        wide = [a.reshape(self.rows, *[1] * len(n.shape)) if a.ndim == 1 else a for a in args]
        return POINTWISE[n.op](*wide)

    def _view(self, x: np.ndarray, n: Node) -> np.ndarray:
        starts, steps = n.attr
        places: list[Any] = [np.full(n.shape, start) for start in starts]
        for i, step in enumerate(steps):
            if step is not None:
                along = np.arange(n.shape[i]).reshape([-1 if j == i else 1 for j in range(len(n.shape))])
                places[step[0]] = places[step[0]] + along * step[1]
        return x[(slice(None), *places)]

    def gradient(self, x: fx.Node | None, given: Tensor) -> Tensor:
        """A weight's gradient; zeros where nothing depends on it."""
        if x is None:
            return torch.zeros_like(given)
        for product in self.reading.products:
            left, right = (self(n).reshape(self.rows * product.rows, -1) for n in (product.left, product.right))
            self.weights.known[product.node] = torch.from_numpy(left.T @ right)
        for total in self.reading.totals:
            self.weights.known[total.node] = total.shaped(torch.from_numpy(self.row(total.value).sum(0)))
        return self.weights(x)


def flat(t: Tensor, node: Any) -> np.ndarray:
    """[B, ...] as the leaf of a graph has it."""
    return t.detach().permute(0, *order_of_leaf(node), *[i for i, s in enumerate(t.shape) if i and s == 1]).numpy()


def lowered(step: Callable[..., Any], drive: Any, state: Any, weights: list[Tensor]) -> None:
    """Lowers one step of float64 trees [B, ...], and compares all it computes with the step itself and autograd."""
    traced = trace(step, tree.map(lambda d: d[0], drive), tree.map(lambda s: s[0], state), weights)
    reading = lower(traced)
    drive, state = (tree.map(lambda t: t.detach().requires_grad_(), leaves) for leaves in (drive, state))
    weights = [w.detach().requires_grad_() for w in weights]
    given = [*tree.leaves(drive), *tree.leaves(state), *weights]
    out, new = step(drive, state, *weights)
    results = [out, *tree.leaves(new)]
    slopes = [torch.randn_like(t) for t in results]
    learns = [(t, s) for t, s in zip(results, slopes, strict=True) if t.requires_grad]
    ends, moved = zip(*learns, strict=True)
    wanted = torch.autograd.grad(ends, given, moved, materialize_grads=True)
    inputs = {("drive", i): flat(t, n) for i, (t, n) in enumerate(zip(tree.leaves(drive), traced.drive, strict=True))}
    inputs |= {("state", i): flat(t, n) for i, (t, n) in enumerate(zip(tree.leaves(state), traced.state, strict=True))}
    inputs |= {("cot", 0): flat(slopes[0], traced.out)}
    inputs |= {("dstate", i): flat(t, n) for i, (t, n) in enumerate(zip(slopes[1:], traced.new_state, strict=True))}
    machine = GraphMachine(
        reading, inputs, WeightValues(zip(traced.weights, [w.detach() for w in weights], strict=True))
    )
    rows = [reading.out, *reading.new_state, *reading.ddrive, *reading.dstate]
    theirs = [*results, *wanted[: len(given) - len(weights)]]
    likes = [traced.out, *traced.new_state, *traced.drive, *traced.state]
    for number, (value, want, like) in enumerate(zip(rows, theirs, likes, strict=True)):
        got = torch.from_numpy(machine.row(value))
        want = torch.from_numpy(np.ascontiguousarray(flat(want, like)).reshape(len(got), -1))
        torch.testing.assert_close(
            got, want, rtol=1e-11, atol=1e-11, equal_nan=True, msg=lambda m, n=number: f"row {n}: {m}"
        )
    for number, (x, w, want) in enumerate(zip(traced.dweights, weights, wanted[-len(weights) :], strict=False)):
        got = machine.gradient(x, w.detach())
        torch.testing.assert_close(
            got, want, rtol=1e-11, atol=1e-11, equal_nan=True, msg=lambda m, n=number: f"weight {n}: {m}"
        )


def _close(got: Tensor, want: Tensor, what: str) -> None:
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11, equal_nan=True, msg=lambda m: f"{what}: {m}")
