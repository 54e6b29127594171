"""Linear chains of K tags: the sum over all paths, forward and backward, as one recurrence.

Sources: Lafferty, McCallum & Pereira, Conditional Random Fields, ICML 2001; Rabiner, A Tutorial on Hidden Markov
Models, 1989 (the forward algorithm, and its scaling).

    score(y) = start[y_1] + Σ_t e_t[y_t] + Σ_t between[y_t, y_t+1] + end[y_L]          Z = Σ_y exp score(y)

    p_1 ∝ exp(start + e_1)        q_t = (p_t-1 @ exp(between)) ⊙ exp(e_t)        c_t = Σ q_t        p_t = q_t / c_t
    log Z = Σ_t log c_t + log(p_L · exp(end))

p_t are the shares of the tags at step t in the sum so far, and the gradient of log Z is the backward algorithm: its
derivatives by the scores e are the marginals. The step is a product and a sum of a row, so a kernel is derived for it.

Notes: shares are held in float64, whatever the scores are, and shares below 1e-308 of their step's sum are lost. That
cannot matter where the scores of a step differ by less than some hundred: see `Chain.bound`. Where they differ by more,
the sum is made in log space instead, exact and slower (`LOG`). Forbidden tags and transitions score -inf; they get no
share and no gradient.
"""

import math
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..recurrence import Recurrence

SAFE = 600.0  # float64 ends at exp(±708)
_LEAST = 1e-300  # below all sums of shares: these are above exp(-SAFE)
_NEVER = -1e30  # stands for -inf in log space, where differences of -inf would be NaN


def _gates(scores: Tensor, shares: Tensor, between: Tensor) -> Tensor:
    return scores * (shares @ between)  # [B, K]


