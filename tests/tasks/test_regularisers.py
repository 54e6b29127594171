"""Regularisers of a language model by recipe, and dynamic evaluation: what is chosen on what, and where it is told."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ostinato import kernels
from ostinato.models import score
from ostinato.models.dynamic import dynamic_score, gradient_rms
from ostinato.tasks.language import Corpus, LanguageRecipe, LanguageTask, build
from ostinato.tasks.language.baselines import memoryless
from ostinato.tasks.language.dynamic import dynamic_figures
from ostinato.train.loop import evaluate
from ostinato.train.recipe import RecipeError, override, validate
from tiny import NO_BASELINES, SMALL, Command, options, sentences

TINY = ("data.batch=4", "data.steps=8", "data.min_count=1", "model.hidden=8")


def recipe(*overrides: str) -> LanguageRecipe:
    return validate(LanguageRecipe, override({}, (*TINY, *overrides)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("regularisers") / "text.txt"
    path.write_text(sentences(60))
    return Corpus.read(recipe(f"data.path={path}"))


def task(corpus: Corpus, *overrides: str) -> LanguageTask:
    return LanguageTask(recipe(*overrides), corpus, torch.device("cpu"))


@pytest.mark.parametrize(
    "how", [(), ("model.learned_state=true",), ("model.layers=2", "model.residual=true"), ("model.cell=gru",)]
)
def test_weight_drop_keeps_the_derived_kernel(corpus: Corpus, how: tuple[str, ...]) -> None:
    made = task(corpus, "model.dropout.recurrent=0.5", *how)
    torch.manual_seed(0)
    model = made.model()
    with kernels.backend("numba"):  # raises where it refuses
        loss, _ = made.loss(model, next(iter(made.batches(0, 0, 0, 1))), None)
    loss.backward()
    slopes = {name: p.grad for name, p in model.named_parameters() if name.endswith("w_rec")}
    assert slopes
    for name, slope in slopes.items():
        assert slope is not None, name
        assert 0.3 < float((slope == 0).double().mean()) < 0.7  # what was dropped learns nothing in this batch


def test_penalties_reach_the_model_and_stay_out_of_the_loss(corpus: Corpus) -> None:
    both = "model.regularise.activation=2", "model.regularise.temporal=1"
    told, norms = [], []
    for chosen in ((), both):
        made = task(corpus, *chosen)
        torch.manual_seed(0)
        model = made.model()
        loss, _ = made.loss(model, next(iter(made.batches(0, 0, 0, 1))), None)
        loss.backward()
        told.append(loss.item())
        norms.append([p.grad.clone() for p in model.body.parameters() if p.grad is not None])
    assert told[0] == told[1]
    assert all(not torch.equal(a, b) for a, b in zip(*norms, strict=True))


def test_what_has_no_recurrent_matrix_is_told(corpus: Corpus) -> None:
    drop = "model.dropout.recurrent=0.5"
    with pytest.raises(RecipeError, match=r"model\.dropout\.recurrent does not fit the cell indrnn: .*IndRNN has none"):
        build(recipe("model.cell=indrnn", drop).model, corpus.tokenizer)
    with pytest.raises(RecipeError, match=r"recurrent drops recurrent weights, and feedforward has none; set it to 0"):
        build(recipe("model.cell=feedforward", drop).model, corpus.tokenizer)
    own = recipe(drop, "model.regularise.temporal=1", "train.unfreeze_epochs=2", "dynamic.lr=[0.1]")
    build(memoryless(own).model, corpus.tokenizer)  # the baseline of such a recipe does without
    assert not memoryless(own).dynamic.lr


CHOICE = ("dynamic.lr=[0, 1e-4, 1e-3, 1e30]", "dynamic.decay=[0.0, 0.01]", "dynamic.streams=3", "dynamic.batches=9")


@pytest.mark.parametrize("update", ["rms", "sgd"])
@pytest.mark.parametrize("rows", ["streams", "documents"])
def test_rates_are_chosen_on_the_validation_part(corpus: Corpus, update: str, rows: str) -> None:
    made = task(corpus, *CHOICE, f"dynamic.update={update}", f"data.rows={rows}", "dynamic.tune_tokens=20")
    torch.manual_seed(0)
    model = made.model().eval()
    end = int(corpus.tokenizer.encode("\n")[-1]) if rows == "documents" else None
    ids = {name: torch.from_numpy(text.ids) for name, text in corpus.splits.items()}
    scaled = update == "rms"
    how: dict[str, Any] = {"rms": gradient_rms(model, ids["train"], streams=3, batches=9, end=end) if scaled else None}
    tried = {
        (lr, decay): float(dynamic_score(model, ids["valid"][:20], lr=lr, decay=decay, end=end, **how).mean())
        for lr in (0.0, 1e-4, 1e-3)
        for decay in (0.0, 0.01)
    }
    lr, decay = min(tried, key=lambda pair: tried[pair])
    assert lr > 0
    want = math.exp(dynamic_score(model, ids["test"], lr=lr, decay=decay, end=end, **how).mean())
    found = evaluate(made, model, "test")
    assert (found["dynamic/lr"], found["dynamic/decay"]) == (lr, decay)
    assert found["test/dynamic_perplexity"] == pytest.approx(want, rel=1e-6)
    assert found["test/perplexity"] == pytest.approx(
        evaluate(task(corpus, f"data.rows={rows}"), model, "test")["test/perplexity"]
    )
    assert not any("dynamic" in name for name in evaluate(made, model, "valid"))


def test_it_is_asked_for_or_not_done(corpus: Corpus) -> None:
    model = task(corpus).model().eval()
    assert dynamic_figures(model, recipe(), corpus, corpus.splits["test"]) == {}
    still = dynamic_figures(
        model, recipe("dynamic.lr=[0]", "dynamic.update=sgd", "dynamic.decay=[0]"), corpus, corpus.splits["test"]
    )
    plain = score(model, torch.from_numpy(corpus.splits["test"].ids))
    assert still["test/dynamic_nats_per_token"] == pytest.approx(float(plain.mean()), rel=1e-6)
    with pytest.raises(RecipeError, match=r"dynamic\.decay"):
        recipe("dynamic.decay=[]")


def test_a_trained_run_is_evaluated_dynamically(cli: Command, text: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = options("dynamic.lr=[1e-4]", "dynamic.streams=4", "dynamic.batches=20")
    first = cli("train", "language", "--text", text, "--run", run, *options(*SMALL, *NO_BASELINES), *asked, "--json")
    assert first.code == 0, first.err
    trained = json.loads(first.out)["metrics"]
    assert trained["test/dynamic_perplexity"] != trained["test/perplexity"]
    again = cli("evaluate", run, "--json")
    assert again.code == 0, again.err
    figures = json.loads(again.out)
    figures = figures.get("metrics", figures)
    assert figures["test/dynamic_perplexity"] == pytest.approx(trained["test/dynamic_perplexity"], rel=1e-6)
    other = tmp_path / "other.txt"
    other.write_text(sentences(30, seed=9))
    said = cli(
        "evaluate", run, "-o", f"data.path={other}", "-o", "dynamic.lr=[0.0]", "-o", "dynamic.decay=[0]", "--json"
    )
    assert said.code == 0, said.err
    figures = json.loads(said.out)
    figures = figures.get("metrics", figures)
    assert figures["test/dynamic_perplexity"] == pytest.approx(figures["test/perplexity"], rel=1e-6)
