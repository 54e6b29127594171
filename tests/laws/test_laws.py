"""The laws over every registered cell, a deep stack, and the layers; and that the laws notice what is wrong."""

import pytest
import torch
from torch import nn

from ostinato import cells, testing
from ostinato.cells import GRU, LSTM, Elman
from ostinato.cells.elman import RECURRENCES
from ostinato.layers import (
    Bidirectional,
    DropConnect,
    LearnedState,
    LockedDropout,
    Pointwise,
    RecurrentDropout,
    Residual,
    Stack,
    Zoneout,
)
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell, Recurrent
from ostinato.testing.linear import slope_of_gates


def deep():
    return Stack(*(Residual(cell(5, 5), nn.LayerNorm(5)) for cell in (LSTM, GRU, Elman)))


def reader_of_ids():
    return Stack(Pointwise(nn.Embedding(9, 5)), LockedDropout(0.5), LSTM(5, 6), Pointwise(nn.Linear(6, 4)))


def learned():
    part = LearnedState(LSTM(5, 6))
    for p in part.start:
        nn.init.normal_(p)
    return part


class Fading(Cell):
    """A recurrence that is linear in its state: h_t = f_t ⊙ h_{t-1} + (1 - f_t) ⊙ n_t, both from the input alone."""

    recurrence = Recurrence(
        "fading",
        lambda gates, h: ((h := gates[0] * h + gates[1]), h),
        lambda drive, h, bias: ((drive[0] + bias).sigmoid(), (-drive[0] - bias).sigmoid() * drive[1].tanh()),
        linear=True,
    )

    def __init__(self):
        super().__init__()
        self.w_in, self.w_in_news = nn.Linear(5, 6, bias=False), nn.Linear(5, 6)
        self.b_f = nn.Parameter(torch.linspace(-1, 2, 6))

    def initial_state(self, batch):
        return self.b_f.new_zeros(batch, 6)

    def drive(self, x):
        return self.w_in(x), self.w_in_news(x)

    def weights(self):
        return (self.b_f,)


class Summing(Cell):
    """A recurrence without gates: the drive is all."""

    recurrence = Recurrence("summing", lambda x, h: (0.9 * h + x, 0.9 * h + x), linear=True)

    def initial_state(self, batch):
        return torch.zeros(batch, 5, dtype=torch.float64)

    def drive(self, x):
        return x


PARTS = {
    "linear": (Fading, None),
    "linear, zoned out": (lambda: Zoneout(Fading(), 0.4), None),
    **{name: (lambda make=make: make(5, 6), None) for name, make in cells.cells.items()},
    "deep residual stack": (deep, None),
    "embedding, dropout, lstm, head": (reader_of_ids, 9),
    "learned state": (learned, None),
}


