"""flax's cells under JAX, with the weights of ours: OptimizedLSTMCell, GRUCell and SimpleCell have the same formulas.

flax keeps one matrix a gate, [D, H]; ours are stacked and transposed.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.recurrent import Cell

from .contest import Contender
from .peers import JAX
from .torch_peer import weights

# XLA takes its number of threads from here when it starts.
os.environ.setdefault("PJRT_NPROC", str(torch.get_num_threads()))

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
from flax import linen  # pyright: ignore[reportMissingImports]

CELLS = {"lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell, "elman": linen.SimpleCell}
GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "elman": ("",)}
BIASED = {"lstm": "h", "gru": "i", "elman": "i"}  # which of its two products carries the bias


def training(name: str, cell: Cell[Any], x: Tensor, slope: Tensor, dtype: str) -> Contender:
    """Forward and backward pass of `linen.RNN` in one jitted call: y, the gradients of x and of all weights."""
    hidden = x.shape[2]
    number = jnp.bfloat16 if dtype == "bfloat16" else jnp.float32
    core = CELLS[name](hidden, dtype=number)
    layer = linen.RNN(core)
    start = jax.tree.map(lambda s: s.astype(number), core.initialize_carry(jax.random.key(0), x[:, 0].shape))

    @jax.jit
    def step(params: Any, x: Any, slope: Any) -> Any:
        y, back = jax.vjp(lambda p, x: layer.apply({"params": p}, x, initial_carry=start), params, x)
        return y, back(slope.astype(y.dtype))

    given = {"cell": _params(name, cell)}, jnp.asarray(x.numpy()), jnp.asarray(slope.numpy())

    def result() -> Sequence[Tensor]:
        y, (params, dx) = step(*given)
        return [_torch(y), _torch(dx), *_stacked(name, params["cell"])]

    return Contender(JAX, lambda: jax.block_until_ready(step(*given)), result)


def _params(name: str, cell: Cell[Any]) -> dict[str, dict[str, Any]]:
    w_in, bias, w_rec = (t.detach().numpy() for t in weights(cell))
    found: dict[str, dict[str, Any]] = {}
    for side, matrix in (("i", w_in), ("h", w_rec)):
        parts = np.split(matrix, len(GATES[name]))
        for gate, part, b in zip(GATES[name], parts, np.split(bias, len(parts)), strict=True):
            biased = {"bias": jnp.asarray(b)} if side == BIASED[name] else {}
            found[side + gate] = {"kernel": jnp.asarray(part.T), **biased}
    if name == "gru":
        found["hn"]["bias"] = jnp.asarray(cell.get_parameter("b_n").detach().numpy())
    return found


def _stacked(name: str, params: Any) -> list[Tensor]:
    """The gradients of w_in, its bias and w_rec, as ours has them."""
    kernels = [[params[side + gate]["kernel"].T for gate in GATES[name]] for side in "ih"]
    biases = [params[BIASED[name] + gate]["bias"] for gate in GATES[name]]
    return [_torch(jnp.concatenate(parts)) for parts in (kernels[0], biases, kernels[1])]


def _torch(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
