"""Recipes: pydantic models read from TOML, with overrides; an unknown key fails and says which are near."""

import json
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..registry import near
from .mistakes import sentences

OPTIMISERS = ("sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "asgd", "ntasgd")
SCHEDULES = ("constant", "cosine", "plateau", "triangular")


class RecipeError(ValueError):
    """A recipe that does not fit; the message says where and what to do."""


def one_of(kind: str, names: Iterable[str]) -> BeforeValidator:
    """A validator for a text that must be one of `names`; otherwise it says which are near."""
    known = tuple(names)

    def check(value: Any) -> Any:
        if value not in known:
            raise ValueError(f"no {kind} is called {value!r}{near(str(value), known)}")
        return value

    return BeforeValidator(check)


class Section(BaseModel):
    """A part of a recipe: every key is known, and none changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _below_one(betas: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError("both should be at least 0 and less than 1")
    return betas


def _file_name(name: str) -> str:
    # It becomes a folder under runs/, and must not lead out of it.
    if name.startswith(".") or any(mark in name for mark in "/\\\0"):
        raise ValueError("should be a plain name, without / or \\ and not beginning with a dot")
    return name


class Optimiser(Section):
    name: Annotated[str, one_of("optimiser", OPTIMISERS)] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of "momentum" and "rmsprop"
    betas: Annotated[tuple[float, float], AfterValidator(_below_one)] = (0.9, 0.99)  # of "adam" and "adamw"
    weight_decay: float = Field(default=0.0, ge=0)
    eps: float = Field(default=1e-8, gt=0)
    average_from: int = Field(default=1, ge=1)  # step, counted from 1, whose weights are the first "asgd" averages
    nonmonotone: int = Field(default=5, ge=1)  # "ntasgd" averages once an evaluation is worse than the best so long ago
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # lr of a group of layers: lr * this ** (groups above it)


class Schedule(Section):
    name: Annotated[str, one_of("schedule", SCHEDULES)] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)  # of all but "triangular"; a quarter of all steps at most
    floor: float = Field(default=0.0, ge=0, le=1)  # share of lr at which "cosine" ends and below which "plateau" stops
    factor: float = Field(default=0.5, gt=0, lt=1)  # of "plateau": lr is multiplied by it ...
    patience: int = Field(default=0, ge=0)  # ... after more evaluations than this without a better one
    cut_frac: float = Field(default=0.1, gt=0, lt=1)  # share of the steps in which "triangular" rises
    ratio: float = Field(default=32.0, ge=1)  # lr / the lr at which "triangular" begins and ends


class Training(Section):
    epochs: int = Field(default=10, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)  # stops like Ctrl-C would, but counts as finished
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    clip_norm: float | None = Field(default=None, gt=0)  # global norm: g * min(1, clip / |g|)
    clip_value: float | None = Field(default=None, gt=0)  # each entry into [-clip, clip]
    ema: float | None = Field(default=None, gt=0, lt=1)  # decay of the average of weights that is evaluated and kept
    unfreeze_epochs: int | None = Field(default=None, ge=1)  # the top group learns first; one more after so many each
    early_stopping: int | None = Field(default=None, ge=1)  # evaluations without a better one
    evaluate_epochs: int = Field(default=1, ge=1)
    evaluate_steps: int | None = Field(default=None, ge=1)  # besides the end of each epoch
    log_steps: int = Field(default=20, ge=1)
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    checkpoint_steps: int | None = Field(default=None, ge=1)


class About(Section):
    needs: str = ""
    reaches: str = ""


class Recipe(Section):
    """What every task's recipe has; each task adds `data` and `model`."""

    task: str
    name: Annotated[str, AfterValidator(_file_name)] = ""
    about: About = About()
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: str = "auto"  # "auto", "cpu", "cuda", "cuda:1"
    # "bfloat16" is mixed precision, the weights stay float32; "auto" is that where the hardware multiplies bfloat16.
    dtype: Literal["auto", "float32", "float64", "bfloat16"] = "float32"
    train: Training = Training()


R = TypeVar("R", bound=Recipe)


def shipped() -> dict[str, Path]:
    """The recipes inside the package: name -> file."""
    folder = Path(str(resources.files("ostinato") / "recipes"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find(name: str) -> Path:
    """The recipe of that name, or the file at that path.

    Raises:
        RecipeError: neither exists; names that are near are given.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    known = shipped()
    if name.removesuffix(".toml") in known:
        return known[path.stem]
    raise RecipeError(f"no recipe is called {name!r} and no such .toml file exists{near(path.stem, known)}")


def read(path: Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """A recipe file as nested dicts, `a.b=value` overrides applied; values are TOML, or else text.

    Raises:
        RecipeError: the file is missing or no TOML, or an override has no `=`.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {path} is not valid TOML: {error}") from error
    return override(raw, overrides)


def assignment(key: str, text: str) -> str:
    """The override that gives a key this very text, whatever it looks like."""
    return f"{key}={json.dumps(text, ensure_ascii=False)}"


def override(raw: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`raw` with `a.b=value` texts applied; `a.b=` sets none."""
    for text in overrides:
        key, eq, value = text.partition("=")
        if not eq or not key.strip():
            raise RecipeError(f"override {text!r} should look like model.hidden=256")
        *path, last = key.strip().split(".")
        place = raw
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise RecipeError(f"override {text!r}: {part} is a value, not a section")
        try:
            place[last] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            place[last] = value.strip() or None
    return raw


def validate(schema: type[R], raw: dict[str, Any], source: str = "recipe") -> R:
    """`raw` as a recipe of `schema`.

    Raises:
        RecipeError: one line a mistake: the key, what is wrong, and the near names of an unknown key.
    """
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{source}: " + "; ".join(sentences(schema, error.errors()))) from None


def refuse_changes(old: Recipe, new: Recipe, free: Iterable[str], fixed: Iterable[str] = (), why: str = "") -> None:
    """Checks that two recipes differ only where they may.

    Args:
        free: keys that may differ; a section's name stands for all in it.
        fixed: keys within those that may not.
        why: ends the message.

    Raises:
        RecipeError: naming each other key that differs.
    """
    before, after = _flat(old.model_dump()), _flat(new.model_dump())
    wrong = [
        f"{key} ({before.get(key)!r} -> {after.get(key)!r})"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and (_within(key, fixed) or not _within(key, free))
    ]
    if wrong:
        raise RecipeError(f"{', '.join(wrong)} cannot change{why}")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _within(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)
