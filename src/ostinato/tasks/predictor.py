"""A trained run as something that answers: loaded in one line, asked in another."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, final

from ..data.table import BadRow, Row
from ..registry import UnknownNameError, near, tasks
from ..train.recipe import RecipeError, read
from .run import Run

Input = str | Sequence[str]  # a text, or its tokens
CHUNK = 512  # rows that are answered together: so many are held


class Predictor(ABC):
    """What every task's trained model can do. `ostinato.load(run)` gives one."""

    @final
    def predict(self, texts: Sequence[Input], n_best: int = 1) -> list[dict[str, Any]]:
        """One answer for each text, in their order; the same whatever stands beside it.

        Args:
            texts: each a str, or a list of str where the model reads tokens.
            n_best: with more than 1, each answer has the key `n_best`: so many, the best first.

        Raises:
            ValueError: a text that cannot be read, or no list of texts, or n_best below 1.
        """
        if isinstance(n_best, bool) or not isinstance(n_best, int) or n_best < 1:
            raise ValueError(f"n_best is how many answers are wanted, a whole number from 1 on, and is {n_best!r}")
        if isinstance(texts, str):
            raise ValueError("predict takes a list of texts, and got one text; write predict([text])")
        if not isinstance(texts, Iterable) or isinstance(texts, Mapping):
            raise ValueError(f"predict takes a list of texts, and got a {type(texts).__name__}")
        texts = list(texts)
        for number, text in enumerate(texts, start=1):
            if not isinstance(text, str | list | tuple):
                kind = type(text).__name__
                raise ValueError(f"text {number} is a {kind}; each must be a str, or a list of str")
        for number, text in enumerate(texts, start=1):
            if reason := _refused(text, self):
                raise ValueError(f"text {number} ({str(text)[:40]!r}) {reason}")
        return self.answers(texts, n_best) if texts else []

    @abstractmethod
    def answers(self, texts: Sequence[Input], n_best: int) -> list[dict[str, Any]]:
        """What `predict` gives, for one text or more that can be read; none is judged here."""

    @abstractmethod
    def refuses(self, text: Input) -> str:
        """Why a text cannot be read and what to do, such as "has no token; leave it out"; "" where it can.

        A list of tokens that comes here holds str alone, and no empty one.
        """

    @abstractmethod
    def reads(self) -> str:
        """The column of a file that is read."""

    def learnt_from(self) -> str:
        """The format of the files that it learnt from, as its recipe says it."""
        return "auto"

    @abstractmethod
    def written(self, source: Input, answer: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """An answer as rows of a table, one or several; None is a blank line."""

    @final
    def stream(self, texts: Iterable[Input], n_best: int = 1) -> Iterator[tuple[Input, dict[str, Any]]]:
        """The texts with their answers, in their order, holding a few hundred at a time.

        For texts that are judged already, as `chosen` does it: to judge may be to encode, and that is not done twice.
        """
        waiting = iter(texts)
        while chunk := list(islice(waiting, CHUNK)):
            yield from zip(chunk, self.answers(chunk, n_best), strict=True)


def load(run: str | Path) -> Predictor:
    """A trained run, ready to `predict`.

    >>> answers = load("runs/imdb").predict(["What a film!"])  # doctest: +SKIP

    Raises:
        RunError, CheckpointError, RecipeError: the folder or the weights do not fit.
    """
    path = Path(run)
    job = tasks[task_of(path)]
    return job.load(path)


def chosen(row: Row, predictor: Predictor, column: str | None) -> Input:
    """What a predictor reads of a row: the `column`, else the only one, else the one of its recipe.

    Raises:
        UnknownNameError: there is no such column; the near names are told.
        BadRow: there is nothing in it, or the predictor refuses it.
    """
    name = column or (predictor.reads() if len(row.fields) > 1 else next(iter(row.fields)))
    if name not in row.fields:
        told = f"no column is called {name!r}{near(name, row.fields)}"
        raise UnknownNameError(f"{row.place}: {told}; name the one to read by --column")
    field = row.fields[name]
    if not field or (isinstance(field, str) and field.isspace()):
        raise BadRow(*row.place, f"column {name!r} is empty; fill it or drop the row")
    if reason := _refused(field, predictor):
        raise BadRow(*row.place, f"the text {reason}")
    return field


def _refused(text: Input, predictor: Predictor) -> str:
    """Why a predictor cannot read a text; "" where it can."""
    for place, token in enumerate(() if isinstance(text, str) else text, start=1):
        if not isinstance(token, str):
            return f"has a {type(token).__name__} at place {place} of its list; each must be a str"
        if not token:
            return f"has an empty token at place {place} of its list; leave it out"
    return predictor.refuses(text)


def task_of(path: Path) -> str:
    """The name of a run's task."""
    recipe = Run.open(path).recipe
    raw = read(recipe)
    if raw.get("task") not in tasks:
        raise RecipeError(f"{recipe}: key 'task' names none of {', '.join(tasks)}; restore it from a copy")
    return str(raw["task"])
