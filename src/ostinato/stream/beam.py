"""Beam search: the likeliest sequences of a model that gives logits, by `tree.select` over its states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import tree
from ..recurrent import Recurrent


@dataclass(frozen=True)
class Hypothesis:
    """One sequence that the search has found."""

    ids: tuple[int, ...]  # without start and end symbol
    log_prob: float  # in nats, with that of the end symbol where it ended
    score: float  # log_prob / length penalty
    ended: bool  # False: cut off at the maximum length
    attention: Tensor | None  # [T, S] where each word has looked, the end symbol included


@torch.no_grad()
def beam_search(
    model: Recurrent[Any],
    state: Any,
    start: int,
    end: int,
    *,
    max_length: int | Tensor,
    beam: int = 5,
    n_best: int = 1,
    length_penalty: float = 0.6,
    forbidden: Sequence[int] = (),
    attention: Callable[[Any], Tensor] | None = None,
) -> list[list[Hypothesis]]:
    """Up to `n_best` hypotheses of each sentence, the highest score first.

    At each step a sentence keeps the `beam` likeliest continuations; one that ends keeps its place, so fewer go on.
    The score is log p / ((5 + length) / 6)^length_penalty (Wu et al. 2016), the end symbol counted in the length.
    A sentence is done when no hypothesis that goes on can still win. Beam 1 is greedy search. What a sentence gets
    does not depend on the others in the batch.

    Args:
        model: ids [N] and a state to logits [N, V] and the next state; in eval mode.
        state: a row for each sentence, before `start` is read.
        max_length: words at most, the end symbol included; one number, or [B] int64 one a sentence.
        length_penalty: 0 compares log p alone, and so prefers short sequences.
        forbidden: ids that are never chosen (<unk>, say).
        attention: what to note of each state, [N, S].

    Raises:
        ValueError: a number is out of range, or a sentence has no continuation (all forbidden, or logits are NaN).
    """
    if not 1 <= n_best <= beam:
        raise ValueError(f"n_best must lie in 1..beam, and is {n_best} with a beam of {beam}")
    first = tree.leaves(state)[0]
    limits = torch.as_tensor(max_length).expand(len(first)).tolist()
    if min(limits, default=1) < 1:
        raise ValueError(f"max_length must be 1 or more, and is {min(limits)}")
    search = _Search(beam, n_best, length_penalty, end, limits)
    now = _Open(range(len(first)), [0.0] * len(first), [start] * len(first))
    while now.owner:
        logits, state = model.step(torch.tensor(now.word, device=first.device), state)
        log_p = logits.double().log_softmax(-1)
        if forbidden:
            log_p[:, list(forbidden)] = -torch.inf
        now, rows = search.advance(now, log_p, None if attention is None else attention(state))
        state = tree.select(state, torch.tensor(rows, dtype=torch.int64, device=first.device))
    return [found[:n_best] for found in search.found]


class _Open(NamedTuple):
    """The hypotheses that go on, N of all sentences together."""

    owner: Sequence[int]  # sentence, ascending
    log_prob: list[float]
    word: list[int]  # the last one


class _Candidate(NamedTuple):
    """A hypothesis and one word more."""

    owner: int
    row: int  # of the hypothesis
    word: int
    log_prob: float


class _Step(NamedTuple):
    """Of the hypotheses that go on after a step: where each comes from."""

    chosen: list[_Candidate]
    looks: Tensor | None  # [rows before the step, S]


class _Search:
    """What has been found so far, and the way back from it."""

    def __init__(self, beam: int, n_best: int, alpha: float, end: int, limits: list[int]) -> None:
        self.beam, self.n_best, self.alpha, self.end, self.limits = beam, n_best, alpha, end, limits
        self.found: list[list[Hypothesis]] = [[] for _ in limits]  # best first
        self.steps: list[_Step] = []

    def advance(self, now: _Open, log_p: Tensor, looks: Tensor | None) -> tuple[_Open, list[int]]:
        """One step: (the hypotheses that go on, the row of this step's states that each comes from)."""
        length, chosen = len(self.steps) + 1, self._best(now, log_p)
        going = list[_Candidate]()
        for candidate in chosen:
            if candidate.word == self.end or length == self.limits[candidate.owner]:
                self.found[candidate.owner].append(self._hypothesis(candidate, looks))
            else:
                going.append(candidate)
        for sentence in {candidate.owner for candidate in chosen}:
            self.found[sentence].sort(key=lambda found: -found.score)
        going = [candidate for candidate in going if self._may_win(candidate, length)]
        self.steps.append(_Step(going, looks))
        opened = _Open([c.owner for c in going], [c.log_prob for c in going], [c.word for c in going])
        return opened, [c.row for c in going]

    def _best(self, now: _Open, log_p: Tensor) -> list[_Candidate]:
        """The likeliest continuations of each sentence, as many as it has places left."""
        values, words = log_p.topk(min(self.beam, log_p.shape[1]), dim=1)
        totals = (values + torch.tensor(now.log_prob, dtype=values.dtype, device=values.device)[:, None]).tolist()
        each: dict[int, list[_Candidate]] = {owner: [] for owner in now.owner}
        for row, (owner, total, word) in enumerate(zip(now.owner, totals, words.tolist(), strict=True)):
            each[owner] += [_Candidate(owner, row, w, p) for w, p in zip(word, total, strict=True) if p > -torch.inf]
        for owner, candidates in each.items():
            if not candidates:
                raise ValueError(f"sentence {owner} has no continuation: all words are forbidden, or logits are NaN")
            candidates.sort(key=lambda c: -c.log_prob)
        return [c for owner, found in each.items() for c in found[: self.beam - len(self.found[owner])]]

    def _may_win(self, candidate: _Candidate, length: int) -> bool:
        """Whether a hypothesis can still be among the best; words to come cost nothing at the least."""
        found = self.found[candidate.owner]
        if len(found) < self.n_best:
            return True
        longest = self.limits[candidate.owner]
        best = candidate.log_prob / max(self._penalty(length + 1), self._penalty(longest))
        return best > found[self.n_best - 1].score

    def _hypothesis(self, last: _Candidate, looks: Tensor | None) -> Hypothesis:
        way, before = [(last, looks)], last.row
        for step in reversed(self.steps):
            way.append((step.chosen[before], step.looks))
            before = step.chosen[before].row
        way.reverse()
        ended = last.word == self.end
        ids = tuple(candidate.word for candidate, _ in (way[:-1] if ended else way))
        seen = None if looks is None else torch.stack([of[c.row] for c, of in way if of is not None])
        return Hypothesis(ids, last.log_prob, last.log_prob / self._penalty(len(way)), ended, seen)

    def _penalty(self, length: int) -> float:
        return ((5 + length) / 6) ** self.alpha