@pytest.mark.parametrize("law", testing.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", PARTS)
def test_law(name, law):
    make, ids = PARTS[name]
    law(testing.case(make, 5, ids=ids))


@pytest.mark.parametrize(
    "make",
    [
        Fading,
        Summing,
        lambda: Zoneout(Fading(), 0.3),
        lambda: Zoneout(Summing(), 0.3),
        *(lambda make=make: Zoneout(make(5, 6), 0.3) for make in cells.cells.values()),
        *(lambda make=make: RecurrentDropout(make(5, 6), 0.3) for make in cells.cells.values()),
        *(lambda make=make: DropConnect(make(5, 6), 0.3) for make in (GRU, LSTM, Elman)),
    ],
)
def test_wrappers_that_train_say_linear_of_what_is(make):
    """In training, where a wrapper has another recurrence than in evaluation; no wrapper forgets the word either."""
    tried = testing.case(make, 5)
    tried.part.train()
    call = tried.part.call(tried.x, tried.state, None, None)
    assert call.recurrence.linear == (slope_of_gates(call) == 0)


@pytest.mark.parametrize("name", cells.cells)
def test_a_cell_whose_gates_ignore_the_state_says_so(name):
    """The converse of "linear means linear": else no wrapper and no kernel could make use of it."""
    tried = testing.case(lambda: cells.cells[name](5, 6), 5)
    call = tried.part.call(tried.x, tried.state, None, None)
    ignored = slope_of_gates(call) == 0
    assert call.recurrence.linear == ignored, f"write Recurrence({call.recurrence.name!r}, ..., linear={ignored})"


def test_a_cell_inside_of_other_parts_is_held_to_be_linear_too():
    class Lying(Fading):
        recurrence = Recurrence("lying", Fading.recurrence.update, lambda d, h, b: (d[0] + b + h, d[1]), linear=True)

    for make in (lambda: Stack(LearnedState(Lying()), GRU(6, 5)), lambda: Bidirectional(GRU(5, 6), Lying())):
        with pytest.raises(
            AssertionError, match=r"'linear means linear' is broken by .*gates of 'lying' have the slope"
        ):
            testing.law_linear_means_linear(testing.case(make, 5))


def test_laws_hold_in_float32():
    testing.check_recurrent(lambda: GRU(5, 6), 5, dtype=torch.float32)


@pytest.mark.parametrize("merge", ["concat", "sum", "mean"])
@pytest.mark.parametrize(
    "law",
    [
        testing.law_padding_changes_nothing,
        testing.law_a_reset_begins_a_sequence,
        testing.law_size_is_constant,
        testing.law_rows_are_independent,
        testing.law_nothing_is_mutated,
        testing.law_kernels_equal_the_walk,
        testing.law_torch_func,
    ],
    ids=lambda law: law.__name__,
)
def test_bidirectional_keeps_the_laws_of_whole_sequences(law, merge):
    law(testing.case(lambda: Bidirectional(LSTM(5, 6), GRU(5, 6), merge), 5))


class Faulty(Recurrent):
    """A running sum with one fault."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def initial_state(self, batch):
        rows = batch + 1 if self.fault == "rows" else batch
        return self.scale.new_zeros(rows, 5)

    def scan(self, x, state, lengths, resets):
        state = state[: len(x)]
        ys, before = [], state
        for t in range(x.shape[1]):
            start = torch.zeros_like(state)
            old = state if resets is None or self.fault == "reset" else torch.where(resets[:, t, None], start, state)
            new = 0.9 * old + x[:, t] * self.scale
            if self.fault == "rows mixed":
                new = new - new.mean(0)
            if lengths is not None and self.fault != "state past the end":
                new = torch.where((t < lengths)[:, None], new, state)
            state = new
            ys.append(new if lengths is None else torch.where((t < lengths)[:, None], new, 0.0))
        y = torch.stack(ys, 1)
        if self.fault == "sees ahead":
            y = y + x.flip(1)
        if self.fault == "bias in the padding":
            y = y + 1
        if self.fault == "state not carried":
            state = before
        if self.fault == "counts":
            self.calls += 1
        if self.fault == "branches on values" and y.sum() > 0:
            y = -y
        return y, torch.cat([state, state]) if self.fault == "grows" else state


@pytest.mark.parametrize(
    "fault, law, message",
    [
        ("sees ahead", testing.law_causality, "'causality' is broken by Faulty"),
        ("sees ahead", testing.law_step_is_scan, "step is scan"),
        ("state not carried", testing.law_split_is_whole, "split is whole"),
        ("state past the end", testing.law_padding_changes_nothing, "state of the last real step"),
        ("bias in the padding", testing.law_padding_changes_nothing, "output is zero"),
        ("reset", testing.law_a_reset_begins_a_sequence, "a reset begins a sequence"),
        ("rows mixed", testing.law_rows_are_independent, "rows are independent"),
        ("rows", testing.law_a_batch_is_read, "rows first"),
        ("grows", testing.law_size_is_constant, "size is constant"),
        ("counts", testing.law_nothing_is_mutated, "nothing is mutated"),
    ],
)
def test_a_law_names_what_is_broken(fault, law, message):
    with pytest.raises(AssertionError, match=message):
        law(testing.case(lambda: Faulty(fault), 5))


def test_a_branch_on_values_breaks_vmap_and_export():
    for law, name in ((testing.law_torch_func, "torch.func"), (testing.law_exported_step_is_step, "the exported step")):
        with pytest.raises(AssertionError, match=rf"^law '{name}.* is broken by Faulty: .*data-dependent") as told:
            law(testing.case(lambda: Faulty("branches on values"), 5))
        assert isinstance(told.value.__cause__, RuntimeError)


def test_the_sound_part_keeps_all_laws():
    testing.check_recurrent(lambda: Faulty(None), 5)


def test_a_wrong_kernel_is_found(monkeypatch):
    from ostinato import kernels

    def scan(drive, state, w_rec, **options):
        out, final = kernels.TABLE["elman_tanh", "aten"].scan(drive, state, w_rec, **options)
        return out * 1.0001, final

    wrong = kernels.Kernel("elman_tanh", "wrong", scan, lambda *call, **options: None)
    monkeypatch.setitem(kernels.TABLE, ("elman_tanh", "wrong"), wrong)
    with pytest.raises(AssertionError, match=r"kernels equal the walk.*wrong"):
        testing.law_kernels_equal_the_walk(testing.case(lambda: Elman(5, 6), 5))


def test_a_kernel_that_counts_steps_in_sixteen_bits_is_found(monkeypatch):
    from ostinato import kernels

    @torch.no_grad()  # torch takes seconds for the gradient of so many steps
    def scan(drive, state, w_rec, **options):
        out, final = kernels.TABLE["elman_tanh", "aten"].scan(drive, state, w_rec, **options)
        return torch.cat([out[:, :65_536], 0 * out[:, 65_536:]], dim=1), final

    wrong = kernels.Kernel("elman_tanh", "wrong", scan, lambda *call, **options: None)
    monkeypatch.setitem(kernels.TABLE, ("elman_tanh", "wrong"), wrong)
    with pytest.raises(AssertionError, match=r"any length.*y of 65,572 steps differs"), kernels.backend("wrong"):
        testing.law_any_length(testing.case(lambda: Elman(5, 6), 5))


def test_a_kernel_that_forgets_the_gradient_of_a_carried_state_or_a_reset_is_found(monkeypatch):
    from ostinato import kernels, tree

    for name in ("initial", "state"):

        def scan(drive, state, w_rec, name=name, **options):
            given = {"state": state, **options}
            given[name] = None if given[name] is None else tree.detach(given[name])
            steps = list(RECURRENCES["tanh"].walk(drive, given.pop("state"), w_rec, **given))
            return torch.stack([step.out for step in steps], 1), steps[-1].state

        wrong = kernels.Kernel("elman_tanh", "wrong", scan, lambda *call, **options: None)
        monkeypatch.setitem(kernels.TABLE, ("elman_tanh", "wrong"), wrong)
        with pytest.raises(AssertionError, match=r"kernels equal the walk.*wrong"):
            testing.law_kernels_equal_the_walk(testing.case(lambda: LearnedState(Elman(5, 6)), 5))


def test_parity_table_has_a_row_for_each_backend_and_dtype():
    rows = testing.parity_table({"lstm": lambda: LSTM(5, 6), "mgu": lambda: cells.MGU(5, 6)})
    seen = {(row["cell"], row["backend"], row["dtype"]) for row in rows}
    assert {("lstm", "aten", "float32"), ("lstm", "aten", "float64"), ("lstm", "reference", "float32")} <= seen
    assert ("mgu", "aten", "float32") not in seen
    assert ("mgu", "reference", "float64") in seen
    for row in rows:
        assert row["ok"]
        assert max(row["out"], row["state"], row["gradients"]) < (1e-5 if row["dtype"] == "float32" else 1e-12)
