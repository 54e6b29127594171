"""Layers that learn at their own rates and from their own epochs on, against formulas and the loop that never stops."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ostinato.models import LanguageModel
from ostinato.tasks.language import Corpus
from ostinato.train.groups import checked, thaw
from ostinato.train.loop import Listener, Trainer
from ostinato.train.optimise import optimiser, set_rate
from ostinato.train.recipe import OPTIMISERS, Optimiser
from small_loop import assert_same_run, everything, quiet, trainer

SLOWLY = ("train.epochs=5", "train.unfreeze_epochs=1", "train.optimiser.layer_decay=0.5", "train.evaluate_steps=1000")
NAMES = ("embedding.", "body.parts.1.", "body.parts.3.", "head.")  # the groups of the small model, bottom to top


class Stop(Exception):
    """What a listener raises."""


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.Linear(5, 2))


def groups_of(model: nn.Sequential) -> list[list[nn.Parameter]]:
    return [list(part.parameters()) for part in model]


def test_each_group_has_its_share_of_the_rate() -> None:
    for name in OPTIMISERS:
        made = optimiser(groups_of(layers()), Optimiser(name=name, lr=0.8, layer_decay=0.5))
        for _ in range(2):
            rates = {p: group["lr"] for group in made.param_groups for p in group["params"]}
            assert list(rates.values()) == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.8, 0.8])
            set_rate(made, 0.8)


def test_a_step_of_each_group_is_that_of_its_own_rate() -> None:
    model = layers()
    before = [p.detach().clone() for p in model.parameters()]
    made = optimiser(groups_of(model), Optimiser(name="sgd", lr=0.8, layer_decay=0.5))
    model(torch.ones(1, 3)).sum().backward()
    made.step()
    for p, old, lr in zip(model.parameters(), before, (0.2, 0.2, 0.4, 0.4, 0.8, 0.8), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.detach(), old - lr * p.grad)


def test_one_more_group_learns_after_each_span() -> None:
    model = layers()
    groups = checked(groups_of(model), model)
    seen = []
    for epoch in range(6):
        learning = thaw(groups, epoch, 2)
        assert [p for p in model.parameters() if p.requires_grad] == learning
        seen.append(len(learning))
    assert seen == [2, 2, 4, 4, 6, 6]
    assert len(thaw(groups, 0, None)) == 6


def test_a_weight_that_does_not_learn_costs_nothing_on_the_way_back() -> None:
    model = layers()
    model(torch.ones(1, 3)).sum().backward()
    thaw(checked(groups_of(model), model), 0, 1)
    assert [p.grad is None for p in model.parameters()] == [True] * 4 + [False] * 2
    assert not model[:2](torch.ones(1, 3)).requires_grad


def test_what_must_not_learn_never_does() -> None:
    model = layers()
    model[2].weight.requires_grad_(False)
    model[0].requires_grad_(False)
    groups = checked(groups_of(model), model)
    assert [len(group) for group in groups] == [2, 1]
    thaw(groups, 5, 1)
    assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, False, True]


def test_groups_that_do_not_hold_each_weight_once_are_told() -> None:
    model = layers()
    whole = groups_of(model)
    with pytest.raises(ValueError, match=r"each weight of the model once, and holds 2\.weight 0 times"):
        checked(whole[:2], model)
    with pytest.raises(ValueError, match=r"and holds 0\.weight 2 times"):
        checked([*whole, whole[0]], model)
    with pytest.raises(ValueError, match=r"weights of the model alone, and holds one of shape \(7,\) besides"):
        checked([*whole, [nn.Parameter(torch.zeros(7))]], model)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[bool]:
    """For each group, whether any of its weights changed; all of them did then."""
    found = []
    for start in NAMES:
        changed = {not torch.equal(w, after[name]) for name, w in before.items() if name.startswith(f"model/{start}")}
        assert len(changed) == 1
        found.append(changed.pop())
    return found


@pytest.mark.parametrize("name", ["adamw", "momentum"])
def test_a_training_thaws_from_the_top(corpus: Corpus, tmp_path: Path, name: str) -> None:
    chosen = (*SLOWLY, f"train.optimiser.name={name}", "train.optimiser.weight_decay=0.1", "train.ema=0.5")
    saved: list[dict[str, Tensor]] = []
    made: list[Trainer] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "evaluate":
            model = made[0].model
            assert isinstance(model, LanguageModel)
            saved.append({f"model/{n}": p.detach().clone() for n, p in model.named_parameters()})

    made.append(trainer(corpus, None, listen, *chosen, "train.evaluate_epochs=1"))
    model, _ = made[0].run()
    torch.manual_seed(made[0].seed)
    saved.insert(0, {f"model/{n}": p.detach() for n, p in made[0].task.model().named_parameters()})
    stages = [moved(a, b) for a, b in pairwise(saved)]
    assert stages[:4] == [[number >= 3 - epoch for number in range(4)] for epoch in range(4)]
    assert all(p.requires_grad for p in model.parameters())


def raise_at(step: int) -> Listener:
    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == step:
            raise Stop

    return listen


# In the first epoch, where the second group begins to learn (17), in mid-epoch later.
@pytest.mark.parametrize("step", [5, 17, 18, 40])
def test_a_training_that_thaws_resumes_bit_for_bit(corpus: Corpus, tmp_path: Path, step: int) -> None:
    chosen = (*SLOWLY, "train.schedule.name=triangular")
    trainer(corpus, tmp_path / "whole", quiet, *chosen).run()
    with pytest.raises(Stop):
        trainer(corpus, tmp_path / "parts", raise_at(step), *chosen).run()
    trainer(corpus, tmp_path / "parts", quiet, *chosen).run(resume=True)
    assert everything(tmp_path / "whole")[2]["progress"]["epoch"] == 5
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
