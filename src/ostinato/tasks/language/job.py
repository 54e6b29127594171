"""From a recipe to a run folder: train, evaluate, compare, sample, report."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ...data.tokens import Tokenizer
from ...kernels.torch.softmax import native_bfloat16
from ...models import LanguageModel
from ...recurrent import Cell
from ...report import write_report
from ...train import checkpoint
from ...train.loop import Listener, Trainer, evaluate
from ...train.recipe import RecipeError, read, validate
from ..run import Run
from . import baselines
from .recipe import MEMORYLESS, LanguageRecipe
from .task import Corpus, LanguageTask, build
from .writing import beginning, known, samples, written


def device_of(name: str) -> torch.device:
    """The device that a recipe names; "auto" is the GPU if there is one. Under torchrun each rank gets its own GPU.

    Raises:
        RecipeError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); use cpu") from None
    return device


def train(recipe: LanguageRecipe, folder: Path | None, listen: Listener, resume: bool = False) -> dict[str, Any]:
    """Trains what the recipe says and fills the run folder; gives what stands in results.json.

    Args:
        folder: of the run; None: runs/NAME. With `resume` an existing one.
        listen: gets every event, also those that go to events.jsonl.
    """
    device = device_of(recipe.device)
    first = int(os.environ.get("RANK", "0")) == 0
    recipe = _resolved(recipe, device)
    started: dict[str, Any] = {}
    if resume:
        assert folder is not None
        run = Run.open(folder, needs=("recipe.toml", "tokenizer.json", "checkpoint/last.safetensors"))
        corpus = Corpus.read(recipe, Tokenizer.load(run.tokenizer))
    else:
        corpus = Corpus.read(recipe)
        for prompt in recipe.samples.prompts:
            beginning(corpus.tokenizer, prompt)
        # Complains about a short text, or what no model can be made of, before any folder is made.
        started = _start(recipe, corpus, LanguageTask(recipe, corpus, device), device)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # All ranks must mean the same folder, so none looks for a free name.
            folder = folder or Path("runs") / (recipe.name or recipe.task)
        run = Run.create(folder, recipe) if first else Run(folder or Path())
        if first:
            corpus.tokenizer.save(run.tokenizer)
    task = LanguageTask(recipe, corpus, device)

    def tell(event: dict[str, Any]) -> None:
        if first:
            if event["event"] not in ("phase", "baseline_step", "checkpoint"):
                run.event(event)
            listen(event)

    trainer = Trainer(task, recipe.train, run.checkpoint, recipe.seed, device, recipe.dtype, tell)
    if not resume:
        tell(started)
    model, report = trainer.run(resume)
    assert isinstance(model, LanguageModel)
    if not first:
        return {}
    if resume:
        run.describe(recipe)  # overrides hold from now on
    checkpoint.save(run.weights, checkpoint.weights(model), {"step": report.progress.best_step})
    parameters = sum(p.numel() for p in model.parameters())
    run.configure(task="language", parameters=parameters, torch=torch.__version__, interrupted=report.interrupted)
    tell({"event": "phase", "text": "evaluating"})
    model.eval()
    figures = evaluate(task, model, "valid")
    table: list[dict[str, Any]] = []
    if not report.interrupted:
        figures |= evaluate(task, model, "test")
        own = baselines.row(title(recipe), "recurrent", parameters, figures, report.items_per_second, "this run")
        table = [own, *baselines.rows(recipe, corpus, device, tell)]
    results = {
        "name": recipe.name or recipe.task,
        "run": str(run),
        "interrupted": report.interrupted,
        "metrics": {
            **figures,
            "train/seconds": report.progress.seconds,
            "train/tokens_per_s": report.items_per_second,
            "train/steps": float(report.progress.step),
            "parameters": float(parameters),
        },
        "table": table,
        "samples": [] if report.interrupted else list(samples(recipe, model, corpus)),
        "kernel": kernel_path(model, recipe, device),
        "recipe": run.recipe.read_text(encoding="utf-8"),
        "notes": [note for note in (task.vectors, _machine()) if note],
    }
    run.finish(results)
    tell({"event": "end", "interrupted": report.interrupted, "metrics": results["metrics"]})
    tell({"event": "phase", "text": "writing the report"})
    results["report"] = str(write_report(run.path, model))
    return results


