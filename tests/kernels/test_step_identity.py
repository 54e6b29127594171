"""What a step reads besides its arguments may change between two calls. Oracle: the reference walk, which runs it."""

import functools
import os
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.kernels import Unsupported
from ostinato.kernels.trace.step_identity import identity
from ostinato.recurrence import Recurrence

SCALE = 2.0
CONFIG = {"rates": [0.5, 0.25]}
SETTINGS = SimpleNamespace(scale=0.5)


class Named:
    scale = 0.5


def helper(x: Tensor) -> Tensor:
    return x * SCALE


def by_helper(d: Tensor, h: Tensor) -> Tensor:
    return (d + helper(h)).tanh()


def by_dict(d: Tensor, h: Tensor) -> Tensor:
    return (d + CONFIG["rates"][0] * h).tanh()


def by_object(d: Tensor, h: Tensor) -> Tensor:
    return (d + SETTINGS.scale * h).tanh()


def by_class(d: Tensor, h: Tensor) -> Tensor:
    return (d + Named.scale * h).tanh()


def by_default(d: Tensor, h: Tensor, scale: float = 0.5) -> Tensor:
    return (d + scale * h).tanh()


def by_comprehension(d: Tensor, h: Tensor) -> Tensor:
    return (d + sum([SCALE * part for part in (h, h)])).tanh()


