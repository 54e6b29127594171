"""States of any structure: the leaves are matched by it, in the kernel as in the loop, the oracle."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from ostinato import tree
from ostinato.kernels import dispatch
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell, Recurrent
from ostinato.stream import Session

B, T, H = 3, 6, 4


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


class Plain:
    pass


def step(d: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (d + a - 0.5 * b).tanh(), 0.9 * b + 0.1 * a


def of_dict(d: Tensor, s: Any) -> Any:
    a, b = step(d, s["a"], s["b"])
    return a, {"b": b, "a": a}  # in the other order


def of_tuple(d: Tensor, s: Any) -> Any:
    a, b = step(d, *s)
    return a, type(s)((a, b)) if not isinstance(s, Pair) else Pair(a, b)


def of_nested(d: Tensor, s: Any) -> Any:
    a, b = step(d, s[0]["a"], s[1][0])
    return b, ({"a": a}, [b])


def leaves(t: Any) -> dict[str, Tensor]:
    if isinstance(t, dict):
        return {str(key): part for key, part in sorted(t.items())}
    return dict(enumerate(tree.leaves(t)))  # type: ignore[return-value]


A, C = torch.linspace(-1, 1, B * H).view(B, H), torch.linspace(2, 0, B * H).view(B, H)
FORMS: dict[str, tuple[Any, Any, Any]] = {  # update, state, initial
    "tuple": (of_tuple, (A, C), (C, A)),
    "list": (of_tuple, [A, C], [C, A]),
    "NamedTuple": (of_tuple, Pair(A, C), Pair(C, A)),
    "dict": (of_dict, {"a": A, "b": C}, {"b": A, "a": C}),
    "nested": (of_nested, ({"a": A}, [C]), ({"a": C}, [A])),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"lengths": torch.tensor([2, 6, 4])},
    {"resets": torch.arange(B * T).view(B, T) % 4 == 2},
]


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "".join(o) or "plain")
@pytest.mark.parametrize("form", FORMS)
def test_leaves_are_matched_by_structure(form: str, options: dict[str, Any]) -> None:
    update, state, initial = FORMS[form]
    if "resets" in options:
        options = {**options, "initial": initial}
    recurrence, drive = Recurrence("forms", update), torch.linspace(-1, 1, B * T * H).view(B, T, H)
    assert "numba: chosen" in recurrence.explain(drive, state, **options)
    out, last = recurrence.scan(drive, state, **options)
    steps = list(recurrence.walk(drive, state, **options))
    torch.testing.assert_close(out, torch.stack([s.out for s in steps], dim=1))
    assert type(last) is type(state) is type(steps[-1].state)
    torch.testing.assert_close(leaves(last), leaves(steps[-1].state))


def test_a_dict_in_another_order_is_the_loop_written_by_hand() -> None:
    recurrence, drive = Recurrence("hand", of_dict), torch.linspace(-1, 1, B * T * H).view(B, T, H)
    _, last = recurrence.scan(drive, {"a": A, "b": C})
    a, b = A, C
    for t in range(T):
        a, b = step(drive[:, t], a, b)
    torch.testing.assert_close(last, {"a": a, "b": b})


MISTAKES: dict[str, tuple[Any, Any, Any, str]] = {  # update, state, initial, message
    "tuple to list": (
        lambda d, s: (d, [s[0], d]), (A, C), None,
        r"the state after the step is \[tensor, tensor\], and the state before it is \(tensor, tensor\)",
    ),
    "another key": (lambda d, s: (d, {"c": d}), {"a": A}, None, r"\{'c': tensor\}, and the state before it is \{'a'"),
    "None after": (lambda d, s: (d, (s[0], None)), (A, C), None, r"the state after the step is \(tensor, None\)"),
    "None before": (lambda d, s: (d, s), (A, None), None, "a leaf of the state is None, and must be a tensor"),
    "no tree": (lambda d, s: (d, s), Plain(), None, "a leaf of the state is of the type Plain, and must be a tensor"),
    "out is a dict": (lambda d, s: ({"y": d}, s), A, None, "the output of a step must be one tensor"),
    "one tensor": (lambda d, s: d, A, None, r"a step must give \(output, next state\), and this one gives tensor"),
    "other rows": (lambda d, s: (d, s), A[:1], None, r"each leaf of the state must have 3 rows, and one is \(1, 4\)"),
    "initial of another shape": (
        lambda d, s: (d, s), A, torch.zeros(B, 1), r"a leaf of initial is \(3, 1\), and that of the state \(3, 4\)",
    ),
    "writes its state": (lambda d, s: (s.mul_(0.5), d), A.clone(), None, "must not write into its state, its drive"),
    "writes its drive": (lambda d, s: (d.mul_(0.5), s), A, None, "must not write into its state, its drive"),
    "another initial": (lambda d, s: (d, s), (A, C), [A, C], r"initial is \[tensor, tensor\], and the state is"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_another_structure_is_told_alike_by_loop_and_scan(name: str) -> None:
    update, state, initial, message = MISTAKES[name]
    recurrence, drive = Recurrence("mistake", update), torch.zeros(B, T, H)
    options = {} if initial is None else {"initial": initial, "resets": torch.zeros(B, T, dtype=torch.bool)}
    for call in (recurrence.scan, lambda *args, **named: list(recurrence.walk(*args, **named))):
        with pytest.raises(ValueError, match=message):
            call(drive, state, **options)


CALLS: dict[str, tuple[Any, dict[str, Any], str]] = {  # drive, options, message
    "other steps": ((torch.zeros(B, T, H), torch.zeros(B, T - 1, H)), {}, r"the same rows and steps, and they are"),
    "other rows": ((torch.zeros(B, T, H), torch.zeros(1, T, H)), {}, r"\(3, 6, 4\), \(1, 6, 4\)"),
    "no drive": ((), {}, "the drive holds no tensor; give it at least one leaf"),
    "no steps": (torch.zeros(B, 0, H), {}, r"must have at least one step, and has shape \(3, 0, 4\)"),
    "no features": (torch.zeros(B), {}, r"must be \[B, T, ...\]"),
    "long": (torch.zeros(B, T, H), {"lengths": torch.tensor([9, 1, -1])}, "lengths must lie in 0..6"),
    "a list": (torch.zeros(B, T, H), {"lengths": [3, 2, 1]}, "lengths must be a tensor, int64 .* came as a list"),
    "numbers": (torch.zeros(B, T, H), {"resets": torch.zeros(B, T)}, "resets must be bool of shape .* are float32"),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_fit_is_told_alike_by_loop_and_scan(name: str) -> None:
    drive, options, message = CALLS[name]
    recurrence = Recurrence("mistake", lambda d, s: ((d if isinstance(d, Tensor) else sum(d)) + s, s))
    for call in (recurrence.scan, lambda *args, **named: list(recurrence.walk(*args, **named))):
        with pytest.raises(ValueError, match=message):
            call(drive, A, **options)


@pytest.mark.parametrize("mistake", ["weights", "recurrence"])
def test_a_cell_that_is_written_wrongly_is_told(mistake: str) -> None:
    class Wrong(Cell[Tensor]):
        recurrence = Recurrence("wrong", lambda d, s: (d, s), lambda d, s, w: d + s @ w)

        def initial_state(self, batch: int) -> Tensor:
            return torch.zeros(batch, H)

        def drive(self, x: Tensor) -> Tensor:
            return x

    if mistake == "weights":
        Wrong.weights = lambda self: torch.eye(H)
    else:
        Wrong.recurrence = lambda d, s: (d, s)
    with pytest.raises(TypeError, match=f"{mistake}.* (must give a tuple|write `recurrence = Recurrence)"):
        Wrong()(torch.zeros(B, T, H))


def test_a_state_that_changes_its_shape_is_the_loops() -> None:
    """A kernel has memory for one shape. Oracle: the loop, and what `explain` says."""
    grows = Recurrence("grows", lambda d, s: (d.unsqueeze(1) + s, d.unsqueeze(1) * 0.5 + s))
    swaps = Recurrence("swaps", lambda d, s: (d, (s + d[:, :, None]).transpose(1, 2)))
    for recurrence, state in ((grows, torch.ones(B, 1, H)), (swaps, torch.ones(B, H, 3))):
        drive = torch.linspace(-1, 1, B * T * H).view(B, T, H)
        after = list(state.shape[1:])[::-1] if recurrence is swaps else [1, H]
        if recurrence is grows:
            drive = drive[:, :, None].expand(-1, -1, 2, -1)
            after = [2, H]
            recurrence = Recurrence("grows", lambda d, s: (d + s, d * 0.5 + s))
        told = recurrence.explain(drive, state)
        assert f"numba: not chosen, a tensor of the state is float32 {list(state.shape[1:])} before" in told, told
        assert f"{after} after it" in told


class Turning(Recurrent[dict[str, Tensor]]):
    """Gives its state back with the keys in the other order."""

    def __init__(self, numbers: bool) -> None:
        super().__init__()
        self.w, self.numbers = torch.nn.Parameter(torch.eye(H)), numbers

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"a": torch.zeros(batch, H), "b": torch.ones(batch, H)}

    def scan(self, x: Tensor, state: Any, lengths: Any, resets: Any) -> Any:
        ys = []
        for t in range(x.shape[1]):
            y, state = of_dict(x[:, t] @ self.w, state)
            ys.append(y.cumprod(-1) if self.numbers else y)  # cumprod: what no kernel takes
        return torch.stack(ys, 1), state


@pytest.mark.parametrize("numbers", [False, True], ids=["compiled", "layer by layer"])
def test_a_session_keeps_the_leaves_apart_and_saves_them(numbers: bool, tmp_path: Any) -> None:
    model = Turning(numbers).eval()
    x = torch.linspace(-1, 1, T * H).view(1, T, H)
    session = Session(model)
    session.push(x[0, :3])
    session.save(tmp_path / "state")
    other = Session(model)
    other.load(tmp_path / "state")
    with torch.no_grad():
        want, last = model(x)
    for each in (session, other):
        torch.testing.assert_close(each.push(x[0, 3:]), want[0, 3:])
        torch.testing.assert_close(leaves(each.state), leaves(last))
