"""The laws of a part that streams: it reads in order, and knows of the past only what its state holds."""

import torch
from torch import Tensor, nn

from .. import tree
from .cases import STEPS, Case, law, same


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
