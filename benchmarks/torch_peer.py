"""torch.nn's own LSTM, GRU and RNN with the weights of our cells, and one training step of either."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ostinato.cells import cells
from ostinato.recurrent import Cell

MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}
SECOND = "bias_hh_l0"  # torch's second bias, which ours has in part only


def made(name: str, hidden: int) -> Cell[Any]:
    """Our cell with I = H and weights that are the same each time."""
    torch.manual_seed(0)
    return cells[name](hidden, hidden)


def twin(name: str, cell: Cell[Any]) -> nn.Module:
    """torch's module with the same weights: its second bias holds what ours has there (b_n), else zeros."""
    w_in, bias, w_rec = weights(cell)
    hidden = w_rec.shape[1]
    peer = MODULES[name](w_in.shape[1], hidden, batch_first=True)
    second = torch.zeros_like(bias)
    if name == "gru":
        second[2 * hidden :] = cell.get_parameter("b_n")
    same = {"weight_ih_l0": w_in, "bias_ih_l0": bias, "weight_hh_l0": w_rec, SECOND: second}
    with torch.no_grad():
        for key, value in same.items():
            peer.get_parameter(key).copy_(value)
    return peer


def weights(cell: Cell[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The input's weights and bias, and the recurrent weights."""
    w_in, bias, w_rec = (cell.get_parameter(key) for key in ("w_in.weight", "w_in.bias", "w_rec"))
    return w_in, bias, w_rec


def lowered(dtype: str) -> AbstractContextManager[Any]:
    """Mixed precision as torch's own recipes have it; nothing for float32."""
    return torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def read(module: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
    """y [B, T, H]; torch takes ragged rows packed, and gives them padded again."""
    if lengths is None or isinstance(module, Cell):
        return module(x, lengths=lengths)[0] if isinstance(module, Cell) else module(x)[0]
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(module(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def train(
    module: nn.Module, x: Tensor, slope: Tensor, lengths: Tensor | None = None, dtype: str = "float32"
) -> Sequence[Tensor]:
    """One forward and backward pass: y, the gradients of x and of the three weights that both have.

    Gradients of all parameters are computed, as in a training.
    """
    x = x.detach().requires_grad_()
    named = dict(module.named_parameters())
    with lowered(dtype):
        y = read(module, x, lengths)
    found = dict(zip(["x", *named], torch.autograd.grad(y, [x, *named.values()], slope.to(y.dtype)), strict=True))
    own = ("w_in.weight", "w_in.bias", "w_rec") if "w_rec" in named else ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0")
    return [y.detach(), found["x"], *(found[key] for key in own)]


def path(cell: Cell[Any], x: Tensor, dtype: str = "float32", **options: Any) -> str:
    """The backend that `explain` says is chosen."""
    with lowered(dtype):
        return chosen(cell.explain(x, **options))


def chosen(explained: str) -> str:
    """The backend that runs, of a text of `explain`."""
    lines = explained.splitlines()
    return next(line.split(":")[0] for line in lines if line.split(": ", 1)[1].startswith(("chosen", "forced")))


def operations(cell: nn.Module, steps: int, batch: int) -> int:
    """Floating-point operations of the products in a training step: three times those of the forward pass."""
    return 3 * 2 * steps * batch * sum(p.numel() for p in cell.parameters() if p.ndim == 2)
