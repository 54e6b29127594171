"""A function of tensors as a graph of ATen operations: what `make_fx` records, without what it imports.

The tensors lie on the device "meta": they have shapes and dtypes, and no numbers.
"""

import functools
import inspect
import linecache
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from ..._torch import TorchDispatchMode, decomposition, decompositions, node_name, pytree, schema, storage_id
from ..table import Unsupported
from .decompositions import PARTS
from .gradients import gradients_of
from .meta import shaped
from .rewrites import SYNONYMS
from .written import axes_of_memory, region, replaced, taken

_META = torch.device("meta")
_NOT_THE_USERS = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parents[2]}{os.sep}", "<")  # files
_ATEN = torch.ops.aten


class Unrecordable(Exception):
    """The recorder does not follow what the function does; `make_fx` may."""


class Recorder(TorchDispatchMode):
    """Records the operations called under it into `graph`; what has a decomposition is recorded as its parts.

    Args:
        table: decompositions, by operation.
        device: where tensors that the graph makes lie when it runs.
        dtype: of tensor constants.
    """

    def __init__(self, table: Mapping[Any, Callable[..., Any]], device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.table, self.device, self.dtype = table, device, dtype
        self.graph = fx.Graph()
        self._nodes: dict[int, fx.Node | None] = {}  # None: another tensor has overwritten its numbers
        self._sharing: dict[int, list[Tensor]] = {}  # storage -> tensors in it; holding them keeps each id its own

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler, to keep it out of here."""
        return False

    def placeholder(self, like: Tensor, name: str) -> Tensor:
        """A tensor given from outside."""
        tensor = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=_META)
        self._hold(tensor, self.graph.create_node("placeholder", name, name=name))
        return tensor

    def node(self, x: Any) -> Any:
        """What stands for an argument in the graph."""
        if isinstance(x, torch.device):
            return self.device if x == _META else x
        if not isinstance(x, Tensor):
            return x
        if id(x) not in self._nodes:
            if x.is_meta:
                raise Unrecordable("an operation that was not seen has made a tensor")
            what = f"the step uses a tensor that it was not given, of shape {list(x.shape)}: hand it over as a weight"
            raise Unsupported("", what + _written())
        if (node := self._nodes[id(x)]) is None:
            raise Unsupported(
                "", "it writes into a part of a tensor that is no slice; torch.cat and torch.where put parts together"
            )
        return node

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _ATEN.lift_fresh.default:
            return self._constant(args[0])
        if func is _ATEN.detach.default:
            return self._same(func(*args), args[0])
        if func is _ATEN.as_strided.default:
            found = func(*args, **kwargs)
            if (place := region(whole := self._whole(found), found)) is not None:
                with self:
                    part = taken(whole, place)
                return self._same(found, part)
        parts = self.table.get(func) or decomposition(func)
        if parts is not None:
            with self:
                found = self._decomposed(func, parts, args, kwargs)
            if found is not NotImplemented:
                return found
        return self._call(func, args, kwargs)

    def _decomposed(self, func: Any, parts: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        names = [argument.name for argument in schema(func).arguments if argument.is_out]
        into = schema(func).is_mutable and not names
        if into or len(names) > 1 or not _one_dtype((args, kwargs)):
            return parts(*args, **kwargs)
        # Torch's wrappers around the formula settle dtypes and `out`, and import the compiler for it.
        rest = {key: value for key, value in kwargs.items() if key not in names}
        found = inspect.unwrap(parts)(*args, **rest)
        return kwargs[names[0]].copy_(found) if names else found

    def _call(self, func: Any, args: Any, kwargs: Any) -> Any:
        given: Any = (map_aggregate(args, self.node), map_aggregate(kwargs, self.node))
        name = node_name(self.graph, func.overloadpacket.__name__)
        node = self.graph.create_node("call_function", func, *given, name=name)
        node.meta["line"] = _written()
        found = shaped(func, args, kwargs)
        if found is None:
            found = func(*args, **{key: _META if key == "device" else value for key, value in kwargs.items()})
        if schema(func).is_mutable:
            if found is not args[0]:
                raise Unrecordable(f"{func} writes into a tensor that it does not return")
            node = self._overwritten(found, func, node)
        if isinstance(found, Tensor):
            self._hold(found, node)
        elif isinstance(found, (tuple, list)) and all(isinstance(part, Tensor) for part in found):
            node.meta["val"] = type(found)(part.detach() for part in found)
            for i, part in enumerate(found):
                self._hold(part, self.graph.call_function(operator.getitem, (node, i)))
        else:
            raise Unrecordable(f"{func} gives no tensor")
        return found

    def _hold(self, tensor: Tensor, node: fx.Node) -> None:
        node.meta["val"] = tensor.detach()
        self._nodes[id(tensor)] = node
        self._sharing.setdefault(storage_id(tensor), []).append(tensor)

    def _same(self, tensor: Tensor, source: Tensor) -> Tensor:
        self._hold(tensor, self.node(source))
        return tensor

    def _overwritten(self, tensor: Tensor, func: Any, node: fx.Node) -> fx.Node:
        """A tensor has got other numbers, and so have all that share its memory: those that it is a part of too."""
        sharing = [t for t in self._sharing.get(storage_id(tensor), ()) if t is not tensor]
        if not sharing:
            return node
        # Run for real, it must not write into what others read.
        overload = str(func).rpartition(".")[2]
        node.target = getattr(getattr(_ATEN, func.overloadpacket.__name__.removesuffix("_")), overload)
        whole = self._whole(tensor)
        before, written = self._nodes[id(whole)], self._stand_in(tensor, node)
        self._nodes |= {id(t): None for t in sharing}
        if before is not None and (place := region(whole, tensor)) is not None:
            stale = self._stand_in(whole, before)
            with self, torch.no_grad():
                after = replaced(stale, place, written)
                for t in sharing:
                    if (place := region(whole, t)) is not None:
                        self._nodes[id(t)] = self._nodes[id(taken(after, place))]
        return node

    def _whole(self, part: Tensor) -> Tensor:
        """What a tensor is a part of. Autograd takes memory without axes: it gets those of its first part."""
        sharing = self._sharing[storage_id(part)]
        whole = sharing[0]
        node, sizes = self._nodes[id(whole)], axes_of_memory(whole, part)
        if len(sizes) > 1 and node is not None and node.target is _ATEN.full.default:
            with self:
                filled = torch.full(sizes, node.args[1], dtype=whole.dtype, device=_META)  # type: ignore[arg-type]
            whole = whole.view(sizes)
            self._hold(whole, self.node(filled))
            sharing.insert(0, whole)
        return whole

    def _stand_in(self, like: Tensor, node: fx.Node) -> Tensor:
        """A tensor of its own memory for a node."""
        tensor = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=_META)
        self._hold(tensor, node)
        return tensor

    def _constant(self, value: Tensor) -> Tensor:
        """A tensor made of numbers: the operation that makes it again."""
        if value.is_meta or not (value.dim() == 0 or value.is_floating_point()):
            raise Unrecordable("a constant of whole numbers may choose places")
        if value.dim() == 0:
            number = {"dtype": value.dtype, "device": value.device}
            return self._call(_ATEN.scalar_tensor.default, (value.item(),), number)
        tensor = value.to(_META)
        made = {"dtype": self.dtype, "device": self.device}
        self._hold(tensor, self.graph.call_function(torch.tensor, (value.tolist(),), made))
        return tensor


def _written() -> str:
    """The line of the function that is at work, in brackets; "" where all of it is torch's, or ours."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not record.__code__:
        file, number = frame.f_code.co_filename, frame.f_lineno
        if not file.startswith(_NOT_THE_USERS):
            return f" ({file}, line {number}: {linecache.getline(file, number).strip()})"
        frame = frame.f_back
    return ""


def _one_dtype(args: Any) -> bool:
    kinds = {t.dtype for t in pytree.tree_leaves(args) if isinstance(t, Tensor)}
    return len(kinds) == 1 and kinds <= {torch.float32, torch.float64}


def record(function: Callable[..., Any], inputs: Any, gradients: bool, further: Sequence[str]) -> fx.Graph:
    """The graph of (value, its vector-Jacobian product) of function(*inputs), or of the value alone.

    Its placeholders are the leaves of the inputs, then those of the value's gradient; `further` are the names of ATen
    operations to decompose beyond those that torch calls core.

    Raises:
        Unsupported: the function does what no kernel can be derived of.
        Exception: whatever a function raises that cannot be recorded.
    """
    leaves, spec = pytree.tree_flatten(inputs)
    dtype = next(t.dtype for t in leaves if t.is_floating_point())
    recorder = Recorder(_table(tuple(further)), leaves[0].device, dtype)
    given = [recorder.placeholder(t, "inputs_1").requires_grad_(gradients and t.is_floating_point()) for t in leaves]
    # Leaves of autograd's own graph: what `torch.func.vjp` computes, which imports the compiler.
    with torch.set_grad_enabled(gradients):
        with recorder:
            found = pytree.tree_leaves(function(*pytree.tree_unflatten(given, spec)))
        if gradients:
            grad_out = [recorder.placeholder(t, "grad_out_1") for t in found]
            with recorder:
                found += gradients_of(found, given, grad_out)
    recorder.graph.output([recorder.node(t) for t in found])
    return recorder.graph


@functools.cache
def _table(further: tuple[str, ...]) -> dict[Any, Callable[..., Any]]:
    return {**decompositions(further, after_autograd=True), **PARTS, **SYNONYMS}
