"""The parts of a model in the order in which data passes them, found from the model alone."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from .. import tree
from .._torch import child_modules
from ..recurrent import Cell, Layer, Recurrent

_TORCH_ROLLS = (nn.RNNBase, nn.RNNCellBase)
_POINTWISE = (
    nn.Linear,
    nn.Embedding,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Identity,
    nn.Dropout,
    nn.Tanh,
    nn.Sigmoid,
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.LeakyReLU,
    nn.Softmax,
    nn.LogSoftmax,
)


class Part(NamedTuple):
    """One box of the model's drawing."""

    name: str  # path inside the model: "body.parts.0"
    kind: str  # "cell": a recurrence; "pointwise": sees one time step; "layer": anything else
    detail: str  # "lstm 200 -> 200"
    parameters: int  # its own; a weight shared with an earlier part is not counted again
    out: int | None = None  # width of its output, where it can be told
    state: tuple[str, ...] = ()  # names of what it carries to the next step, with shapes: "h [B, 200]"
    direction: str = "none"  # of its state in time: "none", "forward", "both"
    carry: str = ""  # what the edge from step to step is called: "W_hh", or "state" where no weight acts on it
    skips: tuple[str, ...] = ()  # paths of the residual connections around it, outermost first
    pooled: bool = False  # reads all steps, and gives one output


def parts(model: nn.Module) -> list[Part]:
    """The parts of `model` in the order of its children; a Residual's norm stands before its part.

    The parameter counts add up to those of the model: shared weights are counted once, at the first part that has them.
    A module with a method `drawn` is one part, described by what that gives: its children stand in no chain.
    """
    return list(_Walk().walk(model, "", ()))


class _Walk:
    def __init__(self) -> None:
        self.counted: set[int] = set()
        self.width: int | None = None  # of what flows into the next part

    def walk(self, module: nn.Module, path: str, skips: tuple[str, ...]) -> Iterator[Part]:
        children = child_modules(module)
        kind = type(module).__name__
        cell = _only_cell(module) if path and kind != "Residual" else module
        if callable(drawn := getattr(module, "drawn", None)):
            yield self.drawn(module, str(drawn()), path, skips)
        elif isinstance(cell, Cell):
            yield self.cell(module, cell, path, skips)
        elif kind == "Pointwise" and "module" in children:
            yield self.leaf(children["module"], path, skips, "pointwise")
        elif kind == "Bidirectional" or not _holds_sequence_parts(module):
            yield self.leaf(module, path, skips, _kind(module))
        else:
            if kind == "Residual":
                skips = (*skips, path)
                children = dict(sorted(children.items(), key=lambda child: child[0] != "norm"))
            for name, child in children.items():
                yield from self.walk(child, f"{path}.{name}" if path else name, skips)
            # Weights that the container holds itself: a tied head's bias, a learnt first state.
            own = dict(module.named_parameters(recurse=False))
            count = self.count(own.values())
            if count:
                if "bias" in own:  # of a softmax that is tied
                    self.width = len(own["bias"])
                detail = ", ".join(f"{name} {list(p.shape)}" for name, p in own.items())
                yield Part(path or kind, "layer", detail, count, self.width, skips=skips)

    def cell(self, module: nn.Module, cell: Cell[Any], path: str, skips: tuple[str, ...]) -> Part:
        d = _input_width(cell) or self.width
        self.width = _output_width(cell, d)
        detail = cell.recurrence.name + _arrow(d, self.width)
        if module is not cell:
            detail += f", {type(module).__name__}"
        count = self.count(module.parameters())
        carry = "W_hh" if cell.weights() else "state"
        return Part(path or detail, "cell", detail, count, self.width, _state(cell), "forward", carry, skips)

    def leaf(self, module: nn.Module, path: str, skips: tuple[str, ...], kind: str) -> Part:
        direction = "both" if type(module).__name__ == "Bidirectional" or _reads_both_ways(module) else "none"
        names = _state(module)
        if direction == "none" and names:
            direction = "forward"
        detail = _describe(module, self.width)
        self.width = _leaf_width(module, self.width)
        every = list(module.parameters())
        count = self.count(every)
        if every and count < sum({id(p): p.numel() for p in every}.values()):
            detail += ", tied"
        if kind == "layer" and direction == "none" and isinstance(module, Recurrent):
            kind = "pointwise"  # nothing to remember
        carry = "" if direction == "none" else "W_hh" if _has_recurrent_weights(module) else "state"
        return Part(path or type(module).__name__, kind, detail, count, self.width, names, direction, carry, skips)

    def drawn(self, module: nn.Module, detail: str, path: str, skips: tuple[str, ...]) -> Part:
        width, pooled = getattr(module, "d_out", None), bool(getattr(module, "pooled", False))
        self.width = width if isinstance(width, int) else None
        return Part(path, "layer", detail, self.count(module.parameters()), self.width, skips=skips, pooled=pooled)

    def count(self, parameters: Any) -> int:
        fresh = {id(p): p.numel() for p in parameters if id(p) not in self.counted}
        self.counted |= fresh.keys()
        return sum(fresh.values())


