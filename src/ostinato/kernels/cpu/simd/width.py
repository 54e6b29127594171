"""The vectors that this machine's registers hold, in numbers: what is known before anything is compiled."""

import functools
import os
import platform
from dataclasses import dataclass
from typing import NamedTuple

import llvmlite.binding as llvm

LARGEST = 16  # lanes


class Tile(NamedTuple):
    """The largest register tile: see gemm/tile.py."""

    rows: int
    vectors: int


@dataclass(frozen=True)
class Lanes:
    """The vectors of one kind."""

    kind: str
    dtype: str
    count: int  # numbers in a vector
    paired: bool  # whether products are of pairs: see bf16.py

    @property
    def tile(self) -> Tile:
        return tile_shape(self.count)


@functools.cache
def lanes(kind: str) -> Lanes:
    """The vectors that this machine's registers hold of "float32" or "float64" numbers.

    "bfloat16" means float32 numbers whose products are of factors rounded to bfloat16: see bf16.py.
    The environment variable OSTINATO_LANES gives another number of lanes: 1 works on any machine. Raises ValueError if
    it is no power of two up to 16, or if there are no vectors of the kind.
    """
    if kind not in ("float32", "float64", "bfloat16"):
        raise ValueError(f"no vectors of {kind} are written; use float32 or float64, or bfloat16 for products")
    count, paired = _asked() or _register_bytes() // (8 if kind == "float64" else 4), kind == "bfloat16"
    return Lanes(kind, "float32" if paired else kind, count, paired)


def _asked() -> int | None:
    text = os.environ.get("OSTINATO_LANES", "")
    if not text:
        return None
    if not text.isdecimal() or int(text) not in (1, 2, 4, 8, LARGEST):
        raise ValueError(f"OSTINATO_LANES is {text!r}; set it to 1, 2, 4, 8 or 16, or leave it out")
    return int(text)


def tile_shape(count: int) -> Tile:
    """The largest tile of vectors of so many lanes that this machine's registers hold.

    24 sums fill AVX-512's or NEON's 32 registers, and 12 the 16 of AVX2 and SSE; the others hold the factors.
    """
    if count == 1:
        return Tile(4, 4)
    return Tile(6, 4) if _registers() == 32 else Tile(4, 3)


@functools.cache
def _registers() -> int:
    """How many vector registers there are."""
    many = platform.machine().lower() in ("aarch64", "arm64") or llvm.get_host_cpu_features().get("avx512f")
    return 32 if many else 16


@functools.cache
def _register_bytes() -> int:
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16
