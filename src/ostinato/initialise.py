"""Initialisers by name, per kind of weight (lecture S2 section 2.1, S3 section 2.3.4).

initialise(model, input="xavier", recurrent="orthogonal", bias="zeros", forget_bias=1.0)
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from . import tree
from .recurrent import Cell
from .registry import Registry, near

Fill = Callable[[Tensor, float, Generator | None], Any]
initialisers = Registry("initialiser")  # name -> (fill, whether it takes a number)

_KINDS = ("input", "recurrent", "output", "bias")  # what a cell's `roles` may say
_NAMED = {"w_in": "input", "w_rec": "recurrent", "w_out": "output"}  # of a Linear outside of cells
_ELEMENTWISE = frozenset({"zeros", "constant", "uniform", "normal", "truncated_normal"})  # gates together as one by one


def initialise(
    module: nn.Module,
    input: str | None = None,
    recurrent: str | None = None,
    bias: str | None = None,
    forget_bias: float | None = None,
    embedding: str | None = None,
    output: str | None = None,
    generator: Generator | None = None,
) -> None:
    """Sets the weights of the kinds that are named, in place, and leaves the others.

    Each is text: "zeros", "constant(x)", "uniform(a)" on [-a, a], "normal(std)", "truncated_normal(std)" (nothing
    beyond two std), "xavier" (Glorot & Bengio 2010, uniform), "he" (He et al. 2015, normal), "orthogonal"
    (Saxe et al. 2014). Gates stacked in one matrix are filled one by one. Of a cell `Cell.roles` says which parameter
    is which, and `Cell.gate_blocks` how many gates are stacked.

    Args:
        module: a cell, or anything that holds cells.
        input: `w_in` of cells, and Linear layers outside of cells except the last.
        recurrent: `w_rec` of cells.
        bias: biases of cells and of Linear layers outside of cells; those of normalisations stay.
        forget_bias: the bias of forget gates, set after `bias`; 1.0 helps (Jozefowicz et al. 2015).
        embedding: nn.Embedding; the row of `padding_idx` stays zero.
        output: `w_out` of cells, and the last Linear outside of cells. Weights shared with an embedding count as that.
        generator: where the random numbers come from, on the parameters' device.

    Raises:
        ValueError: an initialiser is unknown or malformed, the module has no weight of a kind that is named, or a cell
            does not say how many gates are stacked in a matrix that looks so.
    """
    wanted = {"input": input, "recurrent": recurrent, "bias": bias, "embedding": embedding, "output": output}
    fills = {kind: _parse(text) for kind, text in wanted.items() if text is not None}
    together = {kind for kind, text in wanted.items() if text is not None and _name(text) in _ELEMENTWISE}
    found: set[str] = set()
    with torch.no_grad():
        for kind, weight, cell, name in _weights(module):
            found.add(kind)
            if kind in fills:
                stacked = kind in ("input", "recurrent") and kind not in together
                gates = _gates(cell, name, weight) if cell is not None and stacked else 1
                for gate in weight.chunk(gates):
                    fills[kind](gate, generator)
        for part in module.modules():
            if isinstance(part, nn.Embedding) and part.padding_idx is not None and embedding is not None:
                part.weight[part.padding_idx] = 0
            if isinstance(part, Cell) and part.forget_block is not None and forget_bias is not None:
                found.add("forget_bias")
                _forget_bias(part).fill_(forget_bias)
    missing = {*fills, *(["forget_bias"] if forget_bias is not None else [])} - found
    if missing:
        kinds, names = ", ".join(sorted(missing)), missing.intersection(_KINDS)
        raise ValueError(
            f"{type(module).__name__} has no weight of the kind {kinds}; leave that argument out"
            + (", or name the parameter in `roles` of its cell" if names else "")
        )


def fill(weight: Tensor, text: str, generator: Generator | None = None) -> None:
    """Fills one tensor in place: `fill(w, "uniform(0.1)")`.

    Raises:
        ValueError: the initialiser is unknown, malformed, or wants a matrix.
    """
    with torch.no_grad():
        _parse(text)(weight, generator)


def _name(text: str) -> str:
    return text.partition("(")[0].strip()


def _parse(text: str) -> Callable[[Tensor, Generator | None], Any]:
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
    name, inside = (match[1], match[2]) if match else (text, None)
    function, takes = initialisers[name]
    form = f"{name}(0.1)" if takes else name
    try:
        number = float(inside or "") if takes else 1.0
    except ValueError:
        raise ValueError(f"the initialiser {name!r} takes one number, as in {form!r}, and came as {text!r}") from None
    if inside is not None and not takes:
        raise ValueError(f"the initialiser {name!r} takes no number, and came as {text!r}; write {form!r}")
    if not 0 < number < math.inf and name != "constant":
        raise ValueError(f"the initialiser {name!r} takes a width above 0, and came as {text!r}")
    return lambda weight, generator: function(weight, number, generator)


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor, Cell[Any] | None, str]]:
    """(kind, weight, the cell whose it is, its name there) of each parameter that has a kind, each once."""
    seen: set[Tensor] = set()
    inside = {part for cell in module.modules() if isinstance(cell, Cell) for part in cell.modules()}
    outside = {part: path.rpartition(".")[2] for path, part in module.named_modules() if part not in inside}
    free = [part for part, name in outside.items() if isinstance(part, nn.Linear) and not name.startswith("w_")]
    for owner in module.modules():
        cell, kinds = None, {}
        if isinstance(owner, Cell):
            cell, kinds = owner, _roles(owner)
        elif isinstance(owner, nn.Embedding):
            kinds = {"weight": "embedding"}
        elif isinstance(owner, nn.Linear) and outside.get(owner, "").startswith("w_"):
            # Of a score, as attention's `w_memory`: it goes by its name, as a cell's do.
            kinds = {"weight": _NAMED[outside[owner]]} if outside[owner] in _NAMED else {}
            kinds["bias"] = "bias"
        elif isinstance(owner, nn.Linear) and owner in outside:
            kinds = {"weight": "output" if owner is free[-1] else "input", "bias": "bias"}
        given = dict(owner.named_parameters()) if kinds else {}
        for name, weight in given.items():
            if name in kinds and weight not in seen:
                seen.add(weight)
                yield kinds[name], weight, cell, name


def _roles(cell: Cell[Any]) -> dict[str, str]:
    roles, names = cell.roles(), [name for name, _ in cell.named_parameters()]
    for name, role in roles.items():
        if role not in _KINDS:
            raise ValueError(f"{type(cell).__name__}.roles() knows no role {role!r}{near(role, _KINDS)}")
        if name not in names:
            raise ValueError(f"{type(cell).__name__}.roles() names no parameter by {name!r}{near(name, names)}")
    return {**roles}


def _gates(cell: Cell[Any], name: str, weight: Tensor) -> int:
    """How many gates are stacked in the rows of a weight of a cell.

    Raises:
        ValueError: a matrix that looks as if gates were stacked in it, and the cell does not say how many.
    """
    said, widths = cell.gate_blocks, _widths(cell)
    if said == 1 or weight.ndim != 2:
        return said if said and len(weight) % said == 0 else 1
    rows, columns = weight.shape
    if said and rows % said == 0 and (rows not in widths or rows // said in widths):
        return said
    lies = f"{name} of {type(cell).__name__} is [{rows}, {columns}]"
    one = "`gate_blocks = 1` if it is one matrix"
    # A matrix that reads several leaves of the state side by side is as wide as all of them.
    across = columns > rows and rows in widths and columns % rows == 0 and columns != sum(widths)
    if across and cell.roles()[name] == "recurrent":
        raise ValueError(f"{lies}: gates are stacked in rows, as [{columns}, {rows}]; write it so, or {one}")
    width = next((w for w in widths if rows % w == 0), None)
    if said is None and width and rows not in widths:
        many = rows // width
        raise ValueError(
            f"{lies}, {many} times the width {width} of its state in rows, and gates in one matrix are filled one by "
            f"one: write `gate_blocks = {many}` in the class, or {one}"
        )
    return 1


def _widths(cell: Cell[Any]) -> list[int]:
    """How wide the leaves of a cell's state are, the widest first; single numbers only where there is nothing else."""
    leaves = [leaf for leaf in tree.leaves(cell.initial_state(1)) if leaf.is_floating_point()]
    widths = [size for leaf in leaves for size in dict.fromkeys((leaf[0].numel(), leaf.shape[-1]))]
    return sorted((size for size in widths if size > 1), reverse=True) or widths


