"""Initialisers: the distributions they promise, the weights they reach, and the failures that lecture S2 leaves out."""

import pytest
import torch
from torch import nn

from ostinato.cells import GRU, LSTM, MGU, Elman, Jordan
from ostinato.initialise import fill, initialise
from ostinato.layers import Pointwise, Stack, last
from ostinato.registry import UnknownNameError


def filled(text, *shape, seed=0):
    return_value = torch.empty(shape, dtype=torch.float64)
    fill(return_value, text, torch.Generator().manual_seed(seed))
    return return_value


def test_elementwise_initialisers_have_their_distribution():
    assert filled("zeros", 3, 4).eq(0).all()
    assert filled("constant(-2.5)", 3, 4).eq(-2.5).all()
    uniform = filled("uniform(0.1)", 300, 300)
    assert uniform.abs().max() <= 0.1
    assert uniform.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.01)
    normal = filled("normal(0.01)", 300, 300)
    assert normal.std().item() == pytest.approx(0.01, rel=0.01)
    assert normal.abs().max() > 0.03


def test_a_truncated_normal_has_nothing_beyond_two_standard_deviations():
    """Lecture S2's own code leaves 31.95 % of the weights outside its bound, sqrt(0.1)."""
    ours = filled("truncated_normal(0.1)", 300, 300)
    assert ours.abs().max() <= 0.2
    assert ours.std().item() == pytest.approx(0.08796, rel=0.01)  # of a normal cut at ±2: 0.8796 σ

    printed = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0))
    inside = printed.abs() < 0.1**0.5
    kept = printed.gather(1, inside.int().argmax(1, keepdim=True))
    assert (kept.abs() >= 0.1**0.5).double().mean().item() == pytest.approx(0.3195, abs=0.005)


@pytest.mark.parametrize("make", [Elman, GRU, LSTM, MGU])
def test_orthogonal_has_eigenvalues_on_the_unit_circle_in_each_gate(make):
    cell = make(5, 64)
    initialise(cell, recurrent="orthogonal")
    for block in cell.w_rec.detach().double().chunk(cell.blocks):
        assert (torch.linalg.eigvals(block).abs() - 1).abs().max() < 1e-6


def test_xavier_keeps_the_variance_of_the_input():
    cell = LSTM(256, 256)
    initialise(cell, input="xavier", bias="zeros", generator=torch.Generator().manual_seed(0))
    x = torch.randn(400, 1, 256, generator=torch.Generator().manual_seed(1)) * 0.05
    for preactivation in cell.drive(x).value().chunk(4, dim=-1):
        assert (preactivation.std() / x.std()).item() == pytest.approx(1, abs=0.05)
        assert (preactivation.tanh().std() / x.std()).item() == pytest.approx(1, abs=0.05)


def test_he_keeps_the_mean_square_through_ten_relu_layers_and_xavier_does_not():
    def after(text, layers):
        x = torch.randn(500, 1, 256, generator=torch.Generator().manual_seed(1))
        parts = [Elman(256, 256, "relu") for _ in range(layers)]
        for i, part in enumerate(parts):
            initialise(part, input=text, bias="zeros", generator=torch.Generator().manual_seed(i))
        return Stack(*parts)(x)[0].square().mean().item()

    assert after("he", 1) == pytest.approx(1, rel=0.1)
    assert after("xavier", 1) == pytest.approx(0.5, rel=0.1)
    assert 1 / 3 < after("he", 10) < 3  # the draw of the weights spreads it by a factor of 1.6
    assert after("xavier", 10) < 3 / 2**10


def test_zeros_everywhere_leaves_no_gradient_but_the_output_bias():
    """Lecture S2 calls zero initialisation safe; nothing but the output bias can learn from it."""
    torch.manual_seed(0)
    model = Stack(Elman(4, 5), Pointwise(nn.Linear(5, 3)))
    initialise(model, input="zeros", recurrent="zeros", bias="zeros", output="zeros")
    y, _ = model(torch.randn(6, 7, 4))
    nn.functional.cross_entropy(last(y), torch.tensor([0, 1, 1, 1, 2, 1])).backward()
    size = {name: p.grad.abs().max().item() for name, p in model.named_parameters()}
    assert size.pop("parts.1.module.bias") > 0.1
    assert set(size.values()) == {0.0}


def test_kinds_are_told_apart():
    embedding, head = nn.Embedding(7, 4, padding_idx=0), nn.Linear(3, 2)
    middle, norm = nn.Linear(5, 5), nn.LayerNorm(5)
    lstm, jordan = LSTM(4, 5), Jordan(5, 3)
    model = Stack(*map(Pointwise, [embedding]), lstm, Pointwise(middle), Pointwise(norm), jordan, Pointwise(head))
    initialise(
        model,
        input="constant(1)",
        recurrent="constant(2)",
        bias="constant(3)",
        forget_bias=4.0,
        embedding="constant(5)",
        output="constant(6)",
    )
    assert all(w.eq(1).all() for w in (lstm.w_in.weight, jordan.w_in.weight, middle.weight))
    assert all(w.eq(2).all() for w in (lstm.w_rec, jordan.w_rec))
    assert lstm.w_in.bias.tolist() == [3.0] * 5 + [4.0] * 5 + [3.0] * 10
    assert all(b.eq(3).all() for b in (jordan.w_in.bias, jordan.w_out.bias, middle.bias, head.bias))
    assert embedding.weight[1:].eq(5).all()
    assert embedding.weight[0].eq(0).all()
    assert all(w.eq(6).all() for w in (jordan.w_out.weight, head.weight))
    assert norm.bias.eq(0).all()
    assert norm.weight.eq(1).all()


def test_what_is_not_named_stays():
    cell = GRU(4, 5)
    before = cell.w_in.weight.clone()
    initialise(cell, recurrent="orthogonal")
    assert torch.equal(cell.w_in.weight, before)


def test_a_generator_makes_it_repeatable():
    one, two = GRU(4, 5), GRU(4, 5)
    for cell in (one, two):
        initialise(cell, "xavier", "orthogonal", "normal(1)", generator=torch.Generator().manual_seed(7))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    "text, message",
    [
        ("xaver", "no initialiser is called 'xaver'; did you mean xavier"),
        ("uniform", r"'uniform' takes one number, as in 'uniform\(0.1\)', and came as 'uniform'"),
        ("uniform(a)", "takes one number"),
        ("zeros(1)", "'zeros' takes no number"),
        ("normal(-1)", "a width above 0"),
        ("uniform(nan)", "a width above 0"),
        ("uniform(0.1", "no initialiser is called"),
    ],
)
def test_malformed_names_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        initialise(GRU(4, 5), input=text)


def test_a_kind_that_the_module_does_not_have_is_refused():
    with pytest.raises(ValueError, match="GRU has no weight of the kind embedding, forget_bias; leave"):
        initialise(GRU(4, 5), input="xavier", embedding="normal(0.1)", forget_bias=1.0)
    with pytest.raises(UnknownNameError):
        initialise(GRU(4, 5), recurrent="orthogonall")
    with pytest.raises(ValueError, match="want a matrix"):
        initialise(GRU(4, 5), bias="orthogonal")
