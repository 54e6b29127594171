"""A run folder: everything one training made, readable by anyone and by later versions.

recipe.toml   resolved        config.json        format, versions, parameters
tokenizer.json                model.safetensors  the best weights
checkpoint/   to resume       events.jsonl       what happened, a JSON object a line
pretraining/  what the weights began with, where there is such
results.json  the figures     report.html, figures/
"""

import hashlib
import json
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from ..storage import atomic_write
from ..train.recipe import Recipe

FORMAT = 1
NEEDED = ("recipe.toml", "config.json", "tokenizer.json", "model.safetensors")
PRETRAINED = "done.json"  # within pretraining/, once that is over
RESUMED = ("recipe.toml", "tokenizer.json", "checkpoint/last.safetensors")  # what it takes to go on
# ... or instead of the checkpoint, where the training proper has not come to its first one:
INSTEAD = ("pretraining/last.safetensors", f"pretraining/{PRETRAINED}")
_BEGUN = {"recipe.toml", "tokenizer.json", "events.jsonl", "checkpoint", "pretraining"}  # before the first checkpoint


class RunError(ValueError):
    """A run folder that cannot be used as asked; the message says what to do."""


class Run:
    """One run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint"
        self.pretraining = path / "pretraining"
        self.weights = path / "model.safetensors"
        self.tokenizer = path / "tokenizer.json"
        self.recipe = path / "recipe.toml"

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def create(cls, path: Path | None, recipe: Recipe) -> "Run":
        """A new folder: `path`, or runs/NAME, runs/NAME-2, ... where none is given.

        Raises:
            RunError: `path` already holds a run, or files that are of no run.
        """
        if path is None:
            base = Path("runs") / (recipe.name or recipe.task)
            path = base
            number = 2
            while path.exists():
                path, number = base.with_name(f"{base.name}-{number}"), number + 1
        elif file := next((p for p in (path, *path.parents) if p.is_file()), None):
            raise RunError(f"{file} is a file; name a folder for the run")
        elif (path / "config.json").exists() or any(path.glob("*/*.safetensors")):
            raise RunError(f"{path} already holds a run; go on with it by --resume {path}, or name another folder")
        elif path.is_dir() and (strange := _strange(path)):
            raise RunError(f"{path} holds {strange}, which is of no run; name a new folder, or an empty one")
        run = cls(path)
        run.checkpoint.mkdir(parents=True, exist_ok=True)  # first: it says whose the other files are
        (path / "events.jsonl").unlink(missing_ok=True)  # of a run that did not live to its first checkpoint
        run.describe(recipe)
        return run

    @classmethod
    def open(cls, path: Path, needs: tuple[str, ...] = NEEDED) -> "Run":
        """An existing run.

        Raises:
            RunError: no such folder, a file offered instead, a part missing or changed, or a newer format.
        """
        if path.is_file():
            what = "a pickle (.pt), which is refused because opening it can run code" if path.suffix in (
                ".pt", ".pth", ".pkl", ".bin", ".ckpt") else "a file"  # fmt: skip
            raise RunError(f"{path} is {what}; a run folder was expected, as `ostinato train` makes them")
        if not path.is_dir():
            raise RunError(f"no run folder is called {path}; `ostinato train RECIPE` makes one under runs/")
        missing = [name for name in needs if not _there(path, name)]
        if missing:
            going_on = all(_there(path, name) for name in RESUMED)
            hint = f"its training did not end: go on with `ostinato train --resume {path}`"
            raise RunError(
                f"run {path} is incomplete: {' and '.join(missing)} {'are' if missing[1:] else 'is'} missing; "
                + (hint if going_on else "restore it from a copy, or train again")
            )
        run = cls(path)
        if (path / "config.json").is_file():
            found = run.config().get("format")
            if not isinstance(found, int) or found > FORMAT:
                raise RunError(
                    f"run {path} has format {found} and this Ostinato reads up to {FORMAT}: upgrade Ostinato"
                )
            if run.tokenizer.is_file() and run.config().get("tokenizer") not in (None, digest(run.tokenizer)):
                raise RunError(
                    f"{run.tokenizer} is not as the training wrote it (its SHA-256 differs from config.json's): "
                    "restore it from a copy, or train again"
                )
        return run

    def config(self) -> dict[str, Any]:
        """What config.json holds."""
        path = self.path / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if not isinstance(config, dict):
            raise RunError(f"{path} should hold a JSON object and holds a {type(config).__name__}; train again")
        return config

    def describe(self, recipe: Recipe) -> None:
        """Writes recipe.toml."""
        atomic_write(self.recipe, tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)))

    def goes_on(self) -> bool:
        """Whether an interrupted training can be resumed."""
        return _there(self.path, RESUMED[-1])

    def configure(self, **values: Any) -> None:
        """Writes config.json."""
        data = {"format": FORMAT, "ostinato": metadata.version("ostinato"), **values}
        if self.tokenizer.is_file():
            data["tokenizer"] = digest(self.tokenizer)
        atomic_write(self.path / "config.json", json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def sweep(self) -> None:
        """Removes what a process killed in the middle of a write has left behind."""
        for folder in (self.path, self.checkpoint, self.pretraining):
            for file in folder.glob(".*.tmp"):
                file.unlink(missing_ok=True)

    def event(self, event: dict[str, Any]) -> None:
        """Adds a line to events.jsonl."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **event}, ensure_ascii=False)
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def finish(self, results: dict[str, Any]) -> None:
        """Writes results.json."""
        atomic_write(self.path / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _there(path: Path, name: str) -> bool:
    names = (name, *INSTEAD) if name == RESUMED[-1] else (name,)
    return any((path / one).is_file() for one in names)


def _strange(folder: Path) -> str:
    """The first file in a folder that no run which has just begun would have; "" if it may be such a run's."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(".tmp"))
    strange = [name for name in names if name not in _BEGUN]
    if not strange and names and "checkpoint" not in names:
        strange = names
    return strange[0] if strange else ""
