"""A trained language model beside a stream of text: how surprising is each line, and what comes next."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.tokens import Tokenizer
from ...models import LanguageModel
from ...stream import Session
from .task import line_end
from .use import load

CHUNK = 256  # tokens that are read at once: so many rows of logits are held


@dataclass(frozen=True)
class Scored:
    """One token, and what the model thought of it."""

    token: int
    bits: float  # -log2 p(token | all before it)
    guesses: list[tuple[int, float]]  # the likeliest tokens and their probabilities, before it was seen


class Reader:
    """Reads text line by line and holds one state, whatever the length of the stream.

    Args:
        end: the token that ends a line, if the model begins anew after it; None: the state runs on.
        top: how many guesses to give for each token.
        weights: as for `Session`.
    """

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, end: int | None = None, top: int = 0,
        weights: str | None = None,
    ) -> None:  # fmt: skip
        self.session, self.tokenizer, self.end, self.top = Session(model, weights=weights), tokenizer, end, top
        newline = tokenizer.encode("\n")
        # What the first token of all is predicted from: the end of a line that nobody saw.
        self.last = int(newline[-1]) if len(newline) else None

    def save(self, path: Path) -> None:
        """Writes down where it is."""
        self.session.save(path, {"last": self.last})

    def load(self, path: Path) -> None:
        """Goes on where `save` was called.

        Raises:
            CheckpointError, SessionError: the file does not fit.
        """
        self.last = self.session.load(path)["last"]

    def read(self, text: str) -> Iterator[Scored]:
        """The tokens of a piece of text, a whole line with its newline as a rule."""
        ids = self.tokenizer.encode(text)
        for start in range(0, len(ids), CHUNK):
            yield from self._chunk(ids[start : start + CHUNK])
        if len(ids) and self.end is not None and int(ids[-1]) == self.end:
            self.session.reset()

    def _chunk(self, ids: np.ndarray) -> Iterator[Scored]:
        before = [] if self.last is None else [self.last]
        inputs = np.concatenate([np.array(before, np.int64), ids[:-1]])
        self.last = int(ids[-1])
        if len(before) == 0:  # nothing comes before the first token, so nobody foresaw it
            yield Scored(int(ids[0]), math.nan, [])
            ids = ids[1:]
        if not len(inputs):
            return
        logits = self.session.push(inputs).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        for row, token in zip(logs, ids.tolist(), strict=True):
            yield Scored(token, -float(row[token]) / math.log(2), self._guesses(row))

    def _guesses(self, row: np.ndarray) -> list[tuple[int, float]]:
        if not self.top:
            return []
        best = np.argsort(-row, kind="stable")[: self.top]
        return [(int(token), math.exp(row[token])) for token in best]


def open_run(path: Path, top: int = 0, weights: str | None = None) -> Reader:
    """A reader of a trained run.

    Raises: as `use.load` and `Session`.
    """
    model, recipe, tokenizer, _ = load(path)
    return Reader(model, tokenizer, line_end(recipe, tokenizer), top, weights)


def lines(reader: Reader, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One row a line: bits a character (the newline counts), tokens, how many of them are unknown, the text."""
    for text in texts:
        scored = list(reader.read(text))
        bits = sum(s.bits for s in scored if not math.isnan(s.bits))
        unknown = sum(s.token == reader.tokenizer.unknown for s in scored)
        row = {"bits_per_char": bits / max(1, len(text)), "tokens": len(scored), "unknown": unknown}
        yield {**row, "text": text.rstrip("\n")}


def tokens(reader: Reader, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One row a token: its bits, the token, what the model had expected."""
    names = reader.tokenizer.itos
    for text in texts:
        for s in reader.read(text):
            yield {"bits": s.bits, "token": names[s.token], "guesses": [(names[t], p) for t, p in s.guesses]}