class Own(nn.Module):
    """A step as a method."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.inner = 0.5, nn.Linear(4, 4)

    @property
    def doubled(self) -> float:
        return 2 * self.scale

    def gates(self, d: Tensor, h: Tensor) -> Tensor:
        return (d + self.scale * h).tanh() if self.training else (d + self.times(h) * self.doubled).tanh()

    def times(self, h: Tensor) -> Tensor:
        return 3 * self.scale * h

    def calls(self, d: Tensor, h: Tensor) -> Tensor:
        return self.inner(h) + d


def derived(gates: Callable[..., Tensor]) -> Any:
    """What a key holds, and a check that the kernel computes what the step says now."""
    recurrence, drive, state = Recurrence("reads", lambda new, h: (new, new), gates), *inputs()
    out, last = recurrence.scan(drive, state)
    want = torch.stack([step.out for step in recurrence.walk(drive, state)], dim=1)
    torch.testing.assert_close(out, want)
    torch.testing.assert_close(last, want[:, -1])
    assert "numba: chosen" in recurrence.explain(drive, state)
    return identity(gates)


def inputs() -> tuple[Tensor, Tensor]:
    return torch.linspace(-1, 1, 3 * 6 * 4).view(3, 6, 4), torch.full((3, 4), 0.7)


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from ostinato.kernels import dispatch

    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))


def other(x: Tensor) -> Tensor:
    return x * 5.0


def keyed(x: Tensor, *, by: float = 2.0) -> Tensor:
    return x * by


class Items:
    """What it gives is read elsewhere."""

    def __getitem__(self, i: int) -> float:
        return CONFIG["rates"][i]

    def __float__(self) -> float:
        return float(CONFIG["rates"][0])


class Held(dict[str, float]):
    scale = 0.5


HOOKED, ITEMS, HELD = nn.LeakyReLU(0.1), Items(), Held(a=1.0)
HELD.scale = 0.5


def by_keyword(d: Tensor, h: Tensor) -> Tensor:
    return (keyed(d) + h).tanh()


def by_hooked(d: Tensor, h: Tensor) -> Tensor:
    return HOOKED(d + h)


def by_items(d: Tensor, h: Tensor) -> Tensor:
    return (d + ITEMS[1] * h).tanh()


def by_float(d: Tensor, h: Tensor) -> Tensor:
    return (d + float(ITEMS) * h).tanh()


def scaled_by(held: Held, h: Tensor) -> Tensor:
    return held.scale * h


def by_held(d: Tensor, h: Tensor) -> Tensor:
    return (d + scaled_by(HELD, h)).tanh()


def hooked(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(HOOKED._forward_hooks, 7, lambda module, given, out: out * 2)


CHANGES: dict[str, tuple[Callable[..., Tensor], Callable[[pytest.MonkeyPatch], None]]] = {
    "a helper": (by_helper, lambda patch: patch.setitem(globals(), "helper", other)),
    "a number that a helper reads": (by_helper, lambda patch: patch.setitem(globals(), "SCALE", 3.0)),
    "an item of a list in a dict": (by_dict, lambda patch: patch.setitem(CONFIG, "rates", [0.125])),
    "an attribute of an object": (by_object, lambda patch: patch.setattr(SETTINGS, "scale", 0.1)),
    "an attribute of a class": (by_class, lambda patch: patch.setattr(Named, "scale", 0.1)),
    "a default": (by_default, lambda patch: patch.setattr(by_default, "__defaults__", (0.1,))),
    "a default of a keyword": (by_keyword, lambda patch: patch.setattr(keyed, "__kwdefaults__", {"by": 5.0})),
    "a hook of a module": (by_hooked, hooked),
    "what indexing an object reads": (by_items, lambda patch: patch.setitem(CONFIG, "rates", [0.1, 0.2])),
    "what makes a number of an object": (by_float, lambda patch: patch.setitem(CONFIG, "rates", [0.1, 0.2])),
    "an attribute of a dict": (by_held, lambda patch: patch.setattr(HELD, "scale", 0.1)),
    "a number inside a comprehension": (by_comprehension, lambda patch: patch.setitem(globals(), "SCALE", 3.0)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_step_reads_may_change_between_two_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gates, change = CHANGES[name]
    before = derived(gates)
    assert derived(gates) is before
    change(monkeypatch)
    assert derived(gates) is not before


def test_cells_that_a_step_closes_over_may_change() -> None:
    scale, rates = 0.5, [0.5]

    def gates(d: Tensor, h: Tensor) -> Tensor:
        return (d + scale * rates[0] * h).tanh()

    before = derived(gates)
    scale = 3.0
    between = derived(gates)
    rates[0] = 0.1
    assert len({before, between, derived(gates)}) == 3


def test_a_method_reads_of_its_object_what_it_names() -> None:
    owner = Own()
    seen = [derived(owner.gates)]
    owner.scale = 0.1
    seen.append(derived(owner.gates))
    owner.eval()
    seen.append(derived(owner.gates))
    assert len({*seen}) == 3


def test_arguments_of_a_partial_are_read_through() -> None:
    def gates(rates: list[float], d: Tensor, h: Tensor) -> Tensor:
        return (d + rates[0] * h).tanh()

    rates = [0.5]
    bound = functools.partial(gates, rates)
    before = derived(bound)
    rates[0] = 0.1
    assert derived(bound) is not before


def test_the_default_dtype_of_torch_belongs_to_the_key() -> None:
    """Oracle: the walk under each; ones of the default dtype turn a float32 state into float64, or leave it."""
    recurrence = Recurrence("default", lambda new, h: (new, new), lambda d, h: (d + torch.ones(4) * h).to(d.dtype))
    drive, state = (t.float() for t in inputs())
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            out, _ = recurrence.scan(drive, state)
            want = torch.stack([step.out for step in recurrence.walk(drive, state)], dim=1)
        finally:
            torch.set_default_dtype(torch.float32)
        torch.testing.assert_close(out, want)


def counts(d: Tensor, h: Tensor) -> Tensor:
    global SCALE
    SCALE += 1.0
    return d + h


def draws(d: Tensor, h: Tensor) -> Tensor:
    return d + next(ITERATOR) * h


def many(d: Tensor, h: Tensor) -> Tensor:
    return d + MANY[3] * h


def looks_up(d: Tensor, h: Tensor) -> Tensor:
    return d + globals()["SCALE"] * h


def evaluates(d: Tensor, h: Tensor) -> Tensor:
    return d + eval("SCALE") * h


def imports(d: Tensor, h: Tensor) -> Tensor:
    from test_step_identity import SCALE as scale

    return d + scale * h


def asks_torch(d: Tensor, h: Tensor) -> Tensor:
    return d + h * (2.0 if torch.is_grad_enabled() else 3.0)


def asks_the_system(d: Tensor, h: Tensor) -> Tensor:
    return d + h * float(os.environ.get("SCALE", "2"))


def weakly(d: Tensor, h: Tensor) -> Tensor:
    return d + WEAK().scale * h


WEAK = weakref.ref(Items)
ITERATOR, MANY = iter([1.0, 2.0] * 50), [0.5] * 5000
REFUSED = {
    counts: "assigns SCALE, which is outside of it",
    draws: r"ITERATOR \(list_iterator\), and what changes in it cannot be seen",
    many: r"MANY \(list\) with 5000 values",
    looks_up: r"calls globals\(\), and what that reads is not seen",
    evaluates: r"calls eval\(\)",
    imports: "imports test_step_identity; import it above the step",
    asks_torch: "reads torch.is_grad_enabled, whose changes are not seen",
    asks_the_system: "reads os.environ",
    weakly: "through a weak reference",
    Own().calls: r"inner \(Linear\), a module with weights of its own: .*F.linear\(x, weight, bias\) for nn.Linear",
}


@pytest.mark.parametrize("gates", REFUSED, ids=lambda f: f.__name__)
def test_what_cannot_be_compared_is_refused_in_words(gates: Callable[..., Tensor]) -> None:
    with pytest.raises(Unsupported, match=REFUSED[gates]):
        identity(gates)
    why = Recurrence("refused", lambda new, h: (new, new), gates).explain(*inputs())
    assert "numba: not chosen" in why


def test_numbers_that_are_equal_and_not_the_same_have_other_kernels() -> None:
    def of(x: Any) -> Any:
        return identity(functools.partial(helper, x))

    assert len({of(1), of(1.0), of(True), of(0.0), of(-0.0)}) == 5
    assert of(float("nan")) is of(float("nan"))
