"""The command line. torch is imported inside the commands, so that --help answers at once."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="ostinato",
    help="Recurrent sequence models: train on your own text, evaluate, generate, explain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Overrides = Annotated[list[str], typer.Option("-o", "--set", help="Override a key: -o model.hidden=256")]
TABLE = ("model", "parameters", "test/perplexity", "test/nats_per_char", "test/bits_per_char", "tokens_per_s", "note")


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name (`ostinato recipes`) or a .toml file.")] = None,
    text: Annotated[Path | None, typer.Option(help="The text to learn: a UTF-8 file (.gz too), or a folder with "
                                                   "*train*, *valid*/*dev*, *test*.")] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME when not given.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run where it stopped.")] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Train what a recipe describes; Ctrl-C saves and says how to go on."""
    from . import console
    from .tasks import language, tasks
    from .train.recipe import RecipeError, find, read, validate

    if resume is not None:
        if recipe is not None or text is not None or run is not None:
            raise RecipeError("--resume takes the run's own recipe and text: leave RECIPE, --text and --run out")
        raw = read(_run_recipe(resume), override)
        source = str(resume / "recipe.toml")
    elif recipe is None:
        raise RecipeError("name a recipe (see `ostinato recipes`), or go on with a run by --resume RUN")
    else:
        raw = read(find(recipe), override)
        source = f"recipe {recipe}"
        if text is not None:
            raw.setdefault("data", {})["path"] = str(text)
    chosen = validate(tasks[str(raw.get("task", ""))], raw, source)
    with console.Watch() as watch:
        results = language.train(chosen, resume or run, watch, resume=resume is not None)
    if not results:
        return  # another rank speaks
    _finish(results, json)


@app.command()
def evaluate(run: Path, override: Overrides = [], json: Json = False) -> None:  # noqa: B006
    """The metrics of a trained model, on its own text or on another (-o data.path=...)."""
    from . import console
    from .tasks import language

    figures = language.evaluate_run(run, tuple(override))
    if json:
        console.print_json(figures)
    else:
        console.out.print(console.table([{"metric": k, "value": v} for k, v in figures.items()]))