def _resolved(recipe: LanguageRecipe, device: torch.device) -> LanguageRecipe:
    """The recipe with whole paths, so that its run can be used from any folder, and what dtype "auto" means here."""
    data, model = recipe.data, recipe.model
    if data.path is not None:
        data = data.model_copy(update={"path": str(Path(data.path).resolve())})
    if model.vectors is not None:
        model = model.model_copy(update={"vectors": str(Path(model.vectors).resolve())})
    dtype = recipe.dtype
    if dtype == "auto":
        cuda = device.type == "cuda"
        half = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else native_bfloat16()
        dtype = "bfloat16" if half else "float32"
    return recipe.model_copy(update={"data": data, "model": model, "dtype": dtype})


def title(recipe: LanguageRecipe) -> str:
    """'lstm 2 x 256'"""
    return f"{recipe.model.cell} {recipe.model.layers} x {recipe.model.hidden}"


def _start(recipe: LanguageRecipe, corpus: Corpus, task: LanguageTask, device: torch.device) -> dict[str, Any]:
    parameters = sum(p.numel() for p in build(recipe.model, corpus.tokenizer)[0].parameters())
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {"event": "start", "parameters": parameters, "device": str(device), "dtype": recipe.dtype,
            "versions": versions, "machine": _machine(), "vocabulary": corpus.tokenizer.size,
            "tokens": {name: len(text.ids) for name, text in corpus.splits.items()},
            "batches": task.batch_count()}  # fmt: skip


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"


def kernel_path(model: LanguageModel, recipe: LanguageRecipe, device: torch.device) -> str:
    """Which kernel runs a training batch of each cell, and why not the others."""
    lines = []
    d_in, dtype = recipe.model.width or recipe.model.hidden, next(model.parameters()).dtype
    for name, cell in model.named_modules():
        if not isinstance(cell, Cell):
            continue
        x = torch.zeros(recipe.data.batch, recipe.data.steps, d_in, dtype=dtype, device=device)
        d_in = recipe.model.hidden
        lines += [f"{name} ({cell.recurrence.name}, batch {x.shape[0]}, {x.shape[1]} steps)"]
        lines += ["    " + line for line in cell.explain(x).splitlines()]
    if recipe.model.cell == MEMORYLESS:
        lines.append("no recurrence: the feed-forward net sees one token at a time")
    return "\n".join(lines)


def load(path: Path, overrides: tuple[str, ...] = ()) -> tuple[LanguageModel, LanguageRecipe, Tokenizer, Run]:
    """A trained model from its run folder, in eval mode.

    Raises:
        RunError, CheckpointError, RecipeError: the folder, the weights or an override do not fit.
    """
    run = Run.open(path)
    recipe = validate(LanguageRecipe, read(run.recipe, overrides), str(run.recipe))
    tokenizer = Tokenizer.load(run.tokenizer)
    model, _ = build(recipe.model.model_copy(update={"vectors": None}), tokenizer)
    model.to(torch.float64 if recipe.dtype == "float64" else torch.float32)
    checkpoint.restore(model, checkpoint.load(run.weights)[0], run.weights)
    return model.to(device_of(recipe.device)).eval(), recipe, tokenizer, run


def evaluate_run(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, float]:
    """The metrics of a trained model on its own text, or on the one that `data.path=...` names."""
    model, recipe, tokenizer, _ = load(path, overrides)
    task = LanguageTask(recipe, Corpus.read(recipe, tokenizer), device_of(recipe.device))
    return {**evaluate(task, model, "valid"), **evaluate(task, model, "test")}


def continue_text(
    path: Path, prompt: str, count: int, sampling: dict[str, Any], stop: str = "", unknown: bool = False
) -> Iterator[str]:
    """The text that a trained model writes after `prompt`, piece by piece.

    Raises:
        ValueError: the prompt has words that the model does not know, unless `unknown` lets them be <unk>.
    """
    model, _, tokenizer, _ = load(path)
    known(tokenizer, "" if unknown else prompt, stop)
    return written(model, tokenizer, prompt, count, sampling, stop)
