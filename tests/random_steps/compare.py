"""What becomes of a step: a derived kernel against the reference loop, in float64."""

import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from ostinato import Recurrence, kernels
from ostinato.kernels.dispatch import BackendError
from plain_machine import Plain

from .program import Call, Case, leaves_of, tree_of

BACKEND = "numba"  # whose kernels are derived
TOLERANCE = 1e-9  # of the largest number of a result, or of 1
NUDGE = 1e-12  # relative: what it changes by more than the tolerance is no number to compare
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, 1e-310, 1e8, -1e8, 30.0, -30.0, 3.0, -3.0, 6.0)
FAULTS = ("wrong", "crash", "hang")


class Outcome(NamedTuple):
    """`kind`: equal, refused, wrong, crash, hang; or one that does not count: uncounted (the loop raises or is not
    finite), unstable (rounding decides)."""  # fmt: skip

    kind: str
    why: str = ""  # without the numbers and names of one step
    gap: float = 0.0


@contextmanager
def plain_kernels(machine: Any) -> Iterator[None]:
    """Kernels derived inside are emitted as ever, and run as plain Python. The one place that knows how."""
    from ostinato.kernels.scan.executors import EXECUTORS

    with mock.patch.dict(EXECUTORS, cpu=lambda dtype, products=None: machine):
        yield


def compare(case: Case, compiled: bool = False, machine: Callable[[int], Any] = Plain) -> Outcome:
    """The outcome of one step, which is compiled or runs as plain Python on `machine(lanes)`."""
    with warnings.catch_warnings(action="ignore"):
        return _compare(case, compiled, machine)


def _compare(case: Case, compiled: bool, machine: Callable[[int], Any]) -> Outcome:
    try:
        want = results(case, "reference")
    except Exception as error:
        return Outcome("uncounted", f"the loop raises {type(error).__name__}")
    if not all(t.isfinite().all() and (t.numel() == 0 or t.abs().max() < 1e100) for _, t in want):
        return Outcome("uncounted", "the loop is not finite")
    try:
        if compiled:
            got = results(case, BACKEND)
        else:
            with plain_kernels(machine(case.call.lanes)):
                got = results(case, BACKEND, f"random {machine.__name__} {case.call.lanes}")
    except BackendError as error:
        return Outcome("refused", reason(str(error).split(", but ", 1)[-1]))
    except Exception as error:
        return Outcome("crash", f"{type(error).__name__}: {reason(str(error))}")
    found = _gap(got, want)
    if found.kind == "wrong" and "another" not in found.why:  # a shape and a dtype are never a matter of rounding
        nudged = results(case, "reference", nudge=NUDGE)
        stable = [_gap([moved], [right]).kind == "equal" for moved, right in zip(nudged, want, strict=True)]
        pairs = [pair for pair, holds in zip(zip(got, want, strict=True), stable, strict=True) if holds]
        firm = _gap([g for g, _ in pairs], [w for _, w in pairs])
        return firm if firm.kind == "wrong" else Outcome("unstable", found.why, found.gap)
    return found


def _gap(got: list[tuple[str, Tensor]], want: list[tuple[str, Tensor]]) -> Outcome:
    """The worst result; the first whose shape or dtype is another."""
    worst = Outcome("equal")
    for (name, g), (_, w) in zip(got, want, strict=True):
        kind = "gradient" if name.startswith("gradient") else name
        if g.shape != w.shape:
            return Outcome("wrong", f"{kind}: another shape", math.inf)
        if g.dtype != w.dtype:
            return Outcome("wrong", f"{kind}: another dtype", math.inf)
        if not w.numel():
            continue
        gap = float(((g - w).abs().max() / w.abs().max().clamp(min=1)).nan_to_num(math.inf, math.inf))
        if gap > max(TOLERANCE, worst.gap):
            worst = Outcome("wrong", kind, gap)
    return worst