@app.command()
def generate(
    run: Path,
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens to write.")] = 200,
    temperature: Annotated[float, typer.Option(help="0 is greedy, 1 the model's own distribution.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Only the k likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the likeliest, of this probability together; 1: all.")] = 0.95,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest token.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same text.")] = 0,
    stop: Annotated[str, typer.Option(help="End after this text.")] = "",
    allow_unknown: Annotated[bool, typer.Option("--allow-unknown", help="Words never seen become <unk>.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Write on from a prompt, token by token."""
    from . import console
    from .tasks import language

    settings = {"temperature": 0.0 if greedy else temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    pieces = language.continue_text(run, prompt, tokens, settings, stop, allow_unknown)
    if json:
        console.print_json({"prompt": prompt, "text": "".join(pieces), "settings": settings})
        return
    first = next(pieces, "")  # errors come before anything is printed
    sys.stdout.write(prompt + first)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


@app.command()
def demo(
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/demo when not given.")] = None,
    json: Json = False,
) -> None:
    """The main job in about a minute, offline: the Python documentation, then 我 爱 自然 语言 处理."""
    from . import console
    from .tasks import language
    from .tasks.language.demo import next_word, python_topics
    from .train.recipe import find, read, validate

    text = python_topics(Path("runs") if run is None else run.parent)
    recipe = validate(language.LanguageRecipe, read(find("demo"), [f"data.path={str(text)!r}"]), "recipe demo")
    with console.Watch() as watch:
        results = language.train(recipe, run, watch)
    if not results["interrupted"]:
        results["next_word"] = next_word()
    _finish(results, json)
    if not json:
        toy = results["next_word"]
        rows = [
            {"net": name, **{f"p({w})": round(p, 3) for w, p in net["probabilities"].items()},
             "right": f"{net['right']} of {net['of']}"}
            for name, net in toy["nets"].items()
        ]  # fmt: skip
        title = f"after {' '.join(toy['prompt'])} comes {toy['wanted']}; chance is {toy['chance']:.2f}"
        console.out.print(console.table(rows, title=title))


@app.command()
def recipes(json: Json = False) -> None:
    """The recipes that ship with Ostinato: what each needs and reaches."""
    from . import console
    from .train.recipe import read, shipped

    rows = []
    for name, path in shipped().items():
        raw = read(path)
        rows.append({"recipe": name, "task": raw["task"], **raw.get("about", {})})
    console.print_json(rows) if json else console.out.print(console.table(rows, ("recipe", "task", "needs", "reaches")))


@app.command()
def cells(
    check: Annotated[bool, typer.Option("--check", help="Check every kernel of every cell against the walk.")] = False,
    json: Json = False,
) -> None:
    """The cells one can name in a recipe; --check prints their parity table."""
    from . import cells as _cells  # noqa: F401 - fills the registry
    from . import console, testing
    from .registry import cells as known

    if check:
        rows: list[dict[str, Any]] = testing.parity_table({name: lambda c=c: c(5, 7) for name, c in known.items()})
    else:
        rows = [
            {"cell": name, "parameters (4 -> 3)": sum(p.numel() for p in cell(4, 3).parameters()),
             "about": (sys.modules[cell.__module__].__doc__ or "").split("\n")[0]}
            for name, cell in known.items()
        ]  # fmt: skip
    console.print_json(rows) if json else console.out.print(console.table(rows))
    if check and not all(row["ok"] for row in rows):
        raise typer.Exit(1)


@app.command()
def explain(
    cell: str,
    batch: Annotated[int, typer.Option(min=1)] = 32,
    steps: Annotated[int, typer.Option(min=1)] = 100,
    inputs: Annotated[int, typer.Option(min=1, help="Features of the input.")] = 128,
    hidden: Annotated[int, typer.Option(min=1)] = 128,
    ragged: Annotated[bool, typer.Option("--ragged", help="Rows of different lengths.")] = False,
    resets: Annotated[bool, typer.Option("--resets", help="New sequences begin inside the rows.")] = False,
    dtype: Annotated[str, typer.Option(help="float32, float64 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option()] = "cpu",
    options: Annotated[list[str], typer.Option("-o", help="An argument of the cell: -o activation=relu")] = [],  # noqa: B006
    json: Json = False,
) -> None:  # fmt: skip
    """Which kernel runs a cell on a shape, and why not the others."""
    import torch

    from . import cells as _cells  # noqa: F401 - fills the registry
    from . import console
    from .registry import cells as known
    from .registry import near
    from .tasks.language.job import device_of
    from .train.recipe import override

    kinds = ("float32", "float64", "bfloat16", "float16")
    if dtype not in kinds:
        raise ValueError(f"no dtype is called {dtype!r}{near(dtype, kinds)}")
    where = device_of(device)
    try:
        made = known[cell](inputs, hidden, **override({}, options))
    except TypeError as error:
        raise ValueError(f"{options} do not fit the cell {cell}: {error}") from None
    made = made.to(where, getattr(torch, dtype))
    x = torch.zeros(batch, steps, inputs, dtype=getattr(torch, dtype), device=where)
    lengths = torch.full((batch,), max(0, steps - 1), device=where) if ragged else None
    at = torch.zeros(batch, steps, dtype=torch.bool, device=where) if resets else None
    lines = made.explain(x, lengths, at).splitlines()
    if json:
        console.print_json({"cell": cell, "shape": [batch, steps, inputs, hidden], "lines": lines})
        return
    what = f"{cell}, batch {batch}, {steps} steps, {inputs} -> {hidden}, {dtype} on {where}"
    console.out.print("\n".join([what, *("  " + line for line in lines)]), markup=False)


@app.command()
def doctor(json: Json = False) -> None:
    """What this machine has: versions, processor, kernels, extras."""
    import platform
    from importlib import metadata

    import torch

    from . import console, kernels
    from .kernels.torch.softmax import native_bfloat16

    extras = {"zh": "jieba"}
    facts = {
        "ostinato": metadata.version("ostinato"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": torch.backends.cpu.get_cpu_capability(),
        "bfloat16 products in hardware": native_bfloat16(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "backends": ", ".join(kernels.backends()),
        **{
            f"extra {name}": "installed" if importlib.util.find_spec(module) else f'pip install "ostinato[{name}]"'
            for name, module in extras.items()
        },
    }
    if json:
        console.print_json(facts)
    else:
        console.out.print(console.table([{"what": k, "here": str(v)} for k, v in facts.items()]))


def _run_recipe(run: Path) -> Path:
    from .tasks.run import Run

    return Run.open(run, needs=("recipe.toml",)).recipe


def _finish(results: dict[str, Any], json: bool) -> None:
    from . import console

    if results["interrupted"]:
        console.err.print(f"go on with: ostinato train --resume {results['run']}", markup=False)
    _show(results, json)
    if results["interrupted"]:
        raise typer.Exit(130)


def _show(results: dict[str, Any], json: bool) -> None:
    from . import console

    if json:
        console.print_json(results)
        return
    if results["table"]:
        console.out.print(console.table(results["table"], TABLE, title=f"run {results['name']}"))
    else:
        console.out.print(console.table([{"metric": k, "value": v} for k, v in results["metrics"].items()]))
    for sample in results["samples"]:
        console.out.print(f"\n[bold]{console.escape(sample['prompt'])}[/bold]{console.escape(sample['text'])}")
        console.out.print(f"({sample['settings']})", style="dim", markup=False)
    console.out.print(f"\nreport: {results['report']}", markup=False)


def main() -> None:
    """Runs the command line: exit 2 with one sentence for what the user can mend, 1 for a training that diverged."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if "OSTINATO_TRACEBACK" in os.environ:
            raise
        code = _exit_code(error)
        if code is None:
            raise
        sys.stderr.write(f"ostinato: {str(error).strip()}\n")
        sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """2 for what the user can mend, 1 for a failed training, None for a fault of ours."""
    if isinstance(error, (ValueError, OSError)) or (isinstance(error, ImportError) and "ostinato[" in str(error)):
        return 2
    return 1 if type(error).__name__ in ("Diverged", "BackendError") else None
