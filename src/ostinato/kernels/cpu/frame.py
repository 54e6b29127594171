"""The loops around the stages: blocks of rows, time steps, rows that end, rows that begin anew.

A job is a range of rows of the batch, which it takes in blocks through all time steps; nothing waits for another row.
The states of a block lie in the scratch, in two slots that alternate: the new one is written while the old is read.

    for each block of rows
        for each step                              backward: from the last
            rows that have ended drop out          backward: rows come in at their end
            rows that begin anew take the initial state
            the stages

Rows with lengths are sorted, the longest first: so the rows that are still read are the first ones of their block.

A leaf of the drive that is a product with the input, x W + b, is never held for all steps: forward makes it for some
steps of the rows that are still read, and reads it from the cache.
"""

import textwrap

from .emit import Emitter

TOGETHER = 96  # rows of x, a row of the batch and a step each, that are multiplied at once
HEAD = ("T", "b0", "b1", "block", "multiply", "S", "lengths", "resets")  # 0 for a pointer: there are none


def frame(emitter: Emitter) -> tuple[str, list[str], int, int]:
    """The source of one direction as a Numba function of integers, and the arrays it takes after HEAD.

    Last the numbers of scratch: for each row of a block, and beside them.

    Arrays besides those of the plan: w0.. (weights, the same for all rows), m0.. (packed matrices), and [B, width] of
    each state: forward reads start0.. and initial0.. and writes last0..; backward reads dlast0.., start0.. and
    initial0.., writes dfirst0.. and adds to dinitial0.. and sums. In place of a leaf drive0 that the emitter has
    `inputs` of, forward reads xdrive0, mdrive0 (the packed matrix) and bdrive0 (the bias).
    """
    return _Frame(emitter).made()


