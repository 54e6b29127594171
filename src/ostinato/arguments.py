"""What a scan is given: told in one sentence where it does not fit, before anything is computed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import tree
from ._torch import is_wrapped, writes
from .matching import Mismatch


def must_be_driven(drive: Sequence[Tensor], state: Sequence[Tensor]) -> tuple[int, int]:
    """The rows and steps of a scan, from the leaves of its drive (of an affine one its input) and state.

    Raises:
        Mismatch: leaves are missing, or differ in rows or steps.
    """
    if not drive:
        raise Mismatch("the drive holds no tensor; give it at least one leaf [B, T, ...]")
    shapes = [tuple(leaf.shape) for leaf in drive]
    if any(len(shape) < 2 or shape[:2] != shapes[0][:2] for shape in shapes):
        given = ", ".join(map(str, dict.fromkeys(shapes)))
        raise Mismatch(f"each leaf of the drive must be [B, T, ...] with the same rows and steps, and they are {given}")
    rows, steps = shapes[0][:2]
    if steps == 0:
        raise Mismatch(f"the drive must have at least one step, and has shape {shapes[0]}")
    for leaf in state:
        if leaf.ndim == 0 or leaf.shape[0] != rows:
            raise Mismatch(f"each leaf of the state must have {rows} rows, and one is {tuple(leaf.shape)}")
    return rows, steps


def must_stand_for(initial: Sequence[Tensor], state: Sequence[Tensor]) -> None:
    """
    Raises:
        Mismatch: a leaf of what a reset returns to has another shape than the state's.
    """
    for given, leaf in zip(initial, state, strict=True):
        if given.shape != leaf.shape:
            got = f"a leaf of initial is {tuple(given.shape)}, and that of the state {tuple(leaf.shape)}"
            raise Mismatch(f"{got}; a reset returns to a whole state")


def must_mark(rows: int, steps: int, lengths: Any, resets: Any) -> None:
    """
    Raises:
        ValueError: lengths or resets are not what a batch of so many rows and steps has.
    """
    if resets is not None:
        _check_fits("resets", resets, torch.bool, (rows, steps), "one a step")
    if lengths is not None:
        _check_fits("lengths", lengths, torch.int64, (rows,), "one a row")
        # Reading values would break a trace (export, vmap); there the caller vouches for them.
        if not torch.compiler.is_compiling() and type(lengths) is Tensor and _plain(lengths):
            low, high = int(lengths.min()), int(lengths.max())
            if low < 0 or high > steps:
                raise ValueError(f"lengths must lie in 0..{steps}, the padded length, and reach from {low} to {high}")


class Unwritten:
    """What a step is given, which it must leave as it is: the caller has it too."""

    def __init__(self, *given: Any) -> None:
        # A tracer's tensors, and those of a transform, are not the caller's.
        self.leaves = [leaf for part in given for leaf in tree.leaves(part) if type(leaf) is Tensor]
        self.leaves = [leaf for leaf in self.leaves if not leaf.is_inference()]
        self.before = [writes(leaf) for leaf in self.leaves]

    def must_be(self) -> None:
        """
        Raises:
            Mismatch: one of them was written into.
        """
        if [writes(leaf) for leaf in self.leaves] != self.before:
            raise Mismatch(
                "a step must not write into its state, its drive or its gates; write s = s * 0.9 in place of s *= 0.9"
            )


def _check_fits(name: str, given: Tensor, dtype: torch.dtype, shape: tuple[int, ...], each: str) -> None:
    wanted = f"{str(dtype).removeprefix('torch.')} of shape {shape}, {each}"
    if not isinstance(given, Tensor):
        kind = type(given).__name__
        raise ValueError(f"{name} must be a tensor, {wanted}, and came as a {kind}; write torch.tensor({name})")
    if tuple(given.shape) != shape or given.dtype != dtype:
        raise ValueError(f"{name} must be {wanted}, and are {kind_of(given)}")


def kind_of(t: Tensor) -> str:
    return f"{str(t.dtype).removeprefix('torch.')} of shape {tuple(t.shape)}"


def _plain(t: Tensor) -> bool:
    return t.numel() > 0 and not is_wrapped(t)
