"""The derived kernels as operators of torch. Oracle: torch's own checks, and central differences."""

import copy
import pickle
from typing import Any

import pytest
import torch
from graphs import MARKS, Own, X, assert_the_same
from torch import Tensor, nn

from ostinato import kernels
from ostinato.cells import MGU, Elman
from ostinato.kernels.scan import autograd, operators, scan
from ostinato.layers import Zoneout


def operator_call(keep: bool) -> tuple[Any, ...]:
    cell = Own(0.5)
    drive, state = [cell.drive(X).value().detach().requires_grad_()], [cell.initial_state(3).requires_grad_()]
    weights = [w.detach().requires_grad_(w.requires_grad) for w in cell.weights()]
    derived = scan.derived(cell.recurrence, drive[0], state[0], weights)
    assert not isinstance(derived, str)
    lengths, resets = torch.tensor([6.0, 4.0, 0.0]), MARKS["resets"].float()
    initial = [torch.rand(3, 5, requires_grad=True)]
    return operators.name_of(derived), keep, lengths, resets, drive, state, weights, initial


@pytest.mark.parametrize("keep", [True, False])
def test_the_operators_keep_torchs_rules(keep: bool) -> None:
    """Schema, aliasing, fake tensors with open sizes, and autograd: by torch's own checks."""
    call = operator_call(keep)
    torch.library.opcheck(torch.ops.ostinato.scan.default, call)
    if keep:
        plain: list[Any] = [None if t is None else [u.detach() for u in t] if isinstance(t, list) else t for t in call]
        results = torch.ops.ostinato.scan(*plain)
        name, _, lengths, resets, drive, *rest = plain
        kept = [results[0] if n == "out" else None for n in operators.find(name).plan.forward_arrays]
        others = iter(results[2:])
        kept = [next(others) if k is None else k for k in kept]
        cots = torch.ones_like(results[0]), [torch.ones_like(results[1])]
        torch.library.opcheck(
            torch.ops.ostinato.scan_backward.default, (name, lengths, resets, drive, *rest, kept, *cots)
        )


@pytest.mark.parametrize("bias", [True, False])
def test_the_product_keeps_torchs_rules(bias: bool) -> None:
    """Its oracle: torch's own linear layer, and central differences for the derivative of a gradient."""
    x = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    call = (x, weight, torch.randn(5, dtype=torch.float64, requires_grad=True) if bias else None)
    torch.library.opcheck(torch.ops.ostinato.linear.default, call)
    cot = torch.randn(3, 6, 5, dtype=torch.float64)
    torch.library.opcheck(torch.ops.ostinato.linear_backward.default, (cot, x.detach(), weight.detach()))
    ends = [t for t in call if t is not None]
    results = torch.ops.ostinato.linear(*call), nn.functional.linear(*call)
    assert_the_same([results[0]], [results[1]], 1e-12)
    got, want = (torch.autograd.grad(y, ends, cot, retain_graph=True) for y in results)
    assert_the_same(list(got), list(want), 1e-12)
    assert torch.autograd.gradgradcheck(lambda *t: torch.ops.ostinato.linear(*t, *[None] * (3 - len(t))), ends)


def test_a_gradient_by_the_operator_has_a_derivative() -> None:
    """By the reference; the oracle is central differences."""
    name, _, lengths, resets, *groups = operator_call(True)
    groups = [[t.double().detach().requires_grad_(t.requires_grad) for t in group] for group in groups]
    cell = Own(0.5)
    derived = scan.derived(cell.recurrence, groups[0][0], groups[1][0], groups[2])
    assert not isinstance(derived, str)
    sizes = [len(g) for g in groups]
    flat = [t for g in groups for t in g]

    def y(*tensors: Tensor) -> Tensor:
        parts = autograd.parts(tensors, sizes)
        return torch.ops.ostinato.scan(operators.name_of(derived), True, lengths.double(), resets.double(), *parts)[0]

    assert name.split("-")[0] == "own"
    assert torch.autograd.gradgradcheck(y, flat, atol=1e-6, rtol=1e-4)


def test_inputs_of_other_widths_have_kernels_of_their_own() -> None:
    """The step is the same, and the product that is made inside is not. Oracle: the reference."""
    for width in (9, 4, 33):
        cell, x = MGU(width, 5).double(), torch.randn(3, 6, width, dtype=torch.float64)
        results = []
        for backend in ("numba", "reference"):
            with kernels.backend(backend):
                results.append(cell(x)[0])
        torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_eager_calls_stay_off_the_dispatcher() -> None:
    part = MGU(4, 5)
    with kernels.backend("numba"), torch.profiler.profile() as profile:
        part(X)[0].sum().backward()
    assert not [event for event in profile.events() or [] if event.name.startswith("ostinato::")]


def test_the_same_step_made_anew_is_derived_once_and_others_are_told_apart() -> None:
    def derived(part: Own) -> Any:
        return scan.derived(part.recurrence, part.drive(X), part.initial_state(3), part.weights())

    assert derived(Own(0.5)) is derived(Own(0.5))
    assert derived(Own(0.5)) is not derived(Own(0.25))


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_DERIVED", {})
    monkeypatch.setattr(scan, "_MOST", 2)
    for leak in (0.5, 0.25, 0.5, 0.75):
        with kernels.backend("numba"), torch.no_grad():
            Own(leak)(X)
    assert len(scan._DERIVED) == 2


def test_a_mistake_of_ours_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_DERIVED", {})

    def wrong(*_: Any, **__: Any) -> Any:
        raise KeyError("of ours")

    monkeypatch.setattr(scan, "ScanKernel", wrong)
    with pytest.raises(KeyError, match="of ours"):
        MGU(4, 5).explain(X)


@pytest.mark.parametrize("activation", ["tanh", "identity", "gelu"])
def test_cells_with_options_are_pickled_and_copied(activation: str) -> None:
    part = Zoneout(Elman(4, 5, activation), 0.2).eval()
    for copied in (pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
        assert torch.equal(copied(X)[0], part(X)[0])
        assert copied.cell.recurrence.name == f"elman_{activation}"
