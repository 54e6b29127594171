"""A step and its vector-Jacobian product as one small graph of ATen operations: `torch.fx`, concrete features.

The batch is a size that no feature has, so that it marks the batch axis wherever it appears.
"""

import os
import re
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ..._torch import TorchDispatchMode, pytree
from ...matching import Mismatch, both, matched
from ..table import Unsupported
from .batch import batch_as_number, without_batch
from .functions import Said
from .make_fx import FURTHER, Step, trace_by_make_fx
from .nodes import name_of
from .recorder import record

_ODD_SIZES = (7919, 7927, 7933, 7937, 7949, 7951, 7963, 7993, 8009, 8011)

_LOCK = threading.Lock()  # of torch's tracer, which puts its own functions into torch.nn.Module meanwhile


@dataclass(frozen=True)
class Trace:
    """The joint graph, and what its inputs and outputs are; all trees are flat, in the order of their leaves."""

    graph: fx.Graph
    batch_marker: int  # the size that marks the batch axis
    drive: list[fx.Node]
    state: list[fx.Node]
    weights: list[fx.Node]
    grad_out: list[fx.Node]  # gradient of the output
    dstate: list[fx.Node]  # gradients of the state after the step
    out: fx.Node
    new_state: list[fx.Node]
    ddrive: list[Any]  # gradients; None where nothing depends
    dbefore: list[Any]
    dweights: list[Any]
    of_batch: str = ""  # why the step is not the same for any number of rows, in words


def trace(
    step: Step, drive: Any, state: Any, weights: Sequence[Tensor], gradients: bool = True, replayed: bool = False
) -> Trace:  # fmt: skip
    """Traces a step.

    Args:
        drive, state: trees of one row each: tensors [features], whose values do not matter.
        weights: tensors.
        gradients: False: the step alone; all gradients are None.
        replayed: the step replays a trace, in which the size that marks the batch has become a number.

    Raises:
        Unsupported: the step cannot be traced: it branches on values, say.
    """
    taken = {size for t in (*pytree.tree_leaves((drive, state)), *weights) for size in t.shape}
    rows = next(size for size in _ODD_SIZES if size not in taken)
    step = _built_alike(step)

    def inputs(rows: int) -> Any:
        trees = pytree.tree_map(lambda row: row.new_empty(rows, *row.shape), (drive, state))
        return *trees, *(torch.empty_like(w) for w in weights)

    def graphs(rows: int, gradients: bool) -> fx.Graph:
        return _graph(step, inputs(rows), gradients)

    n_drive, n_state = len(pytree.tree_leaves(drive)), len(pytree.tree_leaves(state))
    with of_batch(rows):
        graph = graphs(rows, gradients)
        on_rows = without_batch(graph, rows, 1 + n_state)
        if not on_rows and not replayed:
            on_rows = batch_as_number(graphs, graph, rows, rows + 1, gradients)
        graph.eliminate_dead_code()
        _check_constants(graph)
    holders = iter([node for node in graph.nodes if node.op == "placeholder"])
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    found: list[Any] = pytree.tree_leaves(output, is_leaf=lambda x: x is None)
    unknown = [] if gradients else [None] * (n_drive + n_state + len(weights))
    results: Any = iter([*found, *unknown])

    def take(nodes: Any, count: int) -> list[Any]:
        return [next(nodes) for _ in range(count)]

    return Trace(
        graph, rows,
        drive=take(holders, n_drive), state=take(holders, n_state), weights=take(holders, len(weights)),
        grad_out=take(holders, int(gradients)), dstate=take(holders, n_state if gradients else 0),
        out=next(results), new_state=take(results, n_state),
        ddrive=take(results, n_drive), dbefore=take(results, n_state), dweights=take(results, len(weights)),
        of_batch=on_rows,
    )  # fmt: skip


def _built_alike(step: Step) -> Step:
    """The step, whose new state has its leaves where the old one has them."""

    def alike(drive: Any, state: Any, *weights: Tensor) -> tuple[Tensor, Any]:
        try:
            with Said():
                out, after = both(step(drive, state, *weights))
            return out, matched(after, state, "the state after the step", "the state before it")
        except Mismatch as error:
            raise Unsupported("", str(error)) from error

    return alike


@contextmanager
def of_batch(rows: int) -> Iterator[None]:
    """What is raised inside says B for the size that marks the batch, and 2 B for its double."""

    def said(number: re.Match[str]) -> str:
        times, rest = divmod(int(number[0]), rows)
        return number[0] if rest or not times else "B" if times == 1 else f"{times} B"

    try:
        yield
    except Unsupported as error:
        if (text := re.sub(r"\d{4,}", said, str(error))) == str(error):
            raise
        raise Unsupported(error.op, text) from error


def _check_constants(graph: fx.Graph) -> None:
    """Data would be frozen into the graph."""
    for node in graph.nodes:
        if node.op != "get_attr":
            continue
        users = {user: None for near in node.users for user in (near, *near.users)}  # it may be copied first
        if chooses := [name for user in users if (name := name_of(user)).startswith(("index", "gather"))]:
            what = "places of a row are chosen by a tensor or a list; slices, torch.roll and torch.cat are read"
            raise Unsupported(chooses[0], what)
        raise Unsupported(
            "", "it makes a tensor that the trace keeps as data; give it as a weight, or as Python numbers"
        )


def _graph(step: Step, inputs: Any, gradients: bool) -> fx.Graph:
    """By our own recorder, which is ready at once; else by torch's, which follows more."""
    try:
        return record(step, inputs, gradients, FURTHER)
    except Unsupported:
        raise
    except Exception:
        # The step is the user's own, and what a tracer cannot follow raises anything; what torch's says is told.
        try:
            with _LOCK:
                return trace_by_make_fx(step, inputs, gradients)
        except Exception as error:
            if "data-dependent" in str(error).lower() or "DataDependent" in type(error).__name__:
                raise Unsupported(
                    "", "its step branches on the values of a tensor; torch.where can be traced"
                ) from error
            first = (str(error).strip() or "no message").splitlines()[0]
            if first.startswith("a leaf Variable that requires grad is being used in an in-place operation"):
                raise Unsupported("", "its step writes into its state, its drive or a weight") from error
            raise Unsupported("", f"its step cannot be traced ({type(error).__name__}: {first})") from error


class _Finder(TorchDispatchMode):
    """Remembers which line of the user's code first called an operation."""

    def __init__(self, name: str, files: frozenset[str]) -> None:
        super().__init__()
        self.name, self.files, self.line = name, files, ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.line and func.overloadpacket.__name__ == self.name:
            for frame in reversed(traceback.extract_stack()):
                if frame.filename in self.files:
                    self.line = f"{frame.filename}, line {frame.lineno}: {(frame.line or '').strip()}"
                    break
        return func(*args, **(kwargs or {}))


def written_at(name: str, step: Step, functions: Sequence[Any], example: Any) -> str:
    """Where `functions` call the ATen operation of that name; "" where they do not by themselves."""
    files = frozenset(f.__code__.co_filename for f in functions if hasattr(f, "__code__"))
    finder = _Finder(name, files)
    with finder, torch.no_grad():
        step(*example)
    return finder.line


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # a thread that the child does not have may hold the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
