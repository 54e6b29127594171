"""The laws of a part that reads whole sequences, and the order in which all laws are tried.

A law returns nothing, or raises an AssertionError that names the law, the part and the error.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .. import tree
from .cases import STEPS, Case, broken, gradients, law, same
from .derivatives import law_gradients_are_right, law_torch_func
from .linear import law_linear_means_linear
from .parity import compare
from .streaming import law_any_length, law_causality, law_exported_step_is_step, law_split_is_whole, law_step_is_scan

LENGTHS = (7, 4, 1, 0)
RESETS = ((0, 3), (1, 0), (1, 2), (1, 5), (3, 4))  # (row, step)


@law("a batch is read")
@torch.no_grad()
def law_a_batch_is_read(case: Case) -> None:
    """`initial_state(b)` has b rows in every leaf, and one step [b, 1, ...] is read: (y [b, 1, ...], state)."""
    for rows in (1, 4):
        for leaf in tree.leaves(case.part.initial_state(rows)):
            if leaf.shape[:1] != (rows,):
                got = f"initial_state({rows}) has a leaf of shape {list(leaf.shape)}"
                broken(case, "a batch is read", f"{got}; rows first: axis 0 of every leaf must be {rows}")
        _read(case, "a batch is read", rows, 1)


@law("size is constant")
@torch.no_grad()
def law_size_is_constant(case: Case) -> None:
    """The state after any number of steps has the structure, shapes and dtypes of the initial one; y has x's steps."""
    for rows in (1, 4):
        first = case.part.initial_state(rows)
        want = [(list(leaf.shape), leaf.dtype) for leaf in tree.leaves(first)]
        for t in (1, STEPS):
            _, after = _read(case, "size is constant", rows, t)
            got = [(list(leaf.shape), leaf.dtype) for leaf in tree.leaves(after)]
            if got != want:
                broken(case, "size is constant", f"the state began as {want} and is {got} after {t} steps")
            if tree.structure(after) != tree.structure(first):
                types = f"the state began as a {type(first).__name__} and is a {type(after).__name__}"
                broken(case, "size is constant", f"{types}, or their entries differ so; give it back as it came")


@law("numbers are finite")
@torch.no_grad()
def law_numbers_are_finite(case: Case) -> None:
    """From ordinary numbers come no infinite ones and no NaN."""
    for t in range(1, STEPS + 1):
        y, after = _read(case, "numbers are finite", 4, t)
        for what, values in (("the state", tree.leaves(after)), ("y", [y])):
            if not all(bool(v.isfinite().all()) for v in values):
                broken(case, "numbers are finite", f"{what} is not, after {t} step{'s' if t > 1 else ''}")


def _read(case: Case, name: str, rows: int, t: int) -> tuple[Tensor, Any]:
    y, after = case.part(case.x[:rows, :t])
    if y.shape[:2] != (rows, t):
        broken(case, name, f"y has shape {list(y.shape)}; rows and steps of x come first: [{rows}, {t}, ...]")
    return y, after


@law("nothing is mutated")
def law_nothing_is_mutated(case: Case) -> None:
    """Reading changes neither its inputs nor the part: parameters and buffers stay, and a second reading is the first.

    So a part that draws random numbers in evaluation mode breaks this law, and one that keeps a state to itself.
    """
    given = {"x": case.x, "state": case.state, "lengths": torch.tensor(LENGTHS), "resets": case.x.new_zeros(4, 7) > 0}
    before = tree.map(lambda leaf: leaf.detach().clone(), _held(case, given))
    with torch.no_grad():  # first: a gradient's own error about such a change would hide what has changed
        first = case.part(case.x, case.state)
        case.part(case.x)
        _check_unchanged(case, before, given)
        same(case, "nothing is mutated", **{"a second reading": (case.part(case.x, case.state), first)})
        fresh = (case.part.initial_state(4), case.part.initial_state(4))
        same(case, "nothing is mutated", **{"a second initial state": fresh})
    gradients(case.part, case.x, case.state, lengths=given["lengths"])
    case.part(*given.values())
    _check_unchanged(case, before, given)


def _held(case: Case, given: dict) -> dict[str, list[Tensor]]:
    held = given | dict(case.part.named_parameters()) | dict(case.part.named_buffers())
    return {name: tree.leaves(value) for name, value in held.items()}


def _check_unchanged(case: Case, before: dict[str, list[Tensor]], given: dict) -> None:
    now = _held(case, given)
    if now.keys() != before.keys():
        others = ", ".join(sorted(now.keys() ^ before.keys()))
        broken(case, "nothing is mutated", f"reading added or removed {others}; hold such values in the state")
    for name, leaves in before.items():
        for new, old in zip(now[name], leaves, strict=True):
            if not torch.equal(new, old):
                what = f"reading has changed {name} (a tensor of shape {list(old.shape)})"
                broken(case, "nothing is mutated", f"{what}; compute new tensors, without in-place operations")


