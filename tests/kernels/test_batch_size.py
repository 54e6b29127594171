"""A step is derived for any number of rows: it may pass that number on as a size, and not compute with it.

Oracle: the reference walk, and for the refusals that it runs them.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato.kernels import dispatch
from ostinato.recurrence import Recurrence

H = 4
COMPUTES, SQUEEZES, ALONE = "computes with the number of rows", "where the batch has one row", "without the batch"
REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "divides": (lambda g, s, w: (g / g.shape[0], s), COMPUTES),
    "multiplies": (lambda g, s, w: (g * (1 / len(g)), s), COMPUTES),
    "fills": (lambda g, s, w: (g + torch.full((len(g), 1), float(len(g))), s), COMPUTES),
    "rolls": (lambda g, s, w: (g.roll(len(g), -1), s), COMPUTES),
    "numbers rows": (lambda g, s, w: (g * torch.arange(len(g))[:, None], s), "numbers the rows"),
    "a weight shown": (lambda g, s, w: (w[:1], s + g), ALONE),
    "a weight kept": (lambda g, s, w: (g + s, w[:1]), ALONE),
    "squeezes": (lambda g, s, w: ((g + s).squeeze(), s), SQUEEZES),
}
TAKEN: dict[str, Callable[..., Any]] = {
    "view": lambda g, s, w: (g + s.view(s.shape[0], 2, -1).flatten(1), s),
    "new_zeros": lambda g, s, w: (g + torch.cat([s[:, :2], s.new_zeros(s.shape[0], 2)], -1), s),
    "zeros": lambda g, s, w: (g + torch.cat([s[:, :2], torch.zeros(len(s), 2)], -1), s + g),
    "expand": lambda g, s, w: (g + s * w[:1].expand(s.shape[0], -1), s + g),
    "one axis squeezed": lambda g, s, w: (g + s[:, None].squeeze(1), g.tanh()),
}


def call(update: Callable[..., Any], rows: int = 3) -> tuple[Recurrence, tuple[Tensor, ...]]:
    recurrence = Recurrence("rows", lambda g, s: update(g[0], s, g[1]), lambda d, s, w: (d, w))
    drive, state = torch.linspace(-1, 1, rows * 5 * H).view(rows, 5, H), torch.linspace(1, 0, rows * H).view(rows, H)
    return recurrence, (drive, state, torch.linspace(0, 1, 2 * H).view(2, H))


@pytest.mark.parametrize("name", REFUSED)
def test_a_step_that_hangs_on_the_number_of_rows_is_refused_and_the_loop_runs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    update, message = REFUSED[name]
    recurrence, given = call(update)
    assert message in recurrence.explain(*given)
    out, _ = recurrence.scan(*given)
    assert torch.equal(out, torch.stack([step.out for step in recurrence.walk(*given)], dim=1))


@pytest.mark.parametrize("name", TAKEN)
def test_the_number_of_rows_may_be_a_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    for rows in (1, 3):
        recurrence, given = call(TAKEN[name], rows)
        assert "numba: chosen" in recurrence.explain(*given)
        out, last = recurrence.scan(*given)
        steps = list(recurrence.walk(*given))
        torch.testing.assert_close(out, torch.stack([step.out for step in steps], dim=1))
        torch.testing.assert_close(last, steps[-1].state)
