"""The laws of a part that streams: it reads in order, and knows of the past only what its state holds."""

import torch
from torch import Tensor, nn

from .. import kernels, tree
from ..recurrent import Cell
from .cases import STEPS, Case, law, same, sequence

SPLITS = (1, 2, 8, 17, 32, 64)  # of 65 steps: even and odd ones on both sides, and what kernels take at once
SPAN, SPANS = 97, 676  # together 65,572 steps: more than 16 bits count


@law("causality")
def law_causality(case: Case) -> None:
    """No output depends on a later input."""
    y, _ = case.part(case.x, case.state)
    for k in (1, 5):
        later = case.x[:, k:] + 1
        x = torch.cat([case.x[:, :k], later if case.ids is None else later % case.ids], dim=1)
        same(case, "causality", y=(case.part(x, case.state)[0][:, :k], y[:, :k]))


@law("step is scan")
def law_step_is_scan(case: Case) -> None:
    """Reading step by step is reading at once."""
    y, after = case.part(case.x, case.state)
    ys, state = [], case.state
    for t in range(STEPS):
        out, state = case.part.step(case.x[:, t], state)
        ys.append(out)
    same(case, "step is scan", y=(torch.stack(ys, dim=1), y), state=(state, after))


@law("split is whole")
def law_split_is_whole(case: Case) -> None:
    """Reading in two chunks, the state carried over, is reading at once."""
    y, after = case.part(case.x, case.state)
    for k in (1, 4):
        first, state = case.part(case.x[:, :k], case.state)
        second, state = case.part(case.x[:, k:], state)
        same(case, "split is whole", y=(torch.cat([first, second], dim=1), y), state=(state, after))


@law("any length")
def law_any_length(case: Case) -> None:
    """No number of steps is special: 1, even, odd, and above 65,536.

    65 steps are read in two chunks of many sizes. A cell that a kernel takes reads 65,572 steps in one row, a new
    sequence every 97: output, state and the gradient of x are those of 676 rows of 97 steps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = sequence(SPLITS[-1] + 1, case.x.shape[-1], case.ids, case.dtype)
        spans = sequence(SPANS * SPAN // 4, case.x.shape[-1], case.ids, case.dtype)
    with torch.no_grad():
        y, after = case.part(x, case.state)
        for k in SPLITS:
            first, state = case.part(x[:, :k], case.state)
            second, state = case.part(x[:, k:], state)
            what = {f"y of {k} and {x.shape[1] - k} steps": (torch.cat([first, second], dim=1), y)}
            same(case, "any length", **what, state=(state, after))
    if isinstance(case.part, Cell) and _has_kernel(case.part, x):
        _check_long(case, spans.flatten(0, 1).unflatten(0, (SPANS, SPAN)))


def _has_kernel(cell: Cell, x: Tensor) -> bool:
    call = cell.call(x, cell.initial_state(len(x)), None, torch.zeros(x.shape[:2], dtype=torch.bool))
    return kernels.choose(call.recurrence, *call.arguments, **call.options) is not None


def _check_long(case: Case, x: Tensor) -> None:
    """x [676, 97, D], or ids, as rows and as one row."""
    resets = torch.zeros(1, SPANS * SPAN, dtype=torch.bool)
    resets[:, ::SPAN] = True
    results = []
    for rows, marks in ((x.flatten(0, 1)[None], resets), (x, None)):
        rows = rows.clone().requires_grad_(rows.is_floating_point())
        y, after = case.part(rows, resets=marks)
        if rows.requires_grad and y.requires_grad:
            weights = torch.linspace(0.5, 40, y.numel(), dtype=y.dtype).sin().view_as(y)
            (slope,) = torch.autograd.grad((y * weights).sum(), rows, materialize_grads=True)
            results.append((y.flatten(0, 1), tree.map(lambda s: s[-1], after), slope.flatten(0, 1)))
        else:
            results.append((y.flatten(0, 1), tree.map(lambda s: s[-1], after), ()))
    (y, state, slope), (want, end, wanted) = results
    same(
        case, "any length", **{f"y of {SPANS * SPAN:,} steps": (y, want)}, state=(state, end), gradient=(slope, wanted)
    )


@law("the exported step is the step")
def law_exported_step_is_step(case: Case) -> None:
    """`torch.export` of the step gives the step."""

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = case.part

        def forward(self, x: Tensor, *leaves: Tensor) -> list[Tensor]:
            y, state = self.part.step(x, tree.like(case.state, leaves))
            return [y, *tree.leaves(state)]

    call = (case.x[:, 0], *tree.leaves(case.state))
    with torch.no_grad():
        exported = torch.export.export(Step(), call, strict=False).module()
        same(case, "the exported step is the step", y=(exported(*call), Step()(*call)))
