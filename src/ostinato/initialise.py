"""Initialisers by name, per kind of weight (lecture S2 section 2.1, S3 section 2.3.4).

initialise(model, input="xavier", recurrent="orthogonal", bias="zeros", forget_bias=1.0)
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from .registry import Registry

Fill = Callable[[Tensor, float, Generator | None], Any]
initialisers = Registry("initialiser")  # name -> (fill, whether it takes a number)


_KINDS = {"w_in": "input", "w_rec": "recurrent", "w_out": "output"}  # by how the name of a weight begins


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
    (Saxe et al. 2014). Gates stacked in one matrix are filled one by one.

    Args:
        module: a cell, or anything that holds cells.
        input: `w_in` of cells, and Linear layers outside of cells except the last.
        recurrent: `w_rec` of cells.
        bias: biases of cells and of Linear layers; those of normalisations stay.
        forget_bias: the bias of forget gates, set after `bias`; 1.0 helps (Jozefowicz et al. 2015).
        embedding: nn.Embedding; the row of `padding_idx` stays zero.
        output: `w_out` of cells, and the last Linear outside of cells. Weights shared with an embedding count as that.
        generator: where the random numbers come from, on the parameters' device.

    Raises:
        ValueError: an initialiser is unknown or malformed, or the module has no weight of a kind that is named.
    """
    wanted = {"input": input, "recurrent": recurrent, "bias": bias, "embedding": embedding, "output": output}
    fills = {kind: _parse(text) for kind, text in wanted.items() if text is not None}
    found: set[str] = set()
    with torch.no_grad():
        for kind, weight, blocks in _weights(module):
            found.add(kind)
            for block in weight.chunk(blocks) if kind in fills else ():
                fills[kind](block, generator)
        for part in module.modules():
            if isinstance(part, nn.Embedding) and part.padding_idx is not None and embedding is not None:
                part.weight[part.padding_idx] = 0
            at = getattr(part, "forget_block", None)
            if at is not None and forget_bias is not None:
                found.add("forget_bias")
                _bias(part).chunk(_blocks(part))[at].fill_(forget_bias)
    missing = {*fills, *(["forget_bias"] if forget_bias is not None else [])} - found
    if missing:
        raise ValueError(
            f"{type(module).__name__} has no weight of the kind {', '.join(sorted(missing))}; leave that argument out"
        )


def fill(weight: Tensor, text: str, generator: Generator | None = None) -> None:
    """Fills one tensor in place: `fill(w, "uniform(0.1)")`.

    Raises:
        ValueError: the initialiser is unknown, malformed, or wants a matrix.
    """
    with torch.no_grad():
        _parse(text)(weight, generator)


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


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor, int]]:
    """(kind, weight, gates stacked in it) of each parameter that has a kind, each once."""
    seen: set[Tensor] = set()
    free = [m for path, m in module.named_modules() if isinstance(m, nn.Linear) and not _role(path).startswith("w_")]
    for path, owner in module.named_modules():
        inside = _role(path).startswith("w_")  # a Linear that is one weight of a cell
        cell = module.get_submodule(path.rpartition(".")[0]) if inside else owner
        for name, weight in owner.named_parameters(recurse=False):
            label = _role(path) if inside and name == "weight" else name
            if isinstance(owner, nn.Embedding):
                kind = "embedding"
            elif name == "bias" or name.startswith("b_"):
                kind = "bias" if isinstance(owner, nn.Linear) or hasattr(owner, "blocks") else None
            elif isinstance(owner, nn.Linear) and not inside:
                kind = "output" if owner is free[-1] else "input"
            else:
                kind = next((kind for start, kind in _KINDS.items() if label.startswith(start)), None)
            if kind and weight not in seen:
                seen.add(weight)
                yield kind, weight, _blocks(cell) if kind in ("input", "recurrent") else 1


def _role(path: str) -> str:
    return path.rpartition(".")[2]


def _blocks(cell: nn.Module) -> int:
    blocks = getattr(cell, "blocks", 1)
    assert isinstance(blocks, int)
    return blocks


def _bias(cell: nn.Module) -> Tensor:
    bias = cell.get_submodule("w_in").bias
    assert isinstance(bias, Tensor)
    return bias


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
