"""How a session reads: by one compiled call for the whole model, or by the model itself."""

from typing import Any

import torch
from torch import Tensor, nn

from .. import tree
from ..kernels import REFERENCE, Unsupported
from ..kernels.cpu.runtime.cpu_features import has_avx512_bf16
from ..matching import matched
from ..pure_step import pure_step
from ..recurrent import Recurrent


def way(model: Recurrent[Any], x: Tensor, batch: int, weights: str | None = None) -> "Compiled | Plain":
    """The fastest way that there is for x [B, T, D] or ids [B, T]; it stands at the initial state.

    With weights = "bfloat16" a compiled call holds its matrices rounded.
    """
    try:
        return Compiled.of(model, x, batch, weights)
    except Unsupported as error:
        start = tree.map(lambda s: s.detach().clone(), model.initial_state(batch))
        why = str(error) if weights is None else f"{error} (so its weights are not rounded)"
        return Plain(model, why, start)


def must_round(model: nn.Module, weights: str) -> None:
    """Checks that a compiled call could hold the model's matrices as these weights.

    Raises:
        ValueError: it could not.
    """
    if weights != "bfloat16":
        raise ValueError(f'weights must be None, as the model has them, or "bfloat16", and is {weights!r}')
    kinds = {t.dtype for t in (*model.parameters(), *model.buffers())} - {torch.float32}
    if kinds:
        kind = str(kinds.pop()).removeprefix("torch.")
        raise ValueError(f"weights of bfloat16 are rounded from float32, and the model has {kind}; call model.float()")
    if not has_avx512_bf16():
        raise ValueError(
            "weights of bfloat16 want a processor that multiplies them (AVX512-BF16), and this one does not; "
            "leave weights=None"
        )


class Compiled:
    """A model as one compiled call.

    Raises, when made by `of`:
        Unsupported: there is no such kernel; the message says why.
    """

    def __init__(self, stream: Any, start: Any) -> None:
        self.stream, self._start = stream, start
        self.dtype, self.y_shape, self.tables = stream.kernel.dtype, stream.kernel.y_shape, stream.kernel.tables
        self.ids, self.width = bool(self.tables), stream.kernel.x_width

    @classmethod
    def of(cls, model: Recurrent[Any], x: Tensor, batch: int, weights: str | None) -> "Compiled":
        held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        kinds = {t.dtype for t in held.values()}
        if any(t.device.type != "cpu" for t in held.values()):
            raise Unsupported("", "the model is not on the CPU")
        if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
            raise Unsupported("", "its weights must be float32 or float64, all of one dtype")
        from ..kernels.cpu.step_stream import Stream, StreamKernel

        dtype = kinds.pop()
        start = tree.map(lambda s: s.detach().clone(), model.initial_state(batch))
        row = x[0, 0].to(dtype) if x.is_floating_point() else x[0, 0].long()
        values = [t.detach() for t in held.values()]
        kernel = StreamKernel(pure_step(model, list(held)), row, tree.map(lambda s: s[0], start), values, weights)
        stream = Stream(kernel, batch)
        stream.load(tree.leaves(start))
        return cls(stream, start)

    def read(self, x: Tensor) -> Tensor:
        """x [B, T, D] or ids [B, T] to y [B, T, D'].

        Raises:
            ValueError: x is of another kind or width than the first one, or a token id is out of range.
        """
        if self.ids == x.is_floating_point():
            wanted = "token ids, integers" if self.ids else "floating numbers"
            raise ValueError(f"this session reads {wanted}, and x is {str(x.dtype).removeprefix('torch.')}")
        if self.ids:
            low, high, most = int(x.min()), int(x.max()), min(self.tables) - 1
            if low < 0 or high > most:
                raise ValueError(f"token ids must lie in 0..{most}, and reach from {low} to {high}")
        elif x.shape[2] != self.width:
            raise ValueError(f"this session reads {self.width} features a step, and x has {x.shape[2]}")
        x = x.to("cpu", self.dtype).contiguous()
        y = torch.empty(*x.shape[:2], *self.y_shape, dtype=self.dtype)
        self.stream.run(x.data_ptr(), x.shape[1], y.data_ptr())
        return y

    def state(self) -> Any:
        leaves = zip(self.stream.states, tree.leaves(self._start), strict=True)
        return tree.like(self._start, [mine.view_as(theirs) for mine, theirs in leaves])

    def load(self, state: Any) -> None:
        self.stream.load(tree.leaves(matched(state, self._start, "the state", "this session's")))

    def fork(self) -> "Compiled":
        other = Compiled(type(self.stream)(self.stream.kernel, self.stream.rows), self._start)
        other.load(self.state())
        return other

    def explain(self) -> str:
        kernel = self.stream.kernel
        held = sum(w.numel() * w.element_size() for w in kernel.weights.values())
        products = "" if kernel.executor.kind == kernel.executor.name else f", products of {kernel.executor.kind}"
        return (
            f"numba: the whole step is one compiled call, {kernel.executor.name}{products}: {held:,} bytes of weights, "
            f"{sum(kernel.widths):,} numbers of state for each of {self.stream.rows}"
        )


class Plain:
    """A model as it is, layer by layer."""

    def __init__(self, model: Recurrent[Any], why: str, state: Any) -> None:
        self.model, self.why, self._state = model, why, state

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """x [B, T, D] or ids [B, T] to y [B, T, D']."""
        weight = next(self.model.parameters(), None)
        if weight is not None:
            x = x.to(weight.device, weight.dtype) if x.is_floating_point() else x.to(weight.device, torch.int64)
        y, self._state = self.model(x, self._state)
        return y

    def state(self) -> Any:
        return self._state

    def load(self, state: Any) -> None:
        self._state = state

    def fork(self) -> "Plain":
        return Plain(self.model, self.why, tree.map(torch.clone, self._state))

    def explain(self) -> str:
        return f"{REFERENCE}: the model runs layer by layer, for no kernel is derived of its whole step: {self.why}"
