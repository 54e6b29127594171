"""From a recipe to a run folder: train, evaluate, compare, sample, report."""

import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...data.tokens import Tokenizer
from ...kernels.torch.softmax import native_bfloat16
from ...models import LanguageModel
from ...recurrent import Cell
from ...report import write_report
from ...train import checkpoint
from ...train.loop import Listener, Report, Trainer, evaluate
from ...train.recipe import RecipeError, read, refuse_changes, validate
from ..run import RESUMED, Run
from . import baselines
from .corpus import Corpus
from .recipe import MEMORYLESS, LanguageRecipe
from .task import LanguageTask, build
from .writing import beginning, known, samples

# What --resume may change in a recipe, and what it may not within that.
FREE = ("name", "about", "device", "data.path", "data.valid_streams", "train", "baselines", "samples")
FIXED = ("train.optimiser.name", "train.ema")


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
        run = Run.open(folder, needs=RESUMED)
        before = validate(LanguageRecipe, read(run.recipe), str(run.recipe))
        refuse_changes(before, recipe, FREE, FIXED, " in a run that goes on; start a new one for that")
        if first:
            run.sweep()
        corpus = Corpus.read(recipe, Tokenizer.load(run.tokenizer))
    else:
        corpus = Corpus.read(recipe)
        for prompt in recipe.samples.prompts:
            known(corpus.tokenizer, prompt, way_out=" (samples.prompts)")
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
        if not first:
            return
        if event["event"] == "resume":
            run.describe(recipe)  # the checkpoint fits: overrides hold from now on
        if event["event"] not in ("phase", "baseline_step", "checkpoint"):
            run.event(event)
        listen(event)

    trainer = Trainer(task, recipe.train, run.checkpoint, recipe.seed, device, recipe.dtype, tell)
    try:
        if not resume:
            tell(started)
        for doubt in corpus.doubts():
            tell({"event": "phase", "text": f"note: {doubt}"})
        model, report = trainer.run(resume)
        return _finished(task, run, model, report, tell) if first else {}
    except KeyboardInterrupt:
        going_on = (run.path / RESUMED[-1]).is_file()
        raise KeyboardInterrupt(
            f"interrupted; go on with: ostinato train --resume {run}" if going_on else
            f"interrupted before the first checkpoint: {run} holds nothing to go on with"
        ) from None  # fmt: skip


def _finished(task: LanguageTask, run: Run, model: nn.Module, report: Report, tell: Listener) -> dict[str, Any]:
    """Fills the run folder with what the trained model is and can do; gives what stands in results.json."""
    assert isinstance(model, LanguageModel)
    recipe, corpus, device = task.recipe, task.corpus, task.device
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
        "notes": [note for note in (task.vectors, *corpus.doubts(), _machine()) if note],
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
    threads = torch.get_num_threads()
    return f"{platform.system()} {platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"


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