@law("rows are independent")
def law_rows_are_independent(case: Case) -> None:
    """Rows picked in another order give those rows' outputs, whoever else is in the batch."""
    y, after = case.part(case.x, case.state)
    for rows in (torch.tensor([2, 0, 3, 1]), torch.tensor([3, 1]), torch.tensor([2])):
        got, state = case.part(case.x[rows], tree.select(case.state, rows))
        same(case, "rows are independent", y=(got, y[rows]), state=(state, tree.select(after, rows)))
    if case.ids is not None:
        return
    for b in range(4):  # beside rows of other sizes and signs
        here = torch.arange(4) == b
        for scale in (-5.0, 0.01):
            x = torch.where(here.view(-1, *[1] * (case.x.ndim - 1)), case.x, scale * case.x)
            others = tree.map(lambda s, scale=scale: scale * s if s.is_floating_point() else s, case.state)
            got, state = case.part(x, tree.where(here, case.state, others))
            alone = torch.tensor([b])
            pair = (tree.select(state, alone), tree.select(after, alone))
            same(case, "rows are independent", y=(got[b], y[b]), state=pair)


@law("padding changes nothing")
def law_padding_changes_nothing(case: Case) -> None:
    """A padded row is the row alone: output, zeros after it, final state, gradients; whatever fills the padding."""
    lengths = torch.tensor(LENGTHS)
    real = (torch.arange(STEPS) < lengths[:, None]).view(4, STEPS, *[1] * (case.x.ndim - 2))
    for fill in (1.0, 1e30, float("nan")) if case.ids is None else (0, case.ids - 1):
        x = torch.where(real, case.x, fill)
        y, after = case.part(x, case.state, lengths)
        for b, n in enumerate(LENGTHS):
            alone = tree.select(case.state, torch.tensor([b]))
            end = alone
            if n:
                want, end = case.part(case.x[b : b + 1, :n], alone)
                same(case, f"padding with {fill} changes nothing", y=(y[b : b + 1, :n], want))
            same(case, "past its length a row's output is zero", y=(y[b, n:], torch.zeros_like(y[b, n:])))
            here = tree.select(after, torch.tensor([b]))
            same(case, f"padding with {fill} keeps the state of the last real step", state=(here, end))
    noise = case.x.flip(1) * 9 + 1 if case.ids is None else case.ids - 1 - case.x
    _, want = gradients(case.part, case.x, case.state, lengths=lengths)
    for fill in (noise, float("nan"), float("inf")) if case.ids is None else (noise,):
        _, got = gradients(case.part, torch.where(real, case.x, fill), case.state, lengths=lengths)
        same(case, "gradients ignore the padding", gradient=(got, want))


@law("a reset begins a sequence")
def law_a_reset_begins_a_sequence(case: Case) -> None:
    """A row cut by resets is several sequences, each from the initial state; a reset past the length is none."""
    resets = torch.zeros(case.x.shape[:2], dtype=torch.bool)
    for b, t in RESETS:
        resets[b, t] = True
    ends = [7, 6, 4, 5]
    for lengths in (None, torch.tensor(ends)):
        y, after = case.part(case.x, case.state, lengths, resets)
        for b, n in enumerate([STEPS] * 4 if lengths is None else ends):
            cuts = [0, *(t for row, t in RESETS if row == b and 0 < t < n), n]
            state = tree.select(case.part.initial_state(4) if resets[b, 0] else case.state, torch.tensor([b]))
            last = state
            for start, end in pairwise(cuts):
                want, last = case.part(case.x[b : b + 1, start:end], state)
                same(case, "a reset begins a sequence", y=(y[b : b + 1, start:end], want))
                state = case.part.initial_state(1)
            here = tree.select(after, torch.tensor([b]))
            same(case, "after a reset the state is that of the last sequence", state=(here, last))


@law("kernels equal the walk")
def law_kernels_equal_the_walk(case: Case) -> None:
    """Each backend that takes the part gives the reference loop's outputs, state and gradients."""
    for row in compare(case.part, case.x.shape[-1], case.ids, case.dtype):
        if not row["ok"]:
            broken(case, "kernels equal the walk", f"{row}")


# A part that breaks one law breaks later ones too: what is simple comes first, so that the first told is the cause.
LAWS: tuple[Callable[[Case], None], ...] = (
    law_a_batch_is_read,
    law_size_is_constant,
    law_numbers_are_finite,
    law_nothing_is_mutated,
    law_rows_are_independent,
    law_causality,
    law_step_is_scan,
    law_split_is_whole,
    law_padding_changes_nothing,
    law_a_reset_begins_a_sequence,
    law_linear_means_linear,
    law_gradients_are_right,
    law_kernels_equal_the_walk,
    law_any_length,
    law_torch_func,
    law_exported_step_is_step,
)
STREAMING = frozenset({law_causality, law_step_is_scan, law_split_is_whole, law_any_length, law_exported_step_is_step})
