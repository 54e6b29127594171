"""Commands that tell facts: what recipes and cells there are, which kernel runs, what this machine has.

`cli` puts them on the command line. torch is imported inside them, so that --help answers at once.
"""

import importlib.util
import sys
from typing import Annotated, Any

import typer

_AFTER = "Print what was derived after trace, lower, plan, legalise, schedule, loops or source."
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]


def recipes(json: Json = False) -> None:
    """The recipes that ship with Ostinato: what each needs and reaches."""
    from . import console
    from .train.recipe import read, shipped

    rows = []
    for name, path in shipped().items():
        raw = read(path)
        rows.append({"recipe": name, "task": raw["task"], **raw.get("about", {})})
    console.print_json(rows) if json else console.out.print(console.table(rows, ("recipe", "task", "needs", "reaches")))


def cells(
    check: Annotated[bool, typer.Option("--check", help="Check every kernel of every cell against the walk.")] = False,
    json: Json = False,
) -> None:
    """The cells one can name in a recipe; --check prints their parity table."""
    from . import cells as _cells  # noqa: F401 - fills the registry
    from . import console, testing
    from .registry import cells as known

    if check:
        made: dict[str, Any] = {name: lambda c=c: c(5, 7) for name, c in known.items()}
        made["elman relu"] = lambda: known["elman"](5, 7, activation="relu")  # the one kernel of torch's that is left
        rows: list[dict[str, Any]] = testing.parity_table(made)
    else:
        rows = [
            {"cell": name, "parameters (4 -> 3)": sum(p.numel() for p in cell(4, 3).parameters()),
             "about": (sys.modules[cell.__module__].__doc__ or "").split("\n")[0]}
            for name, cell in known.items()
        ]  # fmt: skip
    console.print_json(rows) if json else console.out.print(console.table(rows))
    if check and not all(row["ok"] for row in rows):
        raise typer.Exit(1)


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
    after: Annotated[str, typer.Option(metavar="PASS", help=_AFTER)] = "",
    json: Json = False,
) -> None:  # fmt: skip
    """Which kernel runs a cell on a shape, and why not the others; or what was derived from the cell."""
    import torch

    from . import cells as _cells  # noqa: F401 - fills the registry
    from . import console
    from .registry import cells as known
    from .registry import near
    from .tasks.job import device_of
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
    if after:
        sys.stdout.write(_derived(made, x, after))
        return
    lines = made.explain(x, lengths, at).splitlines()
    if json:
        console.print_json({"cell": cell, "shape": [batch, steps, inputs, hidden], "lines": lines})
        return
    what = f"{cell}, batch {batch}, {steps} steps, {inputs} -> {hidden}, {dtype} on {where}"
    console.out.print("\n".join([what, *("  " + line for line in lines)]), markup=False)


def _derived(cell: Any, x: Any, after: str) -> str:
    """What was derived from a cell, after a pass of the compiler."""
    from .kernels.compiler import PASSES
    from .kernels.scan.scan import derived
    from .registry import near

    if after not in PASSES:
        raise ValueError(f"no pass is called {after!r}{near(after, PASSES)}; the passes are {', '.join(PASSES)}")
    kernel = derived(cell.recurrence, cell.drive(x), cell.initial_state(len(x)), cell.weights())
    if isinstance(kernel, str):
        raise ValueError(f"no kernel is derived from this cell: {kernel}")
    return kernel.compiled.after(after)


def doctor(json: Json = False) -> None:
    """What this machine has: versions, processor, kernels, extras."""
    import platform
    from importlib import metadata

    import torch

    from . import console, kernels
    from .kernels.cpu.runtime.cpu_features import has_bfloat16_matmul

    extras = {"zh": "jieba", "baselines": "sklearn", "mt": "sacrebleu", "data": "datasets"}
    facts = {
        "ostinato": metadata.version("ostinato"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": torch.backends.cpu.get_cpu_capability(),
        "bfloat16 products in hardware": has_bfloat16_matmul(),
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