def _forget_bias(cell: Cell[Any]) -> Tensor:
    blocks, at, bias = cell.gate_blocks, cell.forget_block, dict(cell.named_parameters()).get("w_in.bias")
    if at is None or blocks is None or not 0 <= at < blocks or bias is None or len(bias) % blocks:
        shape = "no w_in.bias" if bias is None else f"a w_in.bias of {len(bias)}"
        raise ValueError(
            f"`forget_block` counts the `gate_blocks` of w_in.bias from 0, and {type(cell).__name__} has "
            f"forget_block = {at}, gate_blocks = {blocks} and {shape}"
        )
    return bias.chunk(blocks)[at]


def _matrix(function: Callable[[Tensor, Generator | None], Any]) -> Fill:
    def filled(weight: Tensor, number: float, generator: Generator | None) -> None:
        if weight.ndim != 2:
            raise ValueError(
                f"xavier, he and orthogonal want a matrix, and this weight has shape {list(weight.shape)}; "
                "use normal(std) or uniform(a)"
            )
        function(weight, generator)

    return filled


def _orthogonal(weight: Tensor, generator: Generator | None) -> None:
    # In float64, so that rounding to the weight's dtype is the only error.
    exact = torch.empty_like(weight, dtype=torch.float64)
    weight.copy_(nn.init.orthogonal_(exact, generator=generator))


initialisers.update(
    zeros=(lambda w, _, g: w.zero_(), False),
    constant=(lambda w, x, g: w.fill_(x), True),
    uniform=(lambda w, a, g: w.uniform_(-a, a, generator=g), True),
    normal=(lambda w, std, g: w.normal_(0.0, std, generator=g), True),
    truncated_normal=(lambda w, std, g: nn.init.trunc_normal_(w, 0.0, std, -2 * std, 2 * std, generator=g), True),
    xavier=(_matrix(lambda w, g: nn.init.xavier_uniform_(w, generator=g)), False),
    he=(_matrix(lambda w, g: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g)), False),
    orthogonal=(_matrix(_orthogonal), False),
)
