"""Optimisers, schedules, clipping and averages, against formulas written out here and torch's plain updates."""

import math

import pytest
import torch
from torch import Tensor, nn

from ostinato.train.average import Average
from ostinato.train.optimise import clip, optimiser, set_rate
from ostinato.train.rate import LearningRate
from ostinato.train.recipe import OPTIMISERS, Optimiser, Schedule, Training


class Point(nn.Module):
    """A matrix and a vector, at a distance from where they should be."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(3, 4, generator=draw, dtype=torch.float64))
        self.vector = nn.Parameter(torch.randn(4, generator=draw, dtype=torch.float64))
        self.goal = [torch.randn(p.shape, generator=draw, dtype=torch.float64) for p in self.parameters()]

    def loss(self) -> Tensor:
        return sum(((p - g) ** 2).sum() for p, g in zip(self.parameters(), self.goal, strict=True)) / 2  # type: ignore[return-value]


def step(model: Point, chosen: torch.optim.Optimizer) -> float:
    chosen.zero_grad()
    loss = model.loss()
    loss.backward()
    chosen.step()
    return float(loss.detach())


def updates(model: Point, chosen: torch.optim.Optimizer, count: int) -> list[Tensor]:
    for _ in range(count):
        step(model, chosen)
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_goes_down_a_quadratic(name: str) -> None:
    model = Point()
    chosen = optimiser([[*model.parameters()]], Optimiser(name=name, lr={"adagrad": 0.5}.get(name, 0.05)))
    losses = [step(model, chosen) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


def test_sgd_is_torchs_sgd() -> None:
    ours, theirs = Point(), Point()
    chosen = optimiser([[*ours.parameters()]], Optimiser(name="sgd", lr=0.1, weight_decay=0.02))
    plain = torch.optim.SGD(theirs.parameters(), 0.1, weight_decay=0.02, foreach=False)
    torch.testing.assert_close(updates(ours, chosen, 5), updates(theirs, plain, 5), rtol=0, atol=1e-14)


def test_momentum_follows_its_formula() -> None:
    model = Point()
    chosen = optimiser([[*model.parameters()]], Optimiser(name="momentum", lr=0.1, momentum=0.8))
    w, v = model.vector.detach().clone(), torch.zeros(4, dtype=torch.float64)
    for _ in range(4):
        v = 0.8 * v + (w - model.goal[1])
        w = w - 0.1 * v
    torch.testing.assert_close(updates(model, chosen, 4)[1], w, rtol=0, atol=1e-14)


def test_adamw_is_torchs_adamw_and_spares_vectors() -> None:
    ours, theirs = Point(), Point()
    chosen = optimiser(
        [[*ours.parameters()]], Optimiser(name="adamw", lr=0.1, betas=(0.8, 0.95), weight_decay=0.3, eps=1e-7)
    )
    groups = [{"params": [theirs.matrix], "weight_decay": 0.3}, {"params": [theirs.vector], "weight_decay": 0.0}]
    plain = torch.optim.AdamW(groups, 0.1, (0.8, 0.95), 1e-7, foreach=False, fused=False)
    torch.testing.assert_close(updates(ours, chosen, 5), updates(theirs, plain, 5), rtol=0, atol=1e-13)


def test_weights_that_need_no_gradient_are_left_out() -> None:
    model = Point()
    model.matrix.requires_grad_(False)
    before = model.matrix.clone()
    updates(model, optimiser([[*model.parameters()]], Optimiser(weight_decay=0.5)), 3)
    assert torch.equal(model.matrix, before)


def test_cosine_with_warm_up_at_chosen_steps() -> None:
    schedule = Schedule(name="cosine", warmup_steps=10, floor=0.1)
    rate = LearningRate(Training(optimiser=Optimiser(lr=2.0), schedule=schedule), total=110)
    assert rate.at(0) == pytest.approx(0.2)
    assert rate.at(9) == rate.at(10) == pytest.approx(2.0)
    assert rate.at(60) == pytest.approx(2 * (0.1 + 0.9 / 2))  # half of the way
    assert rate.at(35) == pytest.approx(2 * (0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2))  # cos(pi / 4)
    assert rate.at(110) == rate.at(500) == pytest.approx(0.2)


def test_constant_stays_after_the_warm_up() -> None:
    schedule = Schedule(name="constant", warmup_steps=2)
    rate = LearningRate(Training(optimiser=Optimiser(lr=3.0), schedule=schedule), total=9)
    for metric in (1.0, 2.0):
        rate.evaluated(metric)
    assert [rate.at(t) for t in range(4)] == [1.5, 3.0, 3.0, 3.0]


def test_a_short_training_warms_up_for_a_quarter_of_it() -> None:
    schedule = Schedule(name="constant", warmup_steps=50)
    rate = LearningRate(Training(optimiser=Optimiser(lr=3.0), schedule=schedule), total=12)
    assert [rate.at(t) for t in range(4)] == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(("cut_frac", "ratio"), [(0.1, 32.0), (0.25, 5.0)])
def test_triangular_is_howards_and_ruders_formula(cut_frac: float, ratio: float) -> None:
    schedule = Schedule(name="triangular", cut_frac=cut_frac, ratio=ratio, warmup_steps=7)
    rate = LearningRate(Training(optimiser=Optimiser(lr=0.01), schedule=schedule), total=200)
    cut = math.floor(200 * cut_frac)
    for t in range(201):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        assert rate.at(t) == pytest.approx(0.01 * (1 + p * (ratio - 1)) / ratio, rel=1e-9)
    assert rate.at(cut) == pytest.approx(0.01)
    assert rate.at(0) == rate.at(10_000) == pytest.approx(0.01 / ratio)


@pytest.mark.parametrize("total", [1, 2, 3, 9])
def test_triangular_goes_with_any_number_of_steps(total: int) -> None:
    rate = LearningRate(Training(optimiser=Optimiser(lr=1.0), schedule=Schedule(name="triangular")), total)
    rates = [rate.at(t) for t in range(total + 2)]
    assert all(1 / 32 <= lr <= 1 for lr in rates)
    assert rates[-1] == 1 / 32


@pytest.mark.parametrize("name", ["asgd", "ntasgd"])
def test_averaged_sgd_takes_each_step_at_its_own_rate(name: str) -> None:
    ours, theirs = Point(), Point()
    chosen = optimiser([[*ours.parameters()]], Optimiser(name=name, lr=0.5, weight_decay=0.02))
    plain = torch.optim.SGD(theirs.parameters(), 0.5, weight_decay=0.02, foreach=False)
    for lr in (0.1, 0.4, 0.01, 0.3):
        set_rate(chosen, lr)
        plain.param_groups[0]["lr"] = lr
        torch.testing.assert_close(updates(ours, chosen, 1), updates(theirs, plain, 1), rtol=0, atol=1e-14)


def test_plateau_decays_when_nothing_better_comes() -> None:
    schedule = Schedule(name="plateau", factor=0.5, patience=1, floor=0.2)
    rate = LearningRate(Training(optimiser=Optimiser(lr=1.0), schedule=schedule), total=9)
    seen = []
    for metric in (5.0, 4.0, 4.0, 4.0, 3.0, 3.5, 3.5, 3.5, 3.5, 3.5, 3.5):
        rate.evaluated(metric)
        seen.append(rate.at(100))
    #      5  4  4 | 4   better    | second worse    | floor
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    again = LearningRate(Training(optimiser=Optimiser(lr=1.0), schedule=schedule), total=9)
    again.load(rate.state())
    assert again.at(100) == 0.2


@pytest.mark.parametrize("limit", [0.5, 5.0, 50.0])
def test_clipping_by_norm_is_the_lectures_formula(limit: float) -> None:
    draw = torch.Generator().manual_seed(1)
    grads = [torch.randn(4, 3, generator=draw).double() * 2, torch.randn(5, generator=draw).double()]
    weights = [nn.Parameter(torch.zeros_like(g)) for g in grads]
    for w, g in zip(weights, grads, strict=True):
        w.grad = g.clone()
    weights.append(nn.Parameter(torch.zeros(2)))  # no gradient came here
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
    assert 0.5 < norm < 50
    assert clip(weights, Training(clip_norm=limit)) == pytest.approx(norm, rel=1e-12)
    for w, g in zip(weights, grads, strict=False):
        torch.testing.assert_close(w.grad, g * min(1.0, limit / norm), rtol=1e-12, atol=0)


def test_clipping_by_value_and_then_by_norm() -> None:
    w = nn.Parameter(torch.zeros(3))
    w.grad = torch.tensor([-3.0, 0.5, 2.0])
    assert clip([w], Training(clip_value=1.0)) == pytest.approx(math.sqrt(9 + 0.25 + 4))
    assert torch.equal(w.grad, torch.tensor([-1.0, 0.5, 1.0]))
    w.grad = torch.tensor([-3.0, 0.5, 2.0])
    clip([w], Training(clip_value=1.0, clip_norm=0.75))
    torch.testing.assert_close(w.grad, torch.tensor([-1.0, 0.5, 1.0]) * 0.75 / 1.5)  # |(-1, 0.5, 1)| = 1.5


@pytest.mark.parametrize("wrong", [math.inf, math.nan])
def test_clipping_leaves_what_is_not_finite_where_it_is(wrong: float) -> None:
    good, bad = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    good.grad, bad.grad = torch.ones(2), torch.tensor([1.0, wrong])
    assert not math.isfinite(clip([good, bad], Training(clip_norm=0.1, clip_value=10.0)))
    assert torch.equal(good.grad, torch.ones(2))
    assert not torch.isfinite(bad.grad).all()


def test_the_exponential_average_is_the_one_computed_by_hand() -> None:
    model, decay = Point(), 0.5
    recipe = Training(optimiser=Optimiser(name="sgd", lr=0.1), ema=decay)
    chosen = optimiser([[*model.parameters()]], recipe.optimiser)
    average = Average(model, recipe)
    by_hand: list[Tensor] = []
    now: list[Tensor] = []
    for age in range(8):
        now = updates(model, chosen, 1)
        average.update(age + 1)
        # Young averages forget faster: (1 + age) / (10 + age), until that reaches the decay.
        d = min(decay, (1 + age) / (10 + age))
        by_hand = [d * a + (1 - d) * w for a, w in zip(by_hand, now, strict=True)] if by_hand else now
    torch.testing.assert_close(average.tensors(), by_hand, rtol=1e-12, atol=1e-12)
    with average.applied():
        torch.testing.assert_close(list(model.parameters()), by_hand, rtol=1e-12, atol=1e-12, check_dtype=False)
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), now, strict=True))


@pytest.mark.parametrize("start", [1, 3])
def test_asgd_evaluates_the_mean_of_its_weights(start: int) -> None:
    model = Point()
    recipe = Training(optimiser=Optimiser(name="asgd", lr=0.1, average_from=start))
    chosen = optimiser([[*model.parameters()]], recipe.optimiser)
    average = Average(model, recipe)
    path = []
    for number in range(1, 9):
        path.append(updates(model, chosen, 1))
        average.update(number)
    mean = [torch.stack(weights).mean(0) for weights in zip(*path[start - 1 :], strict=True)]
    with average.applied():
        torch.testing.assert_close([p.detach() for p in model.parameters()], mean, rtol=1e-6, atol=1e-6)
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), path[-1], strict=True))


def test_weights_come_back_when_an_evaluation_fails() -> None:
    model = Point()
    recipe = Training(optimiser=Optimiser(name="sgd", lr=0.1), ema=0.9)
    chosen = optimiser([[*model.parameters()]], recipe.optimiser)
    average = Average(model, recipe)
    updates(model, chosen, 1)
    average.update(1)
    own = updates(model, chosen, 1)
    with pytest.raises(RuntimeError, match="on purpose"), average.applied():
        raise RuntimeError("on purpose")
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), own, strict=True))
