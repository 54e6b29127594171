"""The recurrent part that recipes describe, and how its names become classes."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field
from torch import nn

from .. import cells as _cells  # noqa: F401 - fills the registry
from ..initialise import initialise
from ..layers import (
    TCN,
    Bidirectional,
    DropConnect,
    Dropout,
    LearnedState,
    LockedDropout,
    Pointwise,
    Residual,
    Stack,
    TransformerEncoder,
)
from ..recurrent import Cell, Layer, Recurrent
from ..registry import cells, near
from ..train.recipe import RecipeError, Section

MEMORYLESS = "feedforward"  # no cell: a net that sees the current token only
CONVOLUTION, TRANSFORMER = "tcn", "transformer"  # no cells either: what recurrent models are compared with
OTHERS = (MEMORYLESS, CONVOLUTION, TRANSFORMER)


class Dropping(Section):
    kind: Literal["locked", "plain"] = "locked"  # locked: one mask for all steps of a batch
    words: float = Field(default=0.0, ge=0, lt=1)  # whole rows of the embedding
    input: float = Field(default=0.0, ge=0, lt=1)
    between: float = Field(default=0.0, ge=0, lt=1)
    recurrent: float = Field(default=0.0, ge=0, lt=1)  # elements of the recurrent matrices (weight-drop)
    output: float = Field(default=0.0, ge=0, lt=1)


class Initial(Section):
    """Initialisers by name, per kind of weight: see `ostinato.initialise`."""

    input: str | None = None
    recurrent: str | None = None
    bias: str | None = None
    embedding: str | None = None
    output: str | None = None
    forget_bias: float | None = None


def _known(cell: str) -> str:
    # Asked anew each time: a cell of the user's own may have been registered since.
    if cell not in cells and cell not in OTHERS:
        raise ValueError(f"no cell is called {cell!r}{near(cell, (*cells, *OTHERS))}")
    return cell


class Body(Section):
    """The keys of [model] that describe layers of cells."""

    cell: Annotated[str, AfterValidator(_known)] = "lstm"
    hidden: int = Field(default=256, ge=1)
    layers: int = Field(default=1, ge=1)
    bidirectional: bool = False
    residual: bool = False  # norm + skip around each layer but the first
    learned_state: bool = False
    dropout: Dropping = Dropping()
    initial: Initial = Initial()
    options: dict[str, Any] = Field(default_factory=dict)  # further arguments of the cell


class Built(NamedTuple):
    """Layers, and what they give."""

    body: Layer
    d_out: int
    directions: int


def build(recipe: Body, d_in: int) -> Built:
    """The layers that a recipe describes, reading [B, T, d_in], with the dropout of their output.

    Raises:
        RecipeError: options that do not fit the cell.
    """
    if recipe.cell in (CONVOLUTION, TRANSFORMER):
        return Built(_other(recipe, d_in), recipe.hidden, 1)
    directions = 2 if recipe.bidirectional else 1
    return Built(
        Stack(*layers(recipe, d_in), *masks(recipe, recipe.dropout.output)), recipe.hidden * directions, directions
    )


def layers(recipe: Body, d_in: int) -> list[Layer]:
    """The cells with the dropout before and between them. Raises RecipeError as `build`."""
    d_out = recipe.hidden * (2 if recipe.bidirectional else 1)
    parts: list[Layer] = [*masks(recipe, recipe.dropout.input)]
    for number in range(recipe.layers):
        width = d_in if number == 0 else d_out
        part = _layer(recipe, width)
        skip = recipe.residual and width == d_out
        parts.append(Residual(part, nn.LayerNorm(width)) if skip else part)
        parts += masks(recipe, recipe.dropout.between) if number < recipe.layers - 1 else []
    return parts


def masks(recipe: Body, p: float) -> list[Dropout]:
    """A dropout of the recipe's kind; none where p is 0."""
    if not p:
        return []
    return [LockedDropout(p) if recipe.dropout.kind == "locked" else Dropout(p)]


def begin(recipe: Body, model: nn.Module) -> None:
    """Draws the weights that the recipe names an initialiser for."""
    initialise(model, **{k: v for k, v in recipe.initial.model_dump().items() if v is not None})


def title(recipe: Body) -> str:
    """'lstm 2 x 256', 'bi-lstm 1 x 200'"""
    return f"{'bi-' * recipe.bidirectional}{recipe.cell} {recipe.layers} x {recipe.hidden}"


def cell(recipe: Body, d_in: int) -> Cell[Any]:
    """One cell with the recipe's options, its recurrent weights dropped as the recipe says.

    Raises:
        RecipeError: they do not fit the cell.
    """
    try:
        made = cells[recipe.cell](d_in, recipe.hidden, **recipe.options)
    except TypeError as error:
        raise RecipeError(f"model.options {recipe.options} do not fit the cell {recipe.cell}: {error}") from None
    if not recipe.dropout.recurrent:
        return made
    try:
        return DropConnect(made, recipe.dropout.recurrent)
    except ValueError as error:
        raise RecipeError(f"model.dropout.recurrent does not fit the cell {recipe.cell}: {error}") from None


def _layer(recipe: Body, d_in: int) -> Layer:
    if recipe.cell == MEMORYLESS:
        if recipe.dropout.recurrent:
            raise RecipeError(
                f"model.dropout.recurrent drops recurrent weights, and {MEMORYLESS} has none; set it to 0"
            )
        d_out = recipe.hidden * (2 if recipe.bidirectional else 1)
        return Pointwise(nn.Sequential(nn.Linear(d_in, d_out), nn.Tanh()))
    if recipe.bidirectional:
        return Bidirectional(_direction(recipe, d_in), _direction(recipe, d_in))
    return _direction(recipe, d_in)


def _direction(recipe: Body, d_in: int) -> Recurrent[Any]:
    made = cell(recipe, d_in)
    return LearnedState(made) if recipe.learned_state else made


def _other(recipe: Body, d_in: int) -> Layer:
    """A convolution over time, or a Transformer: of the same width and depth."""
    p = max(recipe.dropout.output, recipe.dropout.between)
    try:
        if recipe.cell == CONVOLUTION:
            given = {"causal": False, **recipe.options}
            return TCN(d_in, [recipe.hidden] * recipe.layers, dropout=p, **given)
        return TransformerEncoder(d_in, recipe.hidden, recipe.layers, dropout=p, **recipe.options)
    except TypeError as error:
        raise RecipeError(f"model.options {recipe.options} do not fit the {recipe.cell}: {error}") from None