def results(case: Case, backend: str, name: str = "random", nudge: float = 0.0) -> list[tuple[str, Tensor]]:
    """Output, final state and every gradient that is wanted, by name."""
    program, call = case.program, case.call
    step = program.step()
    recurrence = Recurrence(name, lambda g, s: g, lambda d, s, *w: step(d, s, *w))
    leaves, initial, options = inputs(case, nudge)
    groups = {kind: [t for name, t in leaves.items() if name[0] == kind] for kind in "dsw"}
    drive, state = (tree_of(k, groups[name]) for k, name in zip(program.kinds, "ds", strict=True))
    if initial:
        options["initial"] = tree_of(program.kinds[1], list(initial.values()))
    with kernels.backend(backend):
        out, last = recurrence.scan(drive, state, *groups["w"], **options)
        found = [("out", out)]
        last = leaves_of(program.kinds[1], last, len(program.states))
        found += [(f"state {i}", t) for i, t in enumerate(last)]
        ends = found[:1] if call.ends == "out" else found[1:] if call.ends == "state" else found
        gen = torch.Generator().manual_seed(call.seed)
        slopes = [torch.randn(t.shape, dtype=torch.float64, generator=gen) for _, t in ends]
        learns = [(t, c.to(t.dtype)) for (_, t), c in zip(ends, slopes, strict=True) if t.requires_grad]
        wanted = {name: t for name, t in (leaves | initial).items() if t.requires_grad}
        gradients = [torch.zeros_like(t) for t in wanted.values()]
        if learns and wanted:
            tensors, weighted = zip(*learns, strict=True)
            gradients = torch.autograd.grad(tensors, [*wanted.values()], weighted, materialize_grads=True)
    found += [(f"gradient {name}", g) for name, g in zip(wanted, gradients, strict=True)]
    return [(name, t.detach()) for name, t in found]


def inputs(case: Case, nudge: float = 0.0) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """(leaves, initial states, options) of a call."""
    program, call = case.program, case.call
    gen = torch.Generator().manual_seed(call.seed)
    aside = torch.Generator().manual_seed(call.seed)  # a nudge leaves the other numbers as they are

    def numbers(*shape: int) -> Tensor:
        x = torch.randn(shape, dtype=torch.float64, generator=gen)
        if call.hostile:
            at = torch.rand(x.shape, generator=gen) < 0.3
            x = torch.where(at, torch.tensor(SPECIAL).double()[torch.randint(len(SPECIAL), x.shape, generator=gen)], x)
        return x * (1 + nudge * torch.randn(x.shape, dtype=torch.float64, generator=aside)) if nudge else x

    leaves = {f"d{i}": laid_out(numbers(call.rows, call.steps, *f), call) for i, f in enumerate(program.drives)}
    leaves |= {f"s{i}": laid_out(numbers(call.rows, *f), call) for i, f in enumerate(program.states)}
    # A matrix keeps the size of what it multiplies, about.
    leaves |= {f"w{i}": numbers(*f) / max(1.0, (f[-1] if f else 1) ** 0.5) for i, f in enumerate(program.weights)}
    initial = {f"initial {i}": numbers(call.rows, *f) for i, f in enumerate(program.states) if call.initial}
    options: dict[str, Any] = {}
    if call.lengths:
        options["lengths"] = torch.randint(0, call.steps + 1, (call.rows,), generator=gen)
    if call.resets:
        options["resets"] = torch.rand(call.rows, call.steps, generator=gen) < 0.4
    for name, t in (leaves | initial).items():
        t.requires_grad_(name not in call.frozen)
    return leaves, initial, options


def laid_out(x: Tensor, call: Call) -> Tensor:
    """The same numbers in memory of another order."""
    if call.layout == "strided":
        return torch.stack([x, torch.full_like(x, math.nan)], dim=-1)[..., 0]
    return x.transpose(0, 1).contiguous().transpose(0, 1) if call.layout == "by steps" and x.dim() > 1 else x


def reason(text: str) -> str:
    """Without what belongs to one step: where it stands, numbers, shapes, names."""
    text = re.sub(r"\s*\((/|<string>|[^()]*line \d+).*$", "", text.strip().split("\n")[0])
    text = re.sub(r"\[[^\]]*\]|\([\d, ]*\)", "[..]", text)
    text = re.sub(r"'[^']*'", "'..'", text)
    return re.sub(r"\b\d+(\.\d+)?(e[+-]?\d+)?\b", "N", text)[:200]