def _only_cell(module: nn.Module) -> Cell[Any] | None:
    """The cell that `module` is, or that it wraps with no other module beside: dropped weights, a learnt start."""
    while not isinstance(module, Cell):
        inner = [m for m in child_modules(module).values() if not isinstance(m, nn.ParameterList | nn.ParameterDict)]
        if len(inner) != 1 or not isinstance(module, Recurrent) or not isinstance(inner[0], Recurrent):
            return None
        module = inner[0]
    return module


def _holds_sequence_parts(module: nn.Module) -> bool:
    """Whether it is a container to look into: something below it reads a sequence, or it only lists its children."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return True
    return any(isinstance(m, Layer | nn.RNNBase) for m in module.modules() if m is not module)


def _kind(module: nn.Module) -> str:
    if isinstance(module, _TORCH_ROLLS):
        return "cell"
    return "pointwise" if isinstance(module, _POINTWISE) else "layer"


def _reads_both_ways(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNBase) and module.bidirectional


def _has_recurrent_weights(module: nn.Module) -> bool:
    return isinstance(module, _TORCH_ROLLS) or any(cell.weights() for cell in _cells(module))


def _cells(module: nn.Module) -> list[Cell[Any]]:
    return [m for m in module.modules() if isinstance(m, Cell)]


def _arrow(d: int | None, h: int | None) -> str:
    return "" if h is None else f" {h}" if d is None else f" {d} -> {h}"


def _describe(module: nn.Module, width: int | None) -> str:
    kind = type(module).__name__
    match module:
        case nn.Embedding():
            return f"{kind} {module.num_embeddings} -> {module.embedding_dim}"
        case nn.Linear():
            return f"{kind} {module.in_features} -> {module.out_features}"
        case nn.RNNBase():
            both = ", both ways" if module.bidirectional else ""
            layers = f" x {module.num_layers}" if module.num_layers > 1 else ""
            return f"{kind} {module.input_size} -> {_leaf_width(module, width)}{layers}{both}"
        case nn.LayerNorm() | nn.RMSNorm():
            return f"{kind} {' x '.join(map(str, module.normalized_shape))}"
        case nn.Dropout():
            return f"{kind} {module.p:g}"
    if kind == "Bidirectional" and (cells := _cells(module)):
        d = _input_width(cells[0]) or width
        return f"{kind} {cells[0].recurrence.name}{_arrow(d, _leaf_width(module, width))}"
    p = getattr(module, "p", None)  # of ostinato's own dropouts
    return f"{kind} {p:g}" if isinstance(p, float) else kind


def _leaf_width(module: nn.Module, width: int | None) -> int | None:
    match module:
        case nn.Embedding():
            return module.embedding_dim
        case nn.Linear():
            return module.out_features
        case nn.RNNBase():
            return (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    if type(module).__name__ == "Bidirectional":
        wide = [_output_width(cell, _input_width(cell) or width) or 0 for cell in _cells(module)[-2:]]
        merged = sum(wide) if getattr(module, "merge", "concat") == "concat" else max(wide, default=0)
        return merged or None
    return width if isinstance(module, _POINTWISE) or not list(module.parameters()) else None


def _input_width(cell: nn.Module) -> int | None:
    """D from the attribute `d_in`, else from the first linear map of the input."""
    d = getattr(cell, "d_in", None)
    if isinstance(d, int):
        return d
    first = next((m for m in cell.modules() if isinstance(m, nn.Linear)), None)
    return None if first is None else first.in_features


def _output_width(cell: Cell[Any], d: int | None) -> int | None:
    """The width of y, by one step of zeros through the reference; a cell that cannot take it tells its `d_hidden`."""
    p = next((p for p in cell.parameters() if p.is_floating_point()), None)
    if d is not None and p is not None:
        try:
            with torch.no_grad():
                x = p.new_zeros(1, 1, d)
                return int(cell.emit(next(iter(cell.walk(x))).out.unsqueeze(1), x).shape[-1])
        except Exception:  # a cell of somebody else's may want ids or more; a drawing must not end the run's report
            pass
    h = getattr(cell, "d_hidden", None)
    return h if isinstance(h, int) else None


def _state(module: nn.Module) -> tuple[str, ...]:
    """What a part hands to its next step, as "name [B, ...]"."""
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        names = ("h", "c") if isinstance(module, nn.LSTM | nn.LSTMCell) else ("h",)
        return tuple(f"{name} [B, {module.hidden_size}]" for name in names)
    if not isinstance(module, Layer):
        return ()
    try:
        state = module.initial_state(1)
    except Exception:  # as in _output_width
        return ("state",)
    leaves = tree.leaves(state)
    names = getattr(state, "_fields", None)
    if names is None or len(names) != len(leaves):
        names = ("state",) * len(leaves)
    if set(names) == {"state"} and len(names) > 1:
        return ("state",)
    shapes = [", ".join(["B", *map(str, leaf.shape[1:])]) for leaf in leaves]
    return tuple(f"{name} [{shape}]" for name, shape in zip(names, shapes, strict=True))
