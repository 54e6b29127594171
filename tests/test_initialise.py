"""Initialisers: the distributions they promise, the weights they reach, and the failures that lecture S2 leaves out."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ostinato.cells import GRU, LSTM, MGU, RAN, CoRNN, Elman, FastGRNN, IndRNN, Jordan, ProjectedLSTM, cells
from ostinato.initialise import fill, initialise
from ostinato.layers import Pointwise, Stack, Zoneout, last
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell
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
    for block in cell.w_rec.detach().double().chunk(cell.gate_blocks):
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
    with pytest.raises(ValueError, match=r"GRU has no weight of the kind output; leave .* out, or name .* in `roles`"):
        initialise(GRU(4, 5), output="xavier")
    with pytest.raises(UnknownNameError):
        initialise(GRU(4, 5), recurrent="orthogonall")
    with pytest.raises(ValueError, match="want a matrix"):
        initialise(GRU(4, 5), bias="orthogonal")


class Own(Cell):
    """A user's cell as in docs/own-cell.md; what is initialised is its matrices, so its step is none."""

    recurrence = Recurrence("own", lambda a, state: (a, state))

    def __init__(self, rows, columns=6, state=(6,)):
        super().__init__()
        self.w_in = nn.Linear(5, rows)
        self.w_rec = nn.Parameter(torch.zeros(rows, columns))
        self.leak = nn.Parameter(torch.full((6,), 0.5))
        self.state = state

    def initial_state(self, batch):
        return tuple(
            self.leak.new_zeros(batch, *([width] if isinstance(width, int) else width)) for width in self.state
        )

    def drive(self, x):
        return self.w_in(x)


class Said(Own):
    gate_blocks = 2


class One(Own):
    gate_blocks = 1


def orthogonal_blocks(weight, blocks):
    """Whether each block has orthonormal rows or columns, so is one orthogonal matrix of its own."""
    for block in weight.detach().double().chunk(blocks):
        thin = block if len(block) <= block.shape[1] else block.T
        if (thin @ thin.T - torch.eye(len(thin))).abs().max() > 1e-5:
            return False
    return True


@pytest.mark.parametrize("text", ["orthogonal", "xavier", "he"])
@pytest.mark.parametrize("kind, name, columns", [("recurrent", "w_rec", 6), ("input", "w_in.weight", 5)])
def test_a_stacked_matrix_of_a_cell_that_does_not_say_its_gates_is_refused(kind, name, columns, text):
    """Filled as one matrix the gates would not be orthogonal each, nor of the variance that Glorot's fans give."""
    message = rf"{name} of Own is \[24, {columns}\], 4 times the width 6 of its state.*`gate_blocks = 4` .*= 1` if"
    with pytest.raises(ValueError, match=message):
        initialise(Stack(Own(24)), **{kind: text})


@pytest.mark.parametrize("state", [(6, 6), (6, 1), ((2, 3),), (6, 3)], ids=str)
def test_what_is_stacked_is_told_by_the_state_whatever_its_leaves(state):
    with pytest.raises(ValueError, match="write `gate_blocks = 2` in the class"):
        initialise(Own(12, state=state), recurrent="orthogonal")


def test_the_cell_of_the_documentation_says_its_gates_and_must():
    """The code of docs/own-cell.md as it stands there, and without that line."""
    page = (Path(__file__).parents[1] / "docs" / "own-cell.md").read_text()
    code = page.split("```{code-cell} python\n")[1].split("```")[0]
    said = next(line for line in code.splitlines() if "gate_blocks" in line)
    made = []
    for text in (code, code.replace(said, "")):
        names = {}
        exec(text, names)
        made.append(names["Integrator"](5, 7))
    initialise(made[0], recurrent="orthogonal")
    assert orthogonal_blocks(made[0].w_rec, 2)
    with pytest.raises(ValueError, match=r"w_rec of Integrator is \[14, 7\].* `gate_blocks = 2`"):
        initialise(made[1], recurrent="orthogonal")


def test_gates_that_are_said_are_filled_one_by_one():
    cell = Said(12)
    initialise(cell, input="orthogonal", recurrent="orthogonal")
    assert orthogonal_blocks(cell.w_rec, 2)
    assert orthogonal_blocks(cell.w_in.weight, 2)


def test_one_matrix_may_be_higher_than_the_state_if_it_is_said():
    cell = One(12)
    initialise(cell, recurrent="orthogonal")
    assert orthogonal_blocks(cell.w_rec, 1)
    assert not orthogonal_blocks(cell.w_rec, 2)


def test_what_draws_each_element_alike_need_not_know_the_gates():
    cell = Own(24)
    initialise(cell, input="uniform(0.1)", recurrent=" constant(2)", bias="zeros")
    assert cell.w_rec.eq(2).all()


def test_gates_beside_each_other_are_refused_too():
    for make in (Own, Said):
        with pytest.raises(ValueError, match=r"w_rec of \w+ is \[6, 24\]: gates are stacked in rows, as \[24, 6\]"):
            initialise(make(6, 24), recurrent="orthogonal")
    initialise(Own(6, 12, state=(6, 6)), recurrent="orthogonal")  # one matrix that reads both leaves, as coRNN's


