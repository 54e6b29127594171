"""python -m benchmarks.compare cells|optimisers|initialisers: one job, one budget, one thing changed.

The job is the demo's: a word-level language model of the documentation topics that come with Python. Rows differ in
the cell (features row M10), the optimiser (T1) or the recurrent net's initialiser (G17); `--figure FILE` draws the
learning curves. Learning rates are those that did best on validation data (2 epochs,
64 units) among 1e-3, 3e-3, 1e-2, 3e-2 and, for the optimisers without adaptive steps, 0.1, 0.3, 1, 3, 10: `--tune` runs
that search again.
"""

import argparse
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from ostinato.console import out, table
from ostinato.tasks.language import Corpus, LanguageRecipe, LanguageTask
from ostinato.tasks.language.demo import python_topics
from ostinato.train.loop import Diverged, Trainer, evaluate
from ostinato.train.recipe import find, override, read, validate

INITIALISERS = {
    "default: uniform(1/sqrt(H))": {},
    "uniform(1)": {"input": "uniform(1)", "recurrent": "uniform(1)"},
    "zeros": {"input": "zeros", "recurrent": "zeros", "embedding": "zeros", "output": "zeros", "bias": "zeros"},
    "normal(0.01)": {"input": "normal(0.01)", "recurrent": "normal(0.01)"},
    "truncated_normal(0.1)": {"input": "truncated_normal(0.1)", "recurrent": "truncated_normal(0.1)"},
    "xavier + orthogonal": {"input": "xavier", "recurrent": "orthogonal", "bias": "zeros"},
}
LR = {"sgd": 10.0, "momentum": 3.0, "adagrad": 0.03, "rmsprop": 1e-3, "adam": 0.03, "adamw": 0.03, "asgd": 10.0}
TRIED = {True: (1e-3, 3e-3, 1e-2, 3e-2), False: (0.1, 0.3, 1.0, 3.0, 10.0)}


def variants(what: str) -> dict[str, list[str]]:
    """Row name -> the overrides that make it."""
    if what == "cells":
        names = ("elman", "mgu", "gru_reset_before", "gru", "lstm", "jordan", "feedforward")
        return {name: [f"model.cell={name}"] for name in names}
    if what == "optimisers":
        # Without weight decay: where it is a part of the gradient, it is another thing than in "adamw".
        plain = "train.optimiser.weight_decay=0"
        return {n: [f"train.optimiser.name={n}", plain, f"train.optimiser.lr={lr}"] for n, lr in LR.items()}
    rows = {}
    for name, kinds in INITIALISERS.items():
        rows[name] = ["model.cell=elman", *(f"model.initial.{k}={v!r}" for k, v in kinds.items())]
        if name == "zeros":
            rows[name].append("model.tied=false")  # a tied softmax would be the embedding's zeros twice
    return rows


def learn(overrides: list[str], text: Path, epochs: int, hidden: int) -> tuple[dict[str, Any], list[float]]:
    """One row: (figures, validation perplexity after each epoch)."""
    raw = read(find("demo"), [f"data.path={str(text)!r}", f"train.epochs={epochs}", f"model.hidden={hidden}"])
    recipe = validate(LanguageRecipe, override(raw, overrides), "comparison")
    curve: list[float] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "evaluate":
            curve.append(event["metrics"]["valid/perplexity"])

    task = LanguageTask(recipe, Corpus.read(recipe), torch.device("cpu"))
    once = recipe.train.model_copy(update={"max_steps": 1})
    with suppress(Diverged):  # a kernel is compiled before the clock starts
        Trainer(task, once, None, recipe.seed, torch.device("cpu"), recipe.dtype, lambda event: None).run()
    trainer = Trainer(task, recipe.train, None, recipe.seed, torch.device("cpu"), recipe.dtype, listen)
    began = time.perf_counter()
    try:
        model, report = trainer.run()
    except Diverged as error:
        return {"parameters": None, "ms/step": None, "note": str(error)[:60]}, curve
    steps = report.progress.step
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "ms/step": round(1000 * report.progress.seconds / steps, 1),
        "valid/perplexity": round(min(curve), 1),
        "test/perplexity": round(evaluate(task, model, "test")["test/perplexity"], 1),
        "seconds": round(time.perf_counter() - began, 1),
    }, curve


def draw(curves: dict[str, list[float]], title: str, path: Path) -> None:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot(range(1, len(curve) + 1), curve, marker="o", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel="validation perplexity", yscale="log", title=title)
    axes.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cells", "optimisers", "initialisers"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--figure", type=Path, help="write the learning curves there (.png or .svg)")
    parser.add_argument("--tune", action="store_true", help="for optimisers: try the learning rates again")
    chosen = parser.parse_args()
    rows, curves = [], {}
    with tempfile.TemporaryDirectory() as folder:
        text = python_topics(Path(folder))
        for name, overrides in variants(chosen.what).items():
            tries = [overrides]
            if chosen.tune and chosen.what == "optimisers":
                adaptive = name in ("adagrad", "rmsprop", "adam", "adamw")
                tries = [[*overrides, f"train.optimiser.lr={lr}"] for lr in TRIED[adaptive]]
            results = [(learn(each, text, chosen.epochs, chosen.hidden), each[-1]) for each in tries]
            ok = [r for r in results if r[0][0].get("valid/perplexity")] or results[:1]
            (figures, curve), last = min(ok, key=lambda r: r[0][0].get("valid/perplexity", 1e9))
            rows.append({chosen.what[:-1]: name, **figures, **({"best": last} if chosen.tune else {})})
            curves[name] = curve
            out.print(rows[-1])
    out.print(table(rows, title=f"{chosen.what}, {chosen.epochs} epochs, hidden {chosen.hidden}"))
    if chosen.figure:
        draw(curves, f"{chosen.what} on one job", chosen.figure)


if __name__ == "__main__":
    main()
