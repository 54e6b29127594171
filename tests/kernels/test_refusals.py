"""A step that no kernel computes is refused in words: what it does, and in which line. Oracle: the reference walk."""

import inspect
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ostinato.kernels import dispatch
from ostinato.recurrence import Recurrence

H = 6
CLOSED, PLACES = torch.ones(H, H), torch.arange(H)


def closes_over(d: Tensor, h: Tensor) -> Tensor:
    return d + h @ CLOSED


def closes_over_places(d: Tensor, h: Tensor) -> Tensor:
    return d + h[:, PLACES]


def chooses_places(d: Tensor, h: Tensor) -> Tensor:
    return d + h[:, torch.tensor([5, 4, 3, 2, 1, 0])]


def flattens(d: Tensor, h: Tensor) -> Tensor:
    return (d + h).view(-1)[:H] * d


def sums_the_batch(d: Tensor, h: Tensor) -> Tensor:
    return d - h.mean(0)


def sees_others(d: Tensor, h: Tensor) -> Tensor:
    return torch.softmax(h @ h.T, -1) @ d


def unknown(d: Tensor, h: Tensor) -> Tensor:
    return d + h.cummax(-1).values


def unknown_of_heads(d: Tensor, h: Tensor) -> Tensor:
    return d + h.view(-1, 2, 3).cummax(-1).values.flatten(1)


def wraps(d: Tensor, h: Tensor) -> Tensor:
    return torch.nextafter(d, h)


REFUSED = {
    closes_over: r"a tensor that it was not given, of shape \[6, 6\]: hand it over as a weight",
    closes_over_places: r"a tensor that it was not given, of shape \[6\]: hand it over as a weight",
    chooses_places: "places of a row are chosen by a tensor or a list; slices, torch.roll and torch.cat are read",
    flattens: "it cuts the batch, or puts it into one axis with features; a step must keep the batch apart",
    sums_the_batch: "rows of one batch meet in a sum",
    sees_others: "rows of one batch do not see each other",
    unknown: "the operation cummax is outside the vocabulary",
    unknown_of_heads: "the operation cummax is outside the vocabulary",
    wraps: "the operation nextafter is outside the vocabulary",
}


@pytest.mark.parametrize("gates", REFUSED, ids=lambda f: f.__name__)
def test_a_refusal_says_what_and_where_and_the_loop_runs(
    gates: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    recurrence = Recurrence("refused", lambda new, h: (new, new), gates)
    drive, state = torch.randn(3, 4, H), torch.randn(3, H)
    (said,) = [line for line in recurrence.explain(drive, state).splitlines() if line.startswith("numba: ")]
    assert re.search(REFUSED[gates], said), said
    code = inspect.getsource(gates).splitlines()[1].strip()
    assert said.endswith(f"({__file__}, line {gates.__code__.co_firstlineno + 1}: {code})"), said
    assert not re.search(r"\d{4}", said.replace(__file__, "")), said
    out, _ = recurrence.scan(drive, state)
    want = torch.stack([step.out for step in recurrence.walk(drive, state)], dim=1)
    assert torch.equal(out, want)