def _update(q: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    # A number that scales, whatever it is: without it the gradient is a sum of products of shares, and loses no digits.
    # Where nothing may follow it is above 0 all the same: past a row's length nobody asks, and NaN would come back.
    total = q.detach().sum(-1, keepdim=True).clamp(min=_LEAST)  # [B, 1]
    return total, q / total


def _log_gates(scores: Tensor, sums: Tensor, between: Tensor) -> Tensor:
    return scores + torch.logsumexp(sums[:, :, None] + between, dim=1)


def _log_update(sums: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    return sums, sums


FORWARD = Recurrence("chain", _update, _gates)
LOG = Recurrence("chain_log", _log_update, _log_gates)


@final
class Chain(NamedTuple):
    """The scores of a chain that do not depend on the input; floating, -inf where something is forbidden."""

    start: Tensor  # [K]
    between: Tensor  # [K, K] [i, j]: j directly after i
    end: Tensor  # [K]
    reach: int | None = 1  # see `reach`


def reach(allowed: Tensor, most: int = 16) -> int | None:
    """After how many steps every tag can stand, whichever stood first; None: not within `most`. allowed: [K, K].

    Tags that nothing may follow, or that may follow nothing, stand at an edge only and are left out.
    """
    inner = allowed
    while not (live := inner.any(0) & inner.any(1)).all():
        inner = inner[live][:, live]
    steps, paths = 1 + int(len(inner) < len(allowed)), inner.double()
    while steps <= most:
        if bool((paths > 0).all()):
            return steps
        steps, paths = steps + 1, ((paths @ inner.double()) > 0).double()
    return None


def log_partition(scores: Tensor, chain: Chain, lengths: Tensor | None = None) -> Tensor:
    """log Z of each row, the logarithm of the sum of exp score(y) over all paths y; differentiable.

    Args:
        scores: [B, T, K] floating, T >= 1, finite or -inf; e above. What stands past a row's length changes nothing.
        chain: of K tags.
        lengths: [B] int64 in 0..T; None: all rows are T long.

    Returns:
        [B] float64. A row of length 0 has one path, the empty one: 0. A row without a path: below -1e29, and no
        gradient.
    """
    past = None
    if lengths is not None:
        past = (torch.arange(scores.shape[1], device=scores.device) >= lengths[:, None])[..., None]  # [B, T, 1]
        scores = scores.masked_fill(past, 0.0)
    scores = scores.double()
    top = scores.detach().amax(-1, keepdim=True).clamp(min=_NEVER)  # [B, T, 1]
    scores = scores - top
    edged = _edged(chain)
    if _bound(edged, chain.reach, _spread(scores), scores.shape[1]) < SAFE:
        found = _by_shares(scores, top, edged, past, lengths)
        if bool(found.detach().isfinite().all()):
            return found
    return _in_logs(scores + top, edged, lengths)


def _by_shares(scores: Tensor, top: Tensor, edged: Tensor, past: Tensor | None, lengths: Tensor | None) -> Tensor:
    edged, shares = edged.exp(), _edge(scores, 0.0, 1.0)
    totals, shares = FORWARD.scan(F.pad(scores.exp(), (0, 1)), shares, edged[:, :-1], lengths=lengths)
    if past is not None:
        totals = totals.masked_fill(past, 1.0)
    return (totals.log() + top).sum((1, 2)) + (shares @ edged[:, -1]).log()


def _edged(chain: Chain) -> Tensor:
    """All scores of a chain as one matrix, with an edge as tag number K, which stands before the first step: [K+1, K+2]

    float64. A column of its own, the last one, is for the end. Nothing comes back to the edge. An empty row has the
    edge as its last tag too.
    """
    start, between, end = (t.double() for t in chain[:3])
    inner = torch.cat([torch.cat([between, start[None]]), between.new_full((len(start) + 1, 1), -math.inf)], dim=1)
    return torch.cat([inner, F.pad(end, (0, 1))[:, None]], dim=1)


def _edge(scores: Tensor, others: float, edge: float) -> Tensor:
    """The state before the first step, [B, K+1]."""
    state = scores.new_full((len(scores), scores.shape[-1] + 1), others)
    state[:, -1] = edge
    return state


def _spread(scores: Tensor) -> float:
    """By how much scores differ, at most, in one step, -inf apart; they are given less the highest of their step."""
    low = float(scores.detach().amin())
    return -low if low > -math.inf else -float(scores.detach().masked_fill(scores == -math.inf, 0.0).amin())


def _bound(edged: Tensor, reach: int | None, spread: float, steps: int) -> float:
    """How far, at most, shares of one step lie apart, in powers of e, when the scores of a step differ by `spread`.

    After `reach` steps every tag can stand, whichever stood first: so none falls behind for longer.
    """
    most = float(edged.detach().nan_to_num(neginf=0.0).abs().amax())
    behind = steps if reach is None else min(steps, reach)
    return behind * (spread + 2 * most + math.log(len(edged)))


def _in_logs(scores: Tensor, edged: Tensor, lengths: Tensor | None) -> Tensor:
    """`log_partition` of [B, T, K] float64 without shares: sums stay logarithms, whatever their size."""
    sums, edged = _edge(scores, _NEVER, 0.0), edged.clamp(min=_NEVER)
    scores = F.pad(scores.clamp(min=_NEVER), (0, 1), value=_NEVER)
    for step in LOG.walk(scores, sums, edged[:, :-1], lengths=lengths):
        sums = step.state
    found = torch.logsumexp(sums + edged[:, -1], dim=-1)
    return torch.where(found > 0.1 * _NEVER, found, found.detach())


def path_score(scores: Tensor, chain: Chain, path: Tensor, lengths: Tensor | None = None) -> Tensor:
    """score(y) of one path for each row: [B], in the dtype of the scores; 0 for a row of length 0.

    Args:
        scores, chain, lengths: as for `log_partition`.
        path: [B, T] int64, each in 0..K-1, also past a row's length.
    """
    steps = scores.shape[1]
    found = scores.gather(-1, path[..., None]).squeeze(-1)  # [B, T]
    moves = chain.between[path[:, :-1], path[:, 1:]]  # [B, T-1]
    if lengths is None:
        return found.sum(1) + moves.sum(1) + chain.start[path[:, 0]] + chain.end[path[:, -1]]
    within = torch.arange(steps, device=scores.device) < lengths[:, None]
    last = path.gather(1, (lengths - 1).clamp(min=0)[:, None]).squeeze(1)
    edges = chain.start[path[:, 0]] + chain.end[last]
    total = found.masked_fill(~within, 0.0).sum(1) + moves.masked_fill(~within[:, 1:], 0.0).sum(1)
    return total + edges.masked_fill(lengths == 0, 0.0)


def marginals(scores: Tensor, chain: Chain, lengths: Tensor | None = None) -> Tensor:
    """The probability of each tag at each step, given the whole row: [B, T, K], zeros past a row's length.

    Arguments as for `log_partition`. They are its derivatives by the scores, and carry no gradient themselves; those of
    a row without a path are zeros.
    """
    with torch.enable_grad():
        given = scores.detach().requires_grad_()
        fixed = Chain(chain.start.detach(), chain.between.detach(), chain.end.detach(), chain.reach)
        total = log_partition(given, fixed, lengths).sum()
        (found,) = torch.autograd.grad(total, given)
    return found