@pytest.mark.parametrize(
    "rows, columns, state", [(6, 6, (6,)), (6, 3, (6,)), (6, 4, (4, 6)), (7, 6, (6,)), (4, 6, (6,))]
)
def test_one_matrix_that_is_not_square_is_one_without_a_word(rows, columns, state):
    cell = Own(rows, columns, state)
    initialise(cell, input="xavier", recurrent="orthogonal")
    assert orthogonal_blocks(cell.w_rec, 1)


def test_every_cell_says_its_gates():
    """Each of ours, so that none meets the refusal: the class says a number, and every initialiser runs."""
    for make in cells.values():
        assert make.gate_blocks is not None, make
        initialise(make(5, 6), input="xavier")


MATRICES = {  # of our cells whose matrices are not [gates * H, H]: how many blocks each has, by hand from the equations
    "ran": (lambda: RAN(5, 6), {"w_in.weight": 2, "w_in_content.weight": 1, "w_rec": 2}),
    "jordan": (lambda: Jordan(5, 12, d_out=6), {"w_in.weight": 1, "w_rec": 1}),
    "cornn": (lambda: CoRNN(5, 6), {"w_in.weight": 1, "w_rec": 1}),
    "fastgrnn": (lambda: FastGRNN(5, 12, rank_in=3, rank_rec=4), {"w_in.weight": 1, "w_rec": 1, "w_rec_low": 1}),
    "projected": (lambda: ProjectedLSTM(5, 6, d_proj=3), {"w_in.weight": 4, "w_rec": 4}),
    "projected by half": (lambda: ProjectedLSTM(5, 8, d_proj=2), {"w_in.weight": 4, "w_rec": 4}),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_of_other_shapes_are_filled_gate_by_gate(name):
    make, blocks = MATRICES[name]
    cell = make()
    initialise(cell, input="orthogonal", recurrent="orthogonal")
    for weight, count in blocks.items():
        assert orthogonal_blocks(cell.get_parameter(weight), count), weight


def test_a_vector_is_filled_where_that_has_a_meaning():
    cell = IndRNN(5, 6)
    initialise(cell, recurrent="constant(0.5)")
    assert cell.w_rec.eq(0.5).all()
    with pytest.raises(ValueError, match="want a matrix"):
        initialise(cell, recurrent="orthogonal")


class Named(Own):
    """A cell whose names say nothing, and which says what they are."""

    def __init__(self):
        super().__init__(6)
        self.u, self.shift, self.norm = nn.Linear(5, 6), nn.Parameter(torch.zeros(6)), nn.LayerNorm(6)

    def roles(self):
        return super().roles() | {"u.weight": "input", "leak": "recurrent", "shift": "bias"}


def test_a_cell_may_say_itself_what_its_parameters_are():
    cell = Named()
    before = cell.u.bias.clone()
    initialise(Zoneout(cell, 0.1), input="constant(1)", recurrent="constant(2)", bias="constant(3)")
    assert all(w.eq(1).all() for w in (cell.w_in.weight, cell.u.weight))
    assert all(w.eq(2).all() for w in (cell.w_rec, cell.leak))
    assert all(b.eq(3).all() for b in (cell.w_in.bias, cell.shift))
    assert torch.equal(cell.u.bias, before)  # no name of a role, and not said
    assert cell.norm.weight.eq(1).all()
    assert cell.norm.bias.eq(0).all()


def test_roles_by_name():
    roles = FastGRNN(5, 6, rank_rec=3).roles()
    assert roles == {
        "w_rec": "recurrent", "w_rec_low": "recurrent", "w_in.weight": "input", "b_z": "bias", "b_h": "bias",
    }  # fmt: skip
    assert Zoneout(GRU(5, 6), 0.1).roles() == {}  # the cell inside has them


@pytest.mark.parametrize(
    "roles, message",
    [
        ({"w_rec": "reccurent"}, "Wrong.roles.. knows no role 'reccurent'; did you mean recurrent"),
        ({"w_recs": "recurrent"}, "Wrong.roles.. names no parameter by 'w_recs'; did you mean w_rec"),
    ],
)
def test_roles_that_do_not_fit_are_refused(roles, message):
    wrong = type("Wrong", (Own,), {"roles": lambda self: roles})
    with pytest.raises(ValueError, match=message):
        initialise(wrong(6), recurrent="zeros")


def test_the_forget_gate_is_found_by_what_the_cell_says():
    forgets = type("Forgets", (Said,), {"forget_block": 1})
    cell = forgets(12)
    initialise(cell, bias="zeros", forget_bias=2.0)
    assert cell.w_in.bias.tolist() == [0.0] * 6 + [2.0] * 6
    for said in ({"gate_blocks": None}, {"forget_block": 2}, {"gate_blocks": 5}):
        with pytest.raises(
            ValueError, match=r"`forget_block` counts the `gate_blocks` of w_in\.bias from 0, and Wrong"
        ):
            initialise(type("Wrong", (forgets,), said)(12), forget_bias=1.0)


def test_a_linear_of_a_score_keeps_its_start() -> None:
    """It is named as a weight of a cell is, and is none. Oracle: its weight before."""
    module = nn.ModuleDict(
        {"first": nn.Linear(3, 4), "w_memory": nn.Linear(4, 4), "w_rec": nn.Linear(4, 4), "head": nn.Linear(4, 2)}
    )
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    initialise(module, input="zeros", recurrent="zeros")
    changed = [name for name, p in module.named_parameters() if not torch.equal(p, before[name])]
    assert changed == ["first.weight", "w_rec.weight"]
