"""Sentences to numbers and back: what a trained translator needs besides its weights."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.tokens import Tokenizer
from ...storage import atomic_write
from ..trained import codec_of
from .pieces import pieces
from .recipe import PairData

FORMAT, VERSION = "ostinato translation", 1
NEWLINE = "Ċ"  # in GPT-2's alphabet of bytes


@dataclass(frozen=True)
class Codec:
    """Both vocabularies, each with one entry more, the last one: the boundary before and after a sentence."""

    source: Tokenizer
    target: Tokenizer  # the same object where there is one vocabulary
    lower: bool  # the source

    @classmethod
    def train(cls, data: PairData, sources: Iterable[str], targets: Iterable[str]) -> "Codec":
        """The vocabularies of these sentences. Raises ValueError as `Tokenizer.train`."""
        sources, targets = ([_spaced(text) for text in texts] for texts in (sources, targets))
        if data.lower:
            sources = [text.lower() for text in sources]
        kind, most = data.tokens, data.max_size
        if data.joint:
            joint = _vocabulary(kind, chain(sources, targets), data.min_count, most)
            return cls(joint, joint, data.lower)
        return cls(
            _vocabulary(kind, sources, data.min_count, most),
            _vocabulary(data.target_tokens or kind, targets, data.min_count, data.target_max_size or most),
            data.lower,
        )

    @property
    def sources(self) -> int:
        """Entries of the source vocabulary, the boundary among them."""
        return self.source.size + 1

    @property
    def targets(self) -> int:
        """Entries of the target vocabulary, the boundary among them."""
        return self.target.size + 1

    @property
    def boundary(self) -> int:
        """The target id before the first word and after the last."""
        return self.target.size

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Target ids that no translation should have: <unk>."""
        return () if self.target.unknown is None else (self.target.unknown,)

    def read(self, texts: Iterable[str]) -> list[Tensor]:
        """Source sentences as ids [S], int64, the boundary last; so S >= 1."""
        lowered = (text.lower() for text in texts) if self.lower else texts
        return [torch.tensor([*ids, self.source.size]) for ids in _encoded(self.source, lowered)]

    def wanted(self, texts: Iterable[str]) -> list[Tensor]:
        """Target sentences as ids [T], int64, between two boundaries; so T >= 2."""
        return [torch.tensor([self.boundary, *ids, self.boundary]) for ids in _encoded(self.target, texts)]

    def written(self, ids: Iterable[int]) -> str:
        """The text of target ids without boundaries."""
        return " ".join(self.target.decode(list(ids)).split())

    def pieces(self, ids: Iterable[int], side: str) -> list[str]:
        """Each id as text that can be read: for pictures; see `pieces`. The boundary is shown as </s>."""
        tokenizer, ids = self.source if side == "source" else self.target, list(ids)
        shown = iter(pieces(tokenizer, [i for i in ids if i != tokenizer.size]))
        return ["</s>" if i == tokenizer.size else next(shown) for i in ids]

    def save(self, path: Path) -> None:
        body = {
            "format": FORMAT,
            "version": VERSION,
            "lower": self.lower,
            "source": json.loads(self.source.to_json()),
            "target": None if self.target is self.source else json.loads(self.target.to_json()),
        }
        atomic_write(path, json.dumps(body, ensure_ascii=False))

    @staticmethod
    def load(path: Path) -> "Codec":
        """What `save` wrote. Raises ValueError where the file is not of that form."""
        return codec_of(path, FORMAT, VERSION, _codec)


def _codec(body: dict[str, Any]) -> Codec:
    source = Tokenizer.from_json(json.dumps(body["source"]))
    target = source if body["target"] is None else Tokenizer.from_json(json.dumps(body["target"]))
    return Codec(source, target, bool(body["lower"]))


def _vocabulary(kind: str, texts: Iterable[str], least: int, most: int | None) -> Tokenizer:
    return Tokenizer.train(kind, (_shifted(kind, text) for text in texts), min_count=least, max_size=most)


def _spaced(text: str) -> str:
    """One space wherever there is white space: a sentence is one line."""
    return " ".join(text.split())


def _shifted(kind: str, text: str) -> str:
    """For bpe a space stands before the first word too, so that it is the same entry as within a sentence."""
    return f" {text}" if kind == "bpe" and text else text


def _encoded(tokenizer: Tokenizer, texts: Iterable[str]) -> list[list[int]]:
    spaced = [_shifted(tokenizer.kind, _spaced(text)) for text in texts]
    if tokenizer.kind != "bpe":
        return [tokenizer.encode(text).tolist() for text in spaced]
    # All lines in one call, which a call for each would take three times as long; no line has the mark within it.
    mark = tokenizer.stoi[NEWLINE]
    rows: list[list[int]] = [[]]
    for i in tokenizer.encode("\n".join(spaced)).tolist():
        if i == mark:
            rows.append([])
        else:
            rows[-1].append(i)
    return rows if spaced else []
