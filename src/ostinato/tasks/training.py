"""From a recipe to a run folder, whatever the task: read, train, evaluate, compare, report."""

import os
import platform
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ..kernels.cpu.runtime.cpu_features import has_bfloat16_matmul
from ..kernels.cpu.runtime.malloc import retain_freed_pages
from ..report import write_report
from ..train import checkpoint
from ..train.loop import LAST, Listener, Report, Trainer, evaluate
from ..train.recipe import Recipe, read, refuse_changes, validate
from ..train.task import Task
from .folds import cross_validated
from .job import Job, device_of
from .kernels import kernel_path
from .rivals import alone, quiet
from .run import RESUMED, Run

R = TypeVar("R", bound=Recipe)

# What --resume may change in every recipe, and what it may not within that.
FREE = ("name", "about", "device", "data.path", "train", "baselines")
FIXED = ("train.optimiser.name", "train.optimiser.layer_decay", "train.ema")


def train(job: Job[R, Any], recipe: R, folder: Path | None, listen: Listener, resume: bool = False) -> dict[str, Any]:
    """Trains what the recipe says and fills the run folder; gives what stands in results.json.

    Args:
        folder: of the run; None: runs/NAME. With `resume` an existing one.
        listen: gets every event, also those that go to events.jsonl.
    """
    retain_freed_pages()
    device = device_of(recipe.device)
    first = int(os.environ.get("RANK", "0")) == 0
    recipe = _resolved(job, recipe, device)
    started: dict[str, Any] = {}
    if resume:
        assert folder is not None
        run = Run.open(folder, needs=RESUMED)
        before = validate(job.schema, read(run.recipe), str(run.recipe))
        refuse_changes(before, recipe, (*FREE, *job.free), FIXED, " in a run that goes on; start a new one for that")
        if first:
            run.sweep()
        data = job.read(recipe, run.tokenizer)
    else:
        data = job.read(recipe)
        job.check(recipe, data)
        # Complains about a short text, or what no model can be made of, before any folder is made.
        started = _start(recipe, data, job.task(recipe, data, device), device)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # All ranks must mean the same folder, so none looks for a free name.
            folder = folder or Path("runs") / (recipe.name or recipe.task)
        run = Run.create(folder, recipe) if first else Run(folder or Path())
        if first:
            data.save(run.tokenizer)
    task = job.task(recipe, data, device)

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
        for doubt in data.doubts():
            tell({"event": "phase", "text": f"note: {doubt}"})
        prepared = job.prepare(task, recipe, data, run, tell)
        # A run that was interrupted before that has no checkpoint of its own yet.
        model, report = trainer.run(resume and (run.checkpoint / LAST).is_file())
        return _finished(job, recipe, data, task, run, model, report, tell, prepared) if first else {}
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; go on with: ostinato train --resume {run}" if run.goes_on() else
            f"interrupted before the first checkpoint: {run} holds nothing to go on with"
        ) from None  # fmt: skip


