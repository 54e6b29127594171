"""Values place by place: operands get the same axes, in one order."""

from collections.abc import Callable, Sequence

from ..ir.graph import MOST, Graph, Node
from .values import Axis, Dim, Part, Value, cut, joined, merged, order_of, padded
from .views import Step, view


def each(graph: Graph, sizes: Sequence[int], operands: Sequence[Value], meaning: Callable[..., Node]) -> Value:
    """Place by place: `meaning` of nodes of one shape, or of single numbers."""
    operands = [padded(v, len(sizes)) for v in operands]
    several = [v for v in operands if len(v.parts) > 1]
    if several and any(v.along != several[0].along for v in several):
        operands = [joined(graph, v) for v in operands]
        several = []
    if not several:
        return Value((_each_part(graph, [v.parts[0] for v in operands], meaning),))
    dim, begin, parts = several[0].along, 0, []
    for end in sorted({end for v in several for end in v.cuts}):
        part = [v if v.sizes[dim] == 1 else cut(graph, v, dim, begin, end - begin) for v in operands]
        parts.append(_each_part(graph, [v.parts[0] for v in part], meaning))
        begin = end
    found = Value(tuple(parts), dim)
    return joined(graph, found) if len(parts) > MOST else found


def _each_part(graph: Graph, parts: Sequence[Part], meaning: Callable[..., Node]) -> Part:
    common, parts = _common(graph, parts)
    axes = [(d, i) for d, dim in enumerate(common) for i, axis in enumerate(dim) if not axis.batch]
    steps = [[None if not p.dims[d] else p.dims[d][i].step for d, i in axes] for p in parts]
    order = _order([common[d][i].size for d, i in axes], parts, steps)
    shape = tuple(common[axes[k][0]][axes[k][1]].size for k in order)
    nodes = [
        view(graph, p.node, p.starts, [along[k] for k in order], shape) for p, along in zip(parts, steps, strict=True)
    ]
    node = meaning(*nodes)
    where = {axes[k]: n for n, k in enumerate(order)}
    dims = tuple(
        tuple(
            axis if axis.batch else Axis(axis.size, (where[d, i], 1) if node.shape else None)
            for i, axis in enumerate(dim)
        )
        for d, dim in enumerate(common)
    )
    return Part(node, (0,) * len(node.shape), dims)


def _order(sizes: Sequence[int], parts: Sequence[Part], steps: Sequence[Sequence[Step | None]]) -> list[int]:
    """In which order a result's axes lie: as those of an operand that has all of them, or else the longest last."""
    for part, along in zip(parts, steps, strict=True):
        if None not in along and len(part.node.shape) == len(along):
            order = sorted(range(len(along)), key=lambda k: (along[k][0], -abs(along[k][1])))  # type: ignore[index]
            if [along[k][0] for k in order] == list(range(len(along))):  # type: ignore[index]
                return order
    return order_of(sizes) if all(size > 1 for size in sizes) else list(range(len(sizes)))


def _common(graph: Graph, parts: Sequence[Part]) -> tuple[tuple[Dim, ...], list[Part]]:
    """The axes of the dimensions of what operands make together; and the operands with these, or none, in each."""
    parts, common = list(parts), list[Dim]()
    for d in range(len(parts[0].dims)):
        kinds = list(dict.fromkeys(tuple((a.size, a.batch) for a in p.dims[d]) for p in parts if p.dims[d]))
        if len(kinds) > 1:
            fine = _refined(kinds)
            if fine is None:
                parts = [merged(graph, p, d) if len(p.dims[d]) > 1 else p for p in parts]
            else:
                parts = [_split(p, d, fine) if p.dims[d] else p for p in parts]
        dims = [p.dims[d] for p in parts if p.dims[d]]
        common.append(tuple(Axis(a.size, None, a.batch) for a in dims[0]) if dims else ())
    return tuple(common), parts


def _refined(kinds: Sequence[Sequence[tuple[int, bool]]]) -> list[tuple[int, bool]] | None:
    """Axes that those of each kind are products of; None where cuts lie apart."""
    fine: list[tuple[int, bool]] = []
    rests = [list(kind) for kind in kinds]
    while all(rests):
        small, batch = min(rest[0] for rest in rests)
        fine.append((small, batch))
        for rest in rests:
            size, mine = rest[0]
            if mine != batch or size % small:
                return None
            rest[:1] = [(size // small, mine)] if size > small else []
    return fine if not any(rests) else None


def _split(part: Part, dim: int, fine: Sequence[tuple[int, bool]]) -> Part:
    """A part with finer axes in a dimension; they are products."""
    axes, left = list[Axis](), list(part.dims[dim])
    for size, _ in fine:
        axis = left.pop(0)
        if axis.size > size:
            inner = axis.size // size
            left.insert(0, axis._replace(size=inner))
            axis = Axis(size, axis.step and (axis.step[0], axis.step[1] * inner), axis.batch)
        axes.append(axis)
    return part._replace(dims=(*part.dims[:dim], tuple(axes), *part.dims[dim + 1 :]))
