"""A table of tiny cells, each with one fault: `check_recurrent` names the law that is broken, and not a later one.

Oracle: the fault itself, written into an otherwise sound cell.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ostinato import cells, testing
from ostinato.cells import GRU, LSTM, Elman, Jordan
from ostinato.cells.activation import activations
from ostinato.layers import Bidirectional, LearnedState, Pointwise, Residual, Stack
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell


def gates(drive, h, w):
    return torch.addmm(drive, h, w.mT).tanh()


def update(n, h):
    h = h + 0.5 * (n - h)
    return h, h


class Sound(Cell):
    recurrence = Recurrence("sound", update, gates)

    def __init__(self):
        super().__init__()
        self.w_in = nn.Linear(5, 6)
        self.w_rec = nn.Parameter(nn.init.orthogonal_(torch.empty(6, 6)))
        self.register_buffer("count", torch.zeros(()))

    def initial_state(self, batch):
        return self.w_rec.new_zeros(batch, 6)

    def drive(self, x):
        return self.w_in(x)

    def weights(self):
        return (self.w_rec,)


def cell(**methods):
    return type("Broken", (Sound,), methods)


def with_gates(wrong):
    return cell(recurrence=Recurrence("broken", update, wrong))


def with_update(wrong):
    return cell(recurrence=Recurrence("broken", wrong, gates))


def counting(self, x):
    self.count += 1
    return self.w_in(x)


def replacing(self, x):
    self.count = self.count + 1
    return self.w_in(x)


def training(self, x):
    with torch.no_grad():
        self.w_in.bias.mul_(0.9)
    return self.w_in(x)


def remembering(self, x):
    self.last = getattr(self, "last", 0) + 1
    return self.w_in(x) / self.last


def moving(n, h):
    h.mul_(0.5).add_(n)
    return h, h.clone()


def wrapping(self, x, state=None):
    y, after = Sound.forward(self, x, state)
    return y, (after,)


def ageing(self, x, state=None):
    y, after = Sound.forward(self, x, state)
    if state is not None:
        state.mul_(0.5)
    return y, after


def limping(self, x):
    """Wrong beyond 60 steps only, and right in each chunk of a split before it."""
    return self.w_in(x) * (0.9 if x.shape[1] > 60 else 1)


def says_linear(wrong):
    return cell(recurrence=Recurrence("broken", update, wrong, linear=True))


def forgetting():
    methods = {name: vars(Sound)[name] for name in ("__init__", "initial_state", "drive", "weights")}
    methods["__init__"] = nn.Module.__init__
    return type("Broken", (Cell,), {**methods, "initial_state": lambda self, batch: torch.zeros(batch, 6)})()


class Starting(Sound):
    """Begins where a parameter says, without telling it."""

    def __init__(self):
        super().__init__()
        self.start = nn.Parameter(torch.linspace(-1, 1, 6))

    def initial_state(self, batch):
        return self.start.expand(batch, 6)


READ, SIZE, MUTATED, ROWS = "a batch is read", "size is constant", "nothing is mutated", "rows are independent"
GRADIENTS, FINITE, LINEAR = "gradients are right", "numbers are finite", "linear means linear"
BROKEN = {
    "no recurrence": (cell(recurrence=None), READ, "TypeError: Broken.recurrence is of the type NoneType; write"),
    "recurrence forgotten": (forgetting, READ, "TypeError: Broken has no recurrence; write `recurrence = Recurr"),
    "too few weights": (cell(weights=lambda self: ()), READ, r"TypeError: gates\(\) missing 1 required"),
    "deaf to the batch": (cell(initial_state=lambda self, batch: torch.zeros(1, 6).double()), READ, "rows first"),
    "no batch argument": (cell(initial_state=lambda self: torch.zeros(4, 6)), READ, "TypeError: .*2 were given"),
    "one number for all steps": (cell(emit=lambda self, out, x: out.sum((1, 2))), READ, r"y has shape \[1\]"),
    "state grows": (with_update(lambda n, h: (n, torch.cat([h, n], 1))), SIZE, r"\[1, 6\].* is .*\[1, 12\].* after 1"),
    "state in another dtype": (with_update(lambda n, h: (n, n.float())), SIZE, "float32"),
    "state in another structure": (
        with_update(lambda n, h: (n, (n,))),
        READ,
        r"the state after the step is \(tensor,\)",
    ),
    "a forward of its own wraps the state": (cell(forward=wrapping), SIZE, "began as a Tensor and is a tuple"),
    "last step only": (cell(emit=lambda self, out, x: out[:, -1:]), SIZE, r"y has shape \[1, 1, 6\]"),
    "changes its input": (cell(drive=lambda self, x: self.w_in(x.mul_(0.9))), MUTATED, r"changed x \(a tensor of"),
    "changes its state": (with_update(moving), READ, "Mismatch: a step must not write into its state"),
    "a forward of its own changes its state": (cell(forward=ageing), MUTATED, "changed state"),
    "counts in a buffer": (cell(drive=counting), MUTATED, "changed count"),
    "replaces a buffer": (cell(drive=replacing), MUTATED, "changed count"),
    "changes a parameter": (cell(drive=training), MUTATED, "changed w_in.bias"),
    "remembers calls": (cell(drive=remembering), MUTATED, "a second reading differs"),
    "random": (cell(drive=lambda self, x: F.dropout(self.w_in(x), 0.5)), MUTATED, "a second reading differs"),
    "not finite": (with_update(lambda n, h: (n / 0, n)), FINITE, "y is not, after 1 step"),
    "overflows": (with_update(lambda n, h: (n, (2 + h.abs()) ** 9)), FINITE, "the state is not, after 4 steps"),
    "begins at random": (
        cell(initial_state=lambda self, batch: torch.rand(batch, 6).double()),
        MUTATED,
        "a second initial state",
    ),
    "branches on the batch": (with_update(lambda n, h: (n, n) if h.sum() > 0 else (-n, -n)), ROWS, "differs by"),
    "scales by the batch": (with_gates(lambda d, h, w: gates(d / d.abs().max(), h, w)), ROWS, "differs by"),
    "gates mix rows": (with_gates(lambda d, h, w: gates(d - d.mean(0), h, w)), ROWS, "differs by"),
    "drive mixes rows": (cell(drive=lambda self, x: self.w_in(x - x.mean(0))), ROWS, "differs by"),
    "emit mixes rows": (cell(emit=lambda self, out, x: out + out.flip(0)), ROWS, "differs by"),
    "drive looks ahead": (cell(drive=lambda self, x: self.w_in(x + x.flip(1))), "causality", "differs by"),
    "emit looks ahead": (cell(emit=lambda self, out, x: out - out.mean(1, keepdim=True)), "causality", "differs by"),
    "counts steps": (cell(drive=lambda self, x: self.w_in(x.cumsum(1))), "step is scan", "differs by"),
    "input cut off": (with_gates(lambda d, h, w: gates(d.detach(), h, w)), GRADIENTS, "to x is 0 by autograd"),
    "state cut off": (with_gates(lambda d, h, w: gates(d, h.detach(), w)), GRADIENTS, "respect to"),
    "weight cut off": (with_gates(lambda d, h, w: gates(d, h, w.detach())), GRADIENTS, "w_rec is 0 by autograd"),
    "reset cut off": (
        lambda: type(
            "Broken", (Starting,), {"initial_state": lambda self, batch: self.start.detach().expand(batch, 6)}
        )(),
        GRADIENTS,
        "respect to start is 0 by autograd",
    ),
    "linear, and is not": (says_linear(gates), LINEAR, "gates of 'broken' have the slope .* leave `linear` out"),
    "linear by its derivative alone": (
        says_linear(lambda d, h, w: (d + (h > 0) + 0 * w.sum()).tanh()),
        LINEAR,
        "the gates from another state differs",
    ),
    "one length is special": (cell(drive=limping), "any length", "y of 1 and 64 steps differs"),
    "all cut off": (cell(emit=lambda self, out, x: out.detach()), GRADIENTS, "by differences; look for detach"),
    "gradient scaled": (with_gates(lambda d, h, w: gates(2 * d - d.detach(), h, w)), GRADIENTS, "by autograd and"),
    "branches on values": (
        with_gates(lambda d, h, w: gates(d, h, w if h.eq(h).all() else -w)),
        "torch.func",
        "Runtime",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_law_that_is_broken_is_named(name):
    make, law, what = BROKEN[name]
    with pytest.raises(AssertionError, match=f"^law '{law}' is broken by Broken: .*{what}") as told:
        testing.check_recurrent(make, 5)
    raised = next((e for e in ("AttributeError", "TypeError", "ValueError", "Runtime") if what.startswith(e)), None)
    assert raised is None or raised in type(told.value.__cause__).__name__


def test_a_cell_that_begins_at_a_parameter_keeps_the_law_of_gradients():
    testing.law_gradients_are_right(testing.case(Starting, 5))


def test_the_sound_cell_keeps_all_laws():
    testing.check_recurrent(Sound, 5)


def test_a_part_that_reads_no_such_input_breaks_the_first_law():
    with pytest.raises(AssertionError, match=f"^law '{READ}' is broken by GRU: ValueError: x must be"):
        testing.check_recurrent(lambda: GRU(6, 6), 5)


def test_only_a_layer_can_be_checked():
    with pytest.raises(TypeError, match=r"must build a Layer, such as a Cell, and built Linear; try Pointwise\(Linear"):
        testing.check_recurrent(lambda: nn.Linear(5, 6), 5)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("activation", activations)
@pytest.mark.parametrize("make", [Elman, Jordan])
def test_gradients_are_right_whatever_the_activation(make, activation):
    for seed in range(3):
        testing.law_gradients_are_right(testing.case(lambda: make(5, 6, activation=activation), 5, seed=seed))


def test_gradients_are_right_where_the_state_lies_on_a_kink():
    def clipped(drive, h, w):
        return torch.addmm(drive, h.relu(), w.mT).relu()

    make = cell(recurrence=Recurrence("clipped", lambda n, h: (n, n), clipped))
    assert testing.case(make, 5).state.eq(0).any()
    testing.law_gradients_are_right(testing.case(make, 5))


def test_frozen_parameters_need_no_gradient():
    def frozen():
        return Stack(Pointwise(nn.Embedding(9, 5).requires_grad_(False)), GRU(5, 6))

    testing.law_gradients_are_right(testing.case(frozen, 5, ids=9))
    testing.law_kernels_equal_the_walk(testing.case(frozen, 5, ids=9))


WHOLE = {
    "bidirectional": lambda: Bidirectional(LSTM(5, 6), GRU(5, 6)),
    "inside a stack": lambda: Stack(Residual(Bidirectional(GRU(5, 5), GRU(5, 5), "mean")), LearnedState(Elman(5, 4))),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_part_that_looks_ahead_is_held_to_the_laws_of_whole_sequences(name):
    testing.check_recurrent(WHOLE[name], 5)


def test_a_fault_in_a_part_that_looks_ahead_is_named():
    for make, law, _ in (BROKEN["gates mix rows"], BROKEN["state cut off"], BROKEN["counts in a buffer"]):
        with pytest.raises(AssertionError, match=f"^law '{law}' is broken by Bidirectional"):
            testing.check_recurrent(lambda make=make: Bidirectional(make(), cells.MGU(5, 6)), 5)