def _finished(
    job: Job[R, Any], recipe: R, data: Any, task: Task[Any], run: Run, model: nn.Module, report: Report, tell: Listener,
    prepared: dict[str, float],
) -> dict[str, Any]:  # fmt: skip
    """Fills the run folder with what the trained model is and can do; gives what stands in results.json."""
    device = next(model.parameters()).device
    checkpoint.save(run.weights, checkpoint.weights(model), {"step": report.progress.best_step})
    parameters = sum(p.numel() for p in model.parameters())
    run.configure(task=recipe.task, parameters=parameters, torch=torch.__version__, interrupted=report.interrupted)
    tell({"event": "phase", "text": "evaluating"})
    model.eval()
    table: list[dict[str, Any]] = []
    extras: dict[str, Any] = {}
    once = ""
    if report.interrupted:
        figures = evaluate(task, model, "valid")
    else:
        figures, table = _compared(job, recipe, data, task, model, report, tell)
        extras = job.extras(task, model, figures)
        if folds := job.folds(recipe):
            others = partial(_fold, job, recipe, device, tell)
            own = folds.fold, (figures, table)
            learnt = recipe.model_dump_json(exclude={"name", "about", "device"})
            figures, table = cross_validated(folds.folds, *own, others, run.path / "folds.json", learnt)
            once = (
                f"figures and table: means of {folds.folds} folds; what is shown of single rows is of fold {folds.fold}"
            )
    results = {
        "name": recipe.name or recipe.task,
        "task": recipe.task,
        "run": str(run),
        "interrupted": report.interrupted,
        "metrics": {
            **figures,
            **prepared,
            "train/seconds": report.progress.seconds,
            "train/tokens_per_s": report.items_per_second,
            "train/steps": float(report.progress.step),
            "parameters": float(parameters),
        },
        "table": table,
        "shown": [f"test/{name}" for name in job.shown(recipe, data)],
        "judged": [f"test/{name}" for name in job.judged(recipe, data)],
        **extras,
        "kernel": kernel_path(task, model),
        "recipe": run.recipe.read_text(encoding="utf-8"),
        "notes": [note for note in (once, *task.notes(), *data.doubts(), machine()) if note],
    }
    run.finish(results)
    tell({"event": "end", "interrupted": report.interrupted, "metrics": results["metrics"]})
    tell({"event": "phase", "text": "writing the report"})
    results["report"] = str(write_report(run.path, model))
    return results


def _compared(
    job: Job[R, Any], recipe: R, data: Any, task: Task[Any], model: nn.Module, report: Report, tell: Listener
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The figures of a trained model, and the table in which it stands beside its baselines."""
    figures = {**evaluate(task, model, "valid"), **evaluate(task, model, "test")}
    parameters = sum(p.numel() for p in model.parameters())
    row = job.rower(recipe, data)
    own = row(job.title(recipe), "recurrent", parameters, figures, report.items_per_second, "this run")
    return figures, [own, *job.baselines(recipe, data, next(model.parameters()).device, tell)]


def _fold(
    job: Job[R, Any], recipe: R, device: torch.device, tell: Listener, fold: int
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Another fold: trained and scored; its model is not kept."""
    folds = job.folds(recipe)
    assert folds is not None
    tell({"event": "phase", "text": f"fold {fold + 1} of {folds.folds}"})
    own = recipe.model_copy(update={"data": folds.model_copy(update={"fold": fold})})
    data = job.read(own)
    task = job.task(own, data, device)
    model, report = alone(task, own, device, tell)
    return _compared(job, own, data, task, model, report, quiet(tell))


def _resolved(job: Job[R, Any], recipe: R, device: torch.device) -> R:
    """The recipe with whole paths, so that its run can be used from any folder, and what dtype "auto" means here."""
    values = recipe.model_dump(exclude_unset=True)
    for key in job.paths:
        *sections, last = key.split(".")
        place: Any = values
        for section in sections:
            place = place.get(section, {})
        # What is not there may be a name on the hub, which is no path.
        if place.get(last) is not None and Path(place[last]).exists():
            place[last] = str(Path(place[last]).resolve())
    if recipe.dtype == "auto":
        cuda = device.type == "cuda"
        half = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else has_bfloat16_matmul()
        values["dtype"] = "bfloat16" if half else "float32"
    return type(recipe).model_validate(values)


def _start(recipe: Recipe, data: Any, task: Task[Any], device: torch.device) -> dict[str, Any]:
    parameters = sum(p.numel() for p in task.model().parameters())
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {"event": "start", "parameters": parameters, "device": str(device), "dtype": recipe.dtype,
            "versions": versions, "machine": machine(), **data.facts(), "batches": task.batch_count()}  # fmt: skip


def machine() -> str:
    """System, processor family and threads, in words."""
    threads = torch.get_num_threads()
    return f"{platform.system()} {platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
