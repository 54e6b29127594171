"""The command line. torch is imported inside the commands, so that --help answers at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from . import facts, pipes
from .facts import Json
from .pipes import SkipBadRows

app = typer.Typer(
    name="ostinato",
    help="Recurrent sequence models: train on your own text, evaluate, generate, explain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Overrides = Annotated[list[str], typer.Option("-o", "--set", help="Override a key: -o model.hidden=256")]
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit codes, as shells count them


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name (`ostinato recipes`) or a .toml file.")] = None,
    text: Annotated[Path | None, typer.Option(help="The text to learn: a UTF-8 file (.gz too), or a folder of files "
                                                   "named train, valid (or dev) and test.")] = None,
    override: Overrides = [],  # noqa: B006 - typer copies it
    # torchrun takes --run for an option of its own.
    run: Annotated[Path | None, typer.Option("--run", "--folder", help="The run's folder; else runs/NAME.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run where it stopped.")] = None,
    skip_bad_rows: SkipBadRows = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Train what a recipe describes; Ctrl-C saves and says how to go on."""
    from . import console
    from .tasks import tasks, training
    from .tasks.run import Run
    from .train.recipe import RecipeError, assignment, find, read, validate

    override = [*override, *["data.skip_bad_rows=true"] * skip_bad_rows]
    if resume is not None:
        if recipe is not None or text is not None or run is not None:
            raise RecipeError("--resume takes the run's own recipe and text: leave RECIPE, --text and --run out")
        raw = read(Run.open(resume, needs=("recipe.toml",)).recipe, override)
        source = str(resume / "recipe.toml")
    elif recipe is None:
        raise RecipeError("name a recipe (see `ostinato recipes`), or go on with a run by --resume RUN")
    else:
        if text is not None:
            if any(o.strip().startswith("data.path") for o in override):
                raise RecipeError("--text and -o data.path=... both name the text: leave one of them out")
            override = [*override, assignment("data.path", str(text))]
        raw = read(find(recipe), override)
        source = f"recipe {recipe}"
    if "task" not in raw:
        raise RecipeError(f"{source}: key 'task' is missing; which there are: {', '.join(tasks)}")
    task = tasks[str(raw["task"])]
    chosen = validate(task.schema, raw, source)
    with console.Watch() as watch:
        results = training.train(task, chosen, resume or run, watch, resume=resume is not None)
    if not results:
        return  # another rank speaks
    _finish(results, json)


@app.command()
def evaluate(
    run: Path, override: Overrides = [], skip_bad_rows: SkipBadRows = False, json: Json = False,  # noqa: B006
) -> None:  # fmt: skip
    """The metrics of a trained model, on its own text or on another (-o data.path=...)."""
    from . import console
    from .tasks import tasks
    from .tasks.predictor import task_of

    override = [*override, *["data.skip_bad_rows=true"] * skip_bad_rows]
    figures = tasks[task_of(run)].evaluate(run, tuple(override), console.note)
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
    from .tasks import language, training
    from .tasks.language.demo import endings, next_word, python_topics
    from .train.recipe import assignment, find, read, validate

    text = python_topics(Path("runs") if run is None else run.parent)
    recipe = validate(language.LanguageRecipe, read(find("demo"), [assignment("data.path", str(text))]), "recipe demo")
    with console.Watch() as watch:
        results = training.train(language.LanguageJob(), recipe, run, watch)
    if not results["interrupted"]:
        results["next_word"] = next_word()
    _finish(results, json)
    if not json:
        rows, title = endings(results["next_word"])
        console.out.print(console.table(rows, title=title))


for _command in (pipes.predict, pipes.stream, facts.recipes, facts.cells, facts.explain, facts.doctor):
    app.command()(_command)


def _finish(results: dict[str, Any], json: bool) -> None:
    from . import console

    if results["interrupted"]:
        console.err.print(f"go on with: ostinato train --resume {results['run']}", markup=False)
    _show(results, json)
    if results["interrupted"]:
        raise typer.Exit(INTERRUPTED)


def _show(results: dict[str, Any], json: bool) -> None:
    from . import console

    if json:
        console.print_json(results)
        return
    if results["table"]:
        names = ["model", "parameters", *results["shown"][:3]]
        columns = {name: name for name in names} | {"tokens_per_s": "tokens/s (fitting)", "note": "note"}
        console.out.print(console.table(results["table"], columns, title=f"run {results['name']}"))
    else:
        console.out.print(console.table([{"metric": k, "value": v} for k, v in results["metrics"].items()]))
    for sample in results.get("samples", []):
        console.out.print(f"\n[bold]{console.escape(sample['prompt'])}[/bold]{console.escape(sample['text'])}")
        console.out.print(f"({sample['settings']})", style="dim", markup=False)
    console.out.print(f"\nreport: {results['report']}", markup=False)


def main() -> None:
    """Runs the command line: exit 2 with one sentence for what the user can mend, 1 for a training that diverged.

    Ctrl-C ends with 130. SIGTERM does what Ctrl-C does, so that a scheduler's warning saves too, and ends with 143.
    """
    with _terminable() as terms:
        code = _run()
    sys.exit(TERMINATED if terms and code == INTERRUPTED else code)


def _run() -> int | str | None:
    try:
        app()
    except SystemExit as end:
        if (interrupt := _behind(end, KeyboardInterrupt)) is not None:
            return _interrupted(interrupt)
        if _behind(end, BrokenPipeError) is None:
            return end.code
        # Who reads has enough (`head`): no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except Exception as error:
        if "OSTINATO_TRACEBACK" in os.environ:
            raise
        code = _exit_code(error)
        if code is None:
            raise
        sys.stderr.write(f"ostinato: {str(error).strip()}\n")
        return code
    return 0


@contextmanager
def _terminable() -> Iterator[list[int]]:
    """SIGTERM does what Ctrl-C would do at that moment; each one that came is in the list."""
    came: list[int] = []
    # A handler that someone else chose stays, and only the main thread may set one.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield came
        return

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(ctrl_c):  # shells start background jobs with Ctrl-C ignored, which must not hold off SIGTERM
            raise KeyboardInterrupt
        ctrl_c(signal.SIGINT, frame)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _behind(end: SystemExit, kind: type[BaseException]) -> BaseException | None:
    """The error of that kind, if there was one, that typer turned into an exit code: a Ctrl-C may carry a sentence."""
    error: BaseException | None = end
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error


def _interrupted(interrupt: BaseException) -> int:
    sys.stderr.write(f"ostinato: {str(interrupt).strip() or 'interrupted'}\n")
    return INTERRUPTED


def _exit_code(error: Exception) -> int | None:
    """2 for what the user can mend, 1 for a failed training, None for a fault of ours."""
    if isinstance(error, (ValueError, OSError)) or (isinstance(error, ImportError) and "ostinato[" in str(error)):
        return 2
    return 1 if type(error).__name__ in ("Diverged", "BackendError") else None
