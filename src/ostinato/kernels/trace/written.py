"""Which part of a tensor another one is that shares its memory: so that writing into it can be said without writing."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_ATEN = torch.ops.aten


class Region(NamedTuple):
    """Places of a whole, and the axes that they have in a part."""

    places: tuple[range, ...]  # along each axis of the whole
    axes: tuple[tuple[int, ...], ...]  # numbers of the part's axes that run along each axis of the whole
    sizes: tuple[int, ...]  # of these, where one that runs along several of the whole is several
    shape: tuple[int, ...]  # of the part


def region(whole: Tensor, part: Tensor) -> Region | None:
    """The part's places in the whole; None where they are no regular ones of its axes."""
    longer = [d for d, size in enumerate(whole.shape) if size > 1]
    order = sorted(longer, key=lambda d: -whole.stride(d))
    if any(whole.stride(d) <= 0 for d in order):
        return None
    starts, left = [0] * whole.dim(), int(part.storage_offset() - whole.storage_offset())
    for d in order:
        starts[d], left = divmod(left, int(whole.stride(d)))
    walks: list[list[tuple[int, int, int]]] = [[] for _ in whole.shape]
    axes = [
        axis
        for size, stride in zip(part.shape, part.stride(), strict=True)
        if size > 1
        for axis in _apart(whole, order, int(size), int(stride))
    ]
    for axis, (size, stride) in enumerate(axes):
        along = next((d for d in order if stride >= whole.stride(d) and stride % whole.stride(d) == 0), None)
        if along is None:
            return None
        walks[along].append((stride // whole.stride(along), size, axis))
    places = []
    for d, walk in enumerate(walks):
        walk.sort(reverse=True)
        if any(a[0] != b[0] * b[1] for a, b in itertools.pairwise(walk)):
            return None
        step, count = walk[-1][0] if walk else 1, math.prod(size for _, size, _ in walk)
        places.append(range(starts[d], starts[d] + (count - 1) * step + 1, step))
    if left or any(p.start < 0 or p[-1] >= size for p, size in zip(places, whole.shape, strict=True)):
        return None
    numbers = tuple(tuple(axis for *_, axis in walk) for walk in walks)
    return Region(tuple(places), numbers, tuple(size for size, _ in axes), tuple(part.shape))


def _apart(whole: Tensor, order: Sequence[int], size: int, stride: int) -> list[tuple[int, int]]:
    """An axis as several, (size, stride), where it runs on from one axis of the whole to the next."""
    for d in order:
        span = int(whole.shape[d] * whole.stride(d))
        fits = stride >= whole.stride(d) and stride % whole.stride(d) == 0
        if fits and stride < span < stride * size and span % stride == 0 and size % (span // stride) == 0:
            inner = span // stride
            return [*_apart(whole, order, size // inner, span), (inner, stride)]
    return [(size, stride)]


def axes_of_memory(whole: Tensor, part: Tensor) -> list[int]:
    """The sizes of axes, if memory without any is to have those of a part; [] where they do not fit."""
    steps = sorted({stride for stride, size in zip(part.stride(), part.shape, strict=True) if size > 1}, reverse=True)
    steps = [step for step in steps if step > 1]
    ends = [len(whole), *steps] if whole.dim() == 1 else []
    if any(a % b for a, b in itertools.pairwise(ends)):
        return []
    return [a // b for a, b in zip(ends, [*steps, 1], strict=False)]


def _partial(whole: Tensor, r: Region) -> list[int]:
    return [d for d, (places, size) in enumerate(zip(r.places, whole.shape, strict=True)) if len(places) < size]


def _cut(whole: Tensor, places: range, d: int) -> Tensor:
    return _ATEN.slice.Tensor(whole, d, places.start, places.stop, places.step)


def taken(whole: Tensor, r: Region) -> Tensor:
    """The part."""
    for d in _partial(whole, r):
        whole = _cut(whole, r.places[d], d)
    flat = [axis for axes in r.axes for axis in axes]
    apart = whole.reshape([r.sizes[axis] for axis in flat])
    return apart.permute([flat.index(axis) for axis in sorted(flat)]).reshape(r.shape)


def replaced(whole: Tensor, r: Region, part: Tensor) -> Tensor:
    """The whole with another part."""
    flat = [axis for axes in r.axes for axis in axes]
    apart = part.reshape([r.sizes[axis] for axis in sorted(flat)])
    turned = apart.permute([sorted(flat).index(axis) for axis in flat])
    return _put(whole, turned.reshape([len(places) for places in r.places]), r, _partial(whole, r))


def _put(whole: Tensor, part: Tensor, r: Region, partial: Sequence[int]) -> Tensor:
    if not partial:
        return part
    d, *rest = partial
    places = r.places[d]
    inner = _put(_cut(whole, places, d), part, r, rest) if rest else part
    return _ATEN.slice_scatter.default(whole, inner, d, places.start, places.stop, places.step)
