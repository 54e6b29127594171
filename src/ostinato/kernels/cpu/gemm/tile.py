"""The register tile: a small block of a matrix product whose sums never leave the registers.

`tile` holds rows x vectors sums, and for each k multiplies one number of every row of `a` with a row of `w`. Its shape
fills the registers: see `width.tile_shape`.
"""

from typing import Any

import llvmlite.ir as ir

from ..simd.bf16 import add_product, factors
from ..simd.types import INT64, VectorBuilder, emits
from ..simd.width import tile_shape

PANELS = 4  # that one row passes together


@emits("int", "pointer")
def rows_of(b: VectorBuilder, p: Any) -> Any:
    """The rows of the largest tile."""
    return INT64(tile_shape(b.count).rows)


@emits("int", "pointer")
def panel_of(b: VectorBuilder, p: Any) -> Any:
    """The columns of the largest tile: what a panel of a packed matrix is wide."""
    return INT64(tile_shape(b.count).vectors * b.count)


@emits("pointer", "pointer")
def room_of(b: VectorBuilder, p: Any) -> Any:
    """Room on the stack for the largest tile."""
    rows, vectors = tile_shape(b.count)
    with b.ir.goto_entry_block():
        return b.ir.bitcast(b.ir.alloca(b.type, rows * vectors), b.number.as_pointer())


@emits("void", "int", "int", "pointer", "int", "int", "pointer", "int", "int", "pointer", "int", "int")
def tile(b: VectorBuilder, rows: Any, vectors: Any, *args: Any) -> None:
    """tile(rows, vectors, a, rs, ks, w, ldw, K, c, ldc, plus): c[r, j] = sum over k < K of a[r rs + k ks] w[k ldw + j].

    For r < rows and j < vectors * lanes; K >= 1. With plus = 1 the sum is added to c. All of rows * vectors * lanes
    numbers of c are written. What a and w hold may be pairs: see simd/bf16.py.
    """
    most = tile_shape(b.count)
    done = b.ir.append_basic_block("tile.done")
    which = b.ir.add(b.ir.mul(rows, INT64(most.vectors + 1)), vectors)
    switch = b.ir.switch(which, done)
    for r in range(1, most.rows + 1):
        for v in range(1, most.vectors + 1):
            block = b.ir.append_basic_block(f"tile.{r}x{v}")
            switch.add_case(INT64(r * (most.vectors + 1) + v), block)
            b.ir.position_at_end(block)
            _Tile(b, r, v).emit(*args)
            b.ir.branch(done)
    b.ir.position_at_end(done)


@emits("void", "pointer", "int", "pointer", "int", "int", "pointer", "int")
def tile_of_one_row(b: VectorBuilder, a: Any, ks: Any, w: Any, far: Any, K: Any, c: Any, plus: Any) -> None:
    """tile_of_one_row(a, ks, w, far, K, c, plus): `tile` of one row with as many whole panels as `panels_of` says.

    The panels begin `far` numbers one after the other. The sums are the same to the last bit. They are more than a
    tile's row has: so many that the next term of each is never waited for, and one row costs what it takes to read w.
    """
    vectors, zero = tile_shape(b.count).vectors, INT64(0)
    _Tile(b, 1, PANELS * vectors, far).emit(a, zero, ks, w, INT64(vectors * b.count), K, c, zero, plus)


@emits("int", "pointer")
def panels_of(b: VectorBuilder, p: Any) -> Any:
    """The panels of `tile_of_one_row`."""
    return INT64(PANELS)


class _Tile:
    """A tile of fixed shape; with `far`, a vector past a panel's width lies in the next panel, so much further."""

    def __init__(self, b: VectorBuilder, rows: int, vectors: int, far: Any = None) -> None:
        self.b, self.rows, self.vectors, self.far = b, rows, vectors, far
        self.places = [(r, v) for r in range(rows) for v in range(vectors)]

    def emit(self, a: Any, rs: Any, ks: Any, w: Any, ldw: Any, K: Any, c: Any, ldc: Any, plus: Any) -> None:
        build = self.b.ir
        summed, put = build.append_basic_block("summed"), build.append_basic_block("put")
        sums = self._sums(a, rs, ks, w, ldw, K, summed)
        at = {(r, v): build.add(build.mul(ldc, INT64(r)), INT64(v * self.b.count)) for r, v in self.places}
        added_in = build.append_basic_block("plus")
        build.cbranch(build.icmp_signed("!=", plus, INT64(0)), added_in, put)
        build.position_at_end(added_in)
        added = {place: build.fadd(self.b.load(c, at[place]), sums[place]) for place in self.places}
        build.branch(put)
        build.position_at_end(put)
        values = {place: build.phi(self.b.type) for place in self.places}
        for place, phi in values.items():
            phi.add_incoming(sums[place], summed)
            phi.add_incoming(added[place], added_in)
            self.b.store(c, at[place], phi)

    def _sums(self, a: Any, rs: Any, ks: Any, w: Any, ldw: Any, K: Any, after: ir.Block) -> dict[Any, Any]:
        """The loop over k; the code goes on in the block `after`."""
        b, build, start = self.b, self.b.ir, self.b.ir.block
        starts = [build.gep(a, [build.mul(rs, INT64(r))]) for r in range(self.rows)]
        across_at = [self._across(v) for v in range(self.vectors)]
        loop = build.append_basic_block("k")
        build.branch(loop)
        build.position_at_end(loop)
        k, at_a, at_w = steps = [build.phi(INT64) for _ in range(3)]
        old = {place: build.phi(b.type) for place in self.places}
        across = [factors(b, b.load(w, build.add(at_w, place))) for place in across_at]
        down = [factors(b, b.spread(build.load(build.gep(row, [at_a])))) for row in starts]
        new: dict[Any, Any] = dict(old)
        for part in range(len(down[0])):
            new = {(r, v): add_product(b, down[r][part], across[v][part], new[r, v]) for r, v in self.places}
        for phi, step in zip(steps, (INT64(1), ks, ldw), strict=True):
            phi.add_incoming(INT64(0), start)
            phi.add_incoming(build.add(phi, step), loop)
        for place, phi in old.items():
            phi.add_incoming(b.const(0.0), start)
            phi.add_incoming(new[place], loop)
        build.cbranch(build.icmp_signed("<", build.add(k, INT64(1)), K), loop, after)
        build.position_at_end(after)
        return new

    def _across(self, v: int) -> Any:
        """Where vector v of w's first row lies."""
        if self.far is None:
            return INT64(v * self.b.count)
        panel, v = divmod(v, tile_shape(self.b.count).vectors)
        return self.b.ir.add(self.b.ir.mul(self.far, INT64(panel)), INT64(v * self.b.count))
