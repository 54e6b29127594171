"""Packed matrices and the product with them, as C functions whose addresses kernels are given.

A matrix on the right of a product is packed first: in panels as wide as the tile, row after row, the last panel filled
up with zeros to whole vectors. A kernel that named the product would have it linked and optimised again; by address it
costs nothing.
"""

from torch import Tensor

from ..runtime.jobs import Job, Run, c_function, dtype_of, in_turn, spans
from ..runtime.memory import empty
from ..simd.width import lanes

SMALL = 1 << 16  # numbers of a matrix that one job packs


def product(kind: str) -> int:
    """The address that kernels multiply by: what `call_product` and `call_exact` take."""
    return c_function("gemm.panels.product", kind, "nnnpnnppnnn")


def packed_size(K: int, N: int, kind: str) -> int:
    """How many numbers a packed matrix [K, N] takes."""
    of = lanes(kind)
    return (-(-K // 2) if of.paired else K) * (-(-N // of.count) * of.count)


def pack_jobs(w: Tensor, packed: Tensor, count: int = 1, kind: str | None = None) -> list[Job]:
    """Packs w [K, N], of any strides, into packed [packed_size]."""
    (K, N), of = w.shape, lanes(kind or dtype_of(w))
    assert packed.shape == (packed_size(K, N, of.kind),) and packed.dtype == w.dtype and dtype_of(w) == of.dtype
    function = c_function("gemm.panels.pack", of.kind)
    parts = spans(N, count, of.tile.vectors * of.count)
    return [(function, (i, j, K, N, *w.stride(), w.data_ptr(), packed.data_ptr())) for i, j in parts]


def pack(w: Tensor, run: Run = in_turn, count: int = 1, kind: str | None = None) -> Tensor:
    """w [K, N], float32 or float64 of any strides, as panels [packed_size]; in at most `count` jobs.

    Of the kind "bfloat16" it is read by products of this kind, and holds pairs in the places of float32 numbers.
    """
    K, N = w.shape
    packed = empty((packed_size(K, N, kind or dtype_of(w)),), w.dtype)
    run(pack_jobs(w, packed, count, kind))
    return packed