class _Frame:
    def __init__(self, emitter: Emitter) -> None:
        self.e, self.plan, self.reverse = emitter, emitter.plan, emitter.reverse
        self.widths = list(enumerate(self.plan.state_widths))
        # Whose value before the step the backward stages read, and room for it where rows begin anew.
        self.before = [i for i, _ in self.widths if self.reverse and f"state{i}" in emitter.used]
        self.room = {i: emitter.take(self.plan.state_widths[i]) for i in self.before}
        self.inside = {} if self.reverse else emitter.inputs
        self.lines: list[str] = []

    def made(self) -> tuple[str, list[str], int, int]:
        e = self.e
        moving = ("S", "next", "dstate", "state")
        used = [b for b in e.used if not b.startswith(moving) and b not in e.inputs]
        series = [b for b in used if b in self.plan.sequences]
        series += [h for h in dict.fromkeys(self.plan.history[i] for i in self.before) if h not in series]
        flat = [b for b in used if b not in self.plan.sequences]
        ends = ("dlast", "dfirst", "start", "initial", "dinitial") if self.reverse else ("start", "last", "initial")
        states = [f"{name}{i}" for i, _ in self.widths for name in ends]
        arrays = [*series, *flat, *states, *(k + leaf for leaf in self.inside for k in "xmb")]
        # An odd number of vectors: rows spread over the cache's sets.
        vectors = e.top // e.lanes
        room = (vectors + 1 - vectors % 2) * e.lanes
        self.put(0, f"def {e.name}({', '.join([*HEAD, *('p_' + a for a in arrays)])}):")
        self.put(1, f"LD = {room}", "S = ptr(S)")
        self.put(1, *(f"{a} = ptr(p_{a})" for a in arrays if a not in series and a != "sums"))
        self.put(1, "for b in range(b0, b1, block):", "    rows = min(block, b1 - b)")
        if "sums" in flat:
            self.put(2, f"sums = at(ptr(p_sums), b * {self.plan.sums})")
        self._backward(series) if self.reverse else self._forward(series)
        wide = sum(e.whole(features) + e.whole(self.plan.sequences[leaf]) for leaf, features in self.inside.items())
        return "\n".join(self.lines) + "\n", arrays, room + wide, (TOGETHER + 1) * wide

    def put(self, steps: int, *texts: str) -> None:
        self.lines += [textwrap.indent(text, "    " * steps) for text in texts]

    def _slots(self, number: str) -> None:
        kind = "dstate" if self.reverse else "state"
        self.put(3, f"odd = {number} & 1")
        for i, _ in self.widths:
            x, y = self.e.slots[i]
            self.put(3, f"{kind}{i} = at(S, {y} if odd else {x})", f"next{i} = at(S, {x} if odd else {y})")

    def _series(self, series: list[str]) -> None:
        self.put(3, *(f"{b} = at(ptr(p_{b}), (b * T + t) * {self.plan.sequences[b]})" for b in series))

    def _forward(self, series: list[str]) -> None:
        self.put(2, "R = rows")
        for i, w in self.widths:
            self.put(2, f"copy(R, {w}, at(start{i}, b * {w}), {w}, at(S, {self.e.slots[i][0]}), LD)")
        if self.inside:
            self._room_for_drive()
        self.put(2, "for t in range(T):")
        self._slots("t")
        self.put(3, "if lengths != 0:", "    while R > 0 and load1(ptr(lengths), b + R - 1) <= t:", "        R -= 1")
        for i, w in self.widths:
            self.put(5, f"copy(1, {w}, at(state{i}, R * LD), LD, at(last{i}, (b + R) * {w}), {w})")
        self.put(4, "if R == 0:", "    break")
        self._if_reset([self._anew(i, w) for i, w in self.widths])
        if self.inside:
            self._drive()
        self._series(series)
        self.put(3, *self.e.bodies)
        for i, w in self.widths:
            x, y = self.e.slots[i]
            self.put(2, f"copy(R, {w}, at(S, {y} if T & 1 else {x}), LD, at(last{i}, b * {w}), {w})")

    def _room_for_drive(self) -> None:
        self.put(2, f"most = max(1, {TOGETHER} // rows)", "steps = 0", "free = at(S, block * LD)")
        for leaf, features in self.inside.items():
            for kind, width in (("in", features), ("out", self.plan.sequences[leaf])):
                room = f"(block + {TOGETHER}) * {self.e.whole(width)}"
                self.put(2, f"{kind}_{leaf} = free", f"free = at(free, {room})")

    def _drive(self) -> None:
        self.put(3, "if t % most == 0:", "    steps = min(most, T - t)")
        for leaf, D in self.inside.items():
            W, x, out = self.plan.sequences[leaf], f"in_{leaf}", f"out_{leaf}"
            ld = self.e.whole(W)
            self.put(
                4,
                "for r in range(R):",
                f"    copy(steps, {D}, at(x{leaf}, ((b + r) * T + t) * {D}), {D}, at({x}, r * steps * {D}), {D})",
                f"copy(R * steps, {W}, b{leaf}, 0, {out}, {ld})",
                f"call_exact(multiply, R * steps, {W}, {D}, {x}, {D}, 1, m{leaf}, {out}, {ld}, 1)",
            )
        for leaf in self.inside:
            self.put(3, f"{leaf} = at(out_{leaf}, t % most * {self.e.whole(self.plan.sequences[leaf])})")

    @staticmethod
    def _anew(i: int, w: int) -> str:
        return f"copy(1, {w}, at(initial{i}, (b + r) * {w}), {w}, at(state{i}, r * LD), LD)"

    def _if_reset(self, lines: list[str]) -> None:
        self.put(3, "if resets != 0:", "    for r in range(R):", "        if load1(ptr(resets), (b + r) * T + t) != 0:")
        self.put(6, *(lines or ["pass"]))

    def _backward(self, series: list[str]) -> None:
        self.put(2, "R = rows if lengths == 0 else 0")
        for i, w in self.widths:
            self.put(2, f"copy(R, {w}, at(dlast{i}, b * {w}), {w}, at(S, {self.e.slots[i][0]}), LD)")
        self.put(2, "for t in range(T - 1, -1, -1):")
        self._slots("(T - 1 - t)")
        self.put(3, "if lengths != 0:", "    while R < rows and load1(ptr(lengths), b + R) > t:")
        for i, w in self.widths:
            self.put(5, f"copy(1, {w}, at(dlast{i}, (b + R) * {w}), {w}, at(dstate{i}, R * LD), LD)")
        self.put(5, "R += 1")
        self.put(4, "if R == 0:", "    continue")
        self._series(series)
        for i in self.before:
            self._before(i)
        self.put(3, *self.e.bodies)
        # What came from the initial state owes its gradient there.
        self._if_reset([
            f"for j in range({w}):\n"
            f"    k = (b + r) * {w} + j\n"
            f"    store1(dinitial{i}, k, load1(dinitial{i}, k) + load1(next{i}, r * LD + j))\n"
            f"    store1(next{i}, r * LD + j, num(0.0))"
            for i, w in self.widths
        ])  # fmt: skip
        for i, w in self.widths:
            x, y = self.e.slots[i]
            self.put(2, f"copy(R, {w}, at(S, {y} if T & 1 else {x}), LD, at(dfirst{i}, b * {w}), {w})")
            self.put(2, f"copy(rows - R, {w}, at(dlast{i}, (b + R) * {w}), {w}, at(dfirst{i}, (b + R) * {w}), {w})")

    def _before(self, i: int) -> None:
        """The state before the step: after the one before it, at the start, or the initial one."""
        w, past = self.plan.state_widths[i], f"ptr(p_{self.plan.history[i]})"
        self.put(
            3,
            f"state{i} = at(start{i}, b * {w}) if t == 0 else at({past}, (b * T + t - 1) * {w})",
            f"state{i}_ld = {w} if t == 0 else T * {w}",
            "if resets != 0:",
            f"    copy(R, {w}, state{i}, state{i}_ld, at(S, {self.room[i]}), LD)",
            f"    state{i} = at(S, {self.room[i]})",
            f"    state{i}_ld = LD",
        )
        self._if_reset([self._anew(i, w)])
