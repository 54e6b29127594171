"""A linear-chain conditional random field: scores of tags that know their neighbours.

Source: Lafferty, McCallum & Pereira, Conditional Random Fields, ICML 2001; on a recurrent network: Huang, Xu & Yu,
Bidirectional LSTM-CRF Models for Sequence Tagging, 2015.

    p(y | x) = exp(score(y)) / Z    score(y) = start[y_1] + Σ_t e_t[y_t] + Σ_t between[y_t, y_t+1] + end[y_L]

e_t [K] are the emissions, scores of the K tags at step t, given by what reads x. Z is the sum of exp(score) over all
sequences of tags, or over the allowed ones.
"""

from itertools import pairwise
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from .._torch import writes
from ..data.tags import Allowed
from ..recurrences.chain import Chain, log_partition, marginals, path_score, reach
from ..recurrences.viterbi import best_paths


class Sequence(NamedTuple):
    """A sequence of tags and what it is worth."""

    tags: list[int]
    log_probability: float  # natural; of the whole sequence, given the emissions


@final
class CRF(nn.Module):
    """The probability of a sequence of tags, given their emissions, and the best sequences.

    Emissions are [B, T, K] floating; tags [B, T] int64; lengths [B] int64 in 0..T, or None where all rows are T long.
    What stands past a row's length changes nothing. A row of length 0 has one sequence, the empty one.

    Args:
        tags: K.
        allowed: the tags that may begin, follow each other and end, as `data.tags.transitions` gives them; None: all.
            The rest has probability 0, gets no gradient and is never decoded.

    Raises:
        ValueError: `allowed` is not of K tags, or lets none begin or end.
    """

    def __init__(self, tags: int, allowed: Allowed | None = None) -> None:
        super().__init__()
        if tags < 1:
            raise ValueError(f"a CRF needs at least one tag, and got {tags}")
        if allowed is None:
            allowed = Allowed(*(torch.ones(s, dtype=torch.bool) for s in ((tags,), (tags, tags), (tags,))))
        _check_allowed(allowed, tags)
        self.start = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))
        self.between = nn.Parameter(torch.empty(tags, tags).uniform_(-0.1, 0.1))
        self.end = nn.Parameter(torch.empty(tags).uniform_(-0.1, 0.1))
        # In the state_dict, so that a saved model knows what it may say.
        self.register_buffer("may_start", allowed.start.clone())
        self.register_buffer("may_follow", allowed.between.clone())
        self.register_buffer("may_end", allowed.end.clone())
        self._known: tuple[object, int | None, bool] = (None, None, False)

    @property
    def allowed(self) -> Allowed:
        return Allowed(self.get_buffer("may_start"), self.get_buffer("may_follow"), self.get_buffer("may_end"))

    def chain(self) -> Chain:
        """The parameters as scores, -inf where something is forbidden."""
        may = self.allowed
        if self._free():
            return Chain(self.start, self.between, self.end)
        return Chain(
            self.start.masked_fill(~may.start, -torch.inf),
            self.between.masked_fill(~may.between, -torch.inf),
            self.end.masked_fill(~may.end, -torch.inf),
            self._known[1],
        )

    def _free(self) -> bool:
        """Whether everything is allowed. What follows from the masks is kept until they are written to."""
        version = tuple((id(part), writes(part)) for part in self.allowed)
        if self._known[0] != version:
            free = all(bool(part.all()) for part in self.allowed)
            self._known = (version, reach(self.allowed.between), free)
        return self._known[2]

    def forward(self, emissions: Tensor, tags: Tensor, lengths: Tensor | None = None) -> Tensor:
        """log p(tags | emissions) of each row: [B], in the dtype of the emissions, at least float32.

        Raises:
            ValueError: a shape or dtype does not fit, or a row of tags is not an allowed one; it tells the place.
        """
        self._check(emissions, lengths, tags)
        tags = self._within(tags, lengths)
        self._check_path(tags, lengths)
        chain = self.chain()
        found = path_score(emissions.double(), chain, tags, lengths) - log_partition(emissions, chain, lengths)
        return found.to(torch.promote_types(emissions.dtype, torch.float32))

    def loss(self, emissions: Tensor, tags: Tensor, lengths: Tensor | None = None, per: str = "sequence") -> Tensor:
        """The mean of -log p(tags | emissions): a scalar.

        Args:
            emissions, tags, lengths: and errors, as for `forward`.
            per: what the sum is divided by: the number of rows ("sequence"), or of their steps ("token").
        """
        if per not in ("sequence", "token"):
            raise ValueError(f"per must be 'sequence' or 'token', and is {per!r}")
        total = -self(emissions, tags, lengths).sum()
        if per == "sequence":
            return total / len(tags)
        return total / (tags.numel() if lengths is None else lengths.sum().clamp(min=1))

    @torch.no_grad()
    def decode(self, emissions: Tensor, lengths: Tensor | None = None) -> list[list[int]]:
        """The most probable sequence of tags of each row, as long as the row is.

        Raises:
            ValueError: a shape or dtype does not fit, a score is NaN, or no sequence of a row's length is allowed.
        """
        return [row[0].tags for row in self._best(emissions, 1, lengths)]

    @torch.no_grad()
    def nbest(self, emissions: Tensor, n: int, lengths: Tensor | None = None) -> list[list[Sequence]]:
        """The n most probable sequences of each row, the best first; fewer where a row has not as many.

        Errors as for `decode`.
        """
        rows = self._best(emissions, n, lengths)
        total = log_partition(emissions, self.chain(), lengths).tolist()
        return [[Sequence(s.tags, s.log_probability - z) for s in row] for row, z in zip(rows, total, strict=True)]

    def marginals(self, emissions: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The probability of each tag at each step: [B, T, K], zeros past a row's length; without gradient."""
        self._check(emissions, lengths)
        return marginals(emissions, self.chain(), lengths)

    def _best(self, emissions: Tensor, n: int, lengths: Tensor | None) -> list[list[Sequence]]:
        """As `nbest`, with scores for log-probabilities."""
        self._check(emissions, lengths)
        if bool(self._within(emissions, lengths).isnan().any()):
            raise ValueError("emissions hold NaN, and no sequence is the best of such; look at what made them")
        paths, scores = best_paths(emissions, self.chain(), n, lengths)
        sizes = [emissions.shape[1]] * len(paths) if lengths is None else lengths.tolist()
        found = []
        for at, (row, worth, size) in enumerate(zip(paths.tolist(), scores.tolist(), sizes, strict=True)):
            if worth[0] == -torch.inf:
                raise ValueError(f"no sequence of {size} tags is allowed (row {at}); look at what may begin and end")
            found.append([Sequence(p[:size], s) for p, s in zip(row, worth, strict=True) if s > -torch.inf])
        return found

    def _within(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """[B, T] or [B, T, K] with 0 past each row's length, where anything may stand."""
        if lengths is None:
            return x
        past = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        return x.masked_fill(past[..., None] if x.ndim == 3 else past, 0)

    def _check(self, emissions: Tensor, lengths: Tensor | None, tags: Tensor | None = None) -> None:
        shape, count = tuple(emissions.shape), len(self.start)
        if emissions.ndim != 3 or shape[2] != count or shape[1] == 0 or not emissions.is_floating_point():
            raise ValueError(
                f"emissions must be floating [B, T, {count}] with at least one step, and are {emissions.dtype} of "
                f"shape {shape}"
            )
        for name, given, wanted in (("tags", tags, shape[:2]), ("lengths", lengths, shape[:1])):
            if given is not None and (tuple(given.shape) != wanted or given.dtype != torch.int64):
                raise ValueError(
                    f"{name} must be int64 of shape {wanted}, and are {given.dtype} of shape {tuple(given.shape)}"
                )
        if lengths is not None and len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= shape[1]:
            raise ValueError(f"lengths must lie in 0..{shape[1]}, and are {lengths.tolist()}")

    def _check_path(self, tags: Tensor, lengths: Tensor | None) -> None:
        """Raises ValueError where a row of tags has one that there is not, or breaks what is allowed."""
        count = len(self.start)
        if tags.numel() and not 0 <= int(tags.min()) <= int(tags.max()) < count:
            raise ValueError(f"tags must lie in 0..{count - 1}, and reach from {int(tags.min())} to {int(tags.max())}")
        if self._free():
            return
        may = self.allowed
        moves = may.between[tags[:, :-1], tags[:, 1:]]
        size = torch.full_like(tags[:, 0], tags.shape[1]) if lengths is None else lengths
        moves = moves | (torch.arange(1, tags.shape[1], device=tags.device) >= size[:, None])
        last = tags.gather(1, (size - 1).clamp(min=0)[:, None]).squeeze(1)
        edges = torch.stack([may.start[tags[:, 0]], may.end[last]]) | (size == 0)
        if bool(moves.all()) and bool(edges.all()):
            return
        row = int((~(moves.all(1) & edges.all(0))).nonzero()[0])
        raise ValueError(f"the tags of row {row} are forbidden: {self._broken(tags[row, : int(size[row])].tolist())}")

    def _broken(self, tags: list[int]) -> str:
        may = self.allowed
        if not may.start[tags[0]]:
            return f"tag {tags[0]} cannot begin; mend them, or allow it"
        for at, (i, j) in enumerate(pairwise(tags)):
            if not may.between[i, j]:
                return f"tag {j} at step {at + 1} cannot follow tag {i}; mend them, or allow it"
        return f"tag {tags[-1]} cannot be the last; mend them, or allow it"


def _check_allowed(allowed: Allowed, tags: int) -> None:
    wanted = ((tags,), (tags, tags), (tags,))
    for name, part, shape in zip(Allowed._fields, allowed, wanted, strict=True):
        if tuple(part.shape) != shape or part.dtype != torch.bool:
            raise ValueError(
                f"allowed.{name} must be bool of shape {shape}, and is {part.dtype} of {tuple(part.shape)}"
            )
    if not (allowed.start.any() and allowed.end.any()):
        raise ValueError("a CRF must allow some tag to begin and some tag to end, and `allowed` has none")
