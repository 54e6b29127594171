"""Stack, Residual, Pointwise, LearnedState."""

import pytest
import torch
from torch import nn

from ostinato.cells import GRU, LSTM, Elman
from ostinato.layers import Bidirectional, LearnedState, Pointwise, Residual, Stack


def test_each_part_reads_what_the_one_below_wrote():
    first, second = GRU(5, 6), Elman(6, 3)
    x = torch.randn(2, 7, 5)
    y, (after_first, after_second) = Stack(first, second)(x)
    middle, want_first = first(x)
    want, want_second = second(middle)
    assert torch.equal(y, want)
    assert torch.equal(after_first.h, want_first.h)
    assert torch.equal(after_second.h, want_second.h)


def test_a_stack_refuses_what_is_no_layer():
    with pytest.raises(TypeError, match=r"part 1 of the Stack must be a Layer, and is Linear; write Pointwise\(Linear"):
        Stack(GRU(5, 6), nn.Linear(6, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one part"):
        Stack()


def test_a_stack_refuses_the_state_of_another_stack():
    small, large = Stack(GRU(5, 5)), Stack(GRU(5, 5), GRU(5, 5))
    with pytest.raises(
        ValueError, match=r"the state is \(GRUState\(h\),\), and the initial one of this Stack is \(GRUState\(h\), GRU"
    ):
        large(torch.randn(2, 3, 5), small.initial_state(2))


def test_a_stack_with_a_part_that_looks_ahead_reads_whole_sequences_but_does_not_stream():
    part = Stack(LSTM(5, 6), Residual(Bidirectional(GRU(6, 6), GRU(6, 6), "mean")))
    x = torch.randn(2, 7, 5)
    y, state = part(x)
    assert y.shape == (2, 7, 6)
    with pytest.raises(TypeError, match="Bidirectional reads the whole sequence, so it cannot stream; use a Stack"):
        part.step(x[:, 0], state)


def test_residual_adds_the_part_to_its_input():
    cell, norm = Elman(5, 5), nn.LayerNorm(5)
    nn.init.normal_(norm.weight)
    x = torch.randn(2, 7, 5)
    assert torch.equal(Residual(cell, norm)(x)[0], x + cell(norm(x))[0])
    assert torch.equal(Residual(cell)(x)[0], x + cell(x)[0])


def test_residual_refuses_a_part_that_changes_the_width():
    with pytest.raises(ValueError, match=r"x \[2, 7, 5\] to what Elman made of it, \[2, 7, 1\]"):
        Residual(Elman(5, 1))(torch.randn(2, 7, 5))


def test_pointwise_applies_its_module_and_leaves_the_padding_zero():
    head = Pointwise(nn.Linear(5, 3))
    x = torch.randn(2, 7, 5)
    y, state = head(x, lengths=torch.tensor([7, 2]))
    assert state == ()
    assert torch.allclose(y[0], head.module(x[0]), atol=1e-6)
    assert y[1, :2].abs().min() > 0
    assert y[1, 2:].eq(0).all()


def test_pointwise_embeds_ids():
    part = Stack(Pointwise(nn.Embedding(11, 5)), GRU(5, 6))
    ids = torch.randint(11, (2, 7))
    y, state = part(ids)
    want, _ = part.parts[1](part.parts[0].module(ids))
    assert torch.equal(y, want)
    assert part.step(ids[:, 0], state)[0].shape == (2, 6)


def test_a_learned_state_starts_where_the_cell_does_and_is_learnt():
    cell = LSTM(5, 6)
    part = LearnedState(cell)
    x = torch.randn(2, 7, 5)
    assert torch.allclose(part(x)[0], cell(x)[0], atol=1e-6)
    part(x)[0].sum().backward()
    assert [tuple(p.shape) for p in part.start] == [(6,), (6,)]
    assert all(p.grad.abs().min() > 0 for p in part.start)


def test_a_reset_returns_to_the_learned_state():
    part = LearnedState(GRU(5, 6))
    nn.init.normal_(part.start[0])
    x = torch.randn(1, 6, 5)
    resets = torch.tensor([[False, False, True, False, False, False]])
    y, _ = part(x, resets=resets)
    assert torch.allclose(y[:, 2:], part(x[:, 2:])[0], atol=1e-6)
    assert not torch.allclose(y[:, 2:], part.cell(x[:, 2:])[0], atol=1e-3)
