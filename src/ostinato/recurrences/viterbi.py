"""The best paths through a linear chain.

Sources: Viterbi, Error Bounds for Convolutional Codes, 1967; Seshadri & Sundberg, List Viterbi Decoding Algorithms,
1994 (the n best: for every tag, and at every step, the n best ways to it).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .chain import Chain


class Paths(NamedTuple):
    """The n best paths of each row, the best first."""

    tags: Tensor  # [B, n, T] int64; -1 past a row's length, and where a row has no such path
    scores: Tensor  # [B, n] in the dtype of the scores; -inf where a row has fewer paths


def viterbi(scores: Tensor, chain: Chain, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The path of the highest score of each row; of equals, one.

    Args:
        scores: [B, T, K] floating, T >= 1. What stands past a row's length changes nothing.
        chain: of K tags.
        lengths: [B] int64 in 0..T; None: all rows are T long.

    Returns:
        The path [B, T] int64, -1 past a row's length, and its score [B], which is -inf, with a path of -1, where every
        path has something forbidden. A row of length 0 has the empty path, of score 0.
    """
    paths = best_paths(scores, chain, 1, lengths)
    return paths.tags[:, 0], paths.scores[:, 0]


@torch.no_grad()
def best_paths(scores: Tensor, chain: Chain, n: int, lengths: Tensor | None = None) -> Paths:
    """The n different paths of the highest scores of each row. Arguments as for `viterbi`, and n >= 1."""
    if n < 1:
        raise ValueError(f"n must be at least 1, the number of paths to give, and is {n}")
    rows, steps, _ = scores.shape
    if lengths is None:
        lengths = torch.full((rows,), steps, device=scores.device)
    if not scores.dtype.itemsize >= 4:
        scores = scores.float()
    start, between, end = (t.detach().to(scores.dtype) for t in chain[:3])
    if n == 1 and scores.device.type == "cpu" and scores.numel():
        return _kernel(scores, (start, between, end), lengths)
    return _loop(scores, (start, between, end), n, lengths)


def _kernel(scores: Tensor, parts: tuple[Tensor, Tensor, Tensor], lengths: Tensor) -> Paths:
    """The best path, by a compiled loop."""
    from ..kernels.cpu.library.viterbi import viterbi as best_path  # what makes machine code costs time to import

    tags, worth = best_path(scores, *parts, lengths)
    worth = worth.masked_fill(lengths == 0, 0.0)
    return Paths(tags.masked_fill((worth == -torch.inf)[:, None], -1)[:, None], worth[:, None])


def _loop(scores: Tensor, parts: tuple[Tensor, Tensor, Tensor], n: int, lengths: Tensor) -> Paths:
    start, between, end = parts
    rows, steps, tags = scores.shape
    ways = scores.new_full((rows, n, tags), -torch.inf)  # the scores of the n best ways to each tag
    ways[:, 0] = scores[:, 0] + start
    came = list[Tensor]()  # [B, n, K]: way * K + tag before
    for t in range(1, steps):
        each = (ways[..., None] + between).flatten(1, 2)  # [B, n * K, K]
        best, at = each.topk(min(n, each.shape[1]), dim=1)
        lives = (t < lengths)[:, None, None]
        new = torch.full_like(ways, -torch.inf)
        new[:, : best.shape[1]] = best + scores[:, t, None]
        ways = torch.where(lives, new, ways)
        here = torch.zeros_like(ways, dtype=torch.int64)
        here[:, : at.shape[1]] = at
        came.append(here)
    last, at = (ways + end).flatten(1).topk(min(n, n * tags), dim=1)
    paths = torch.full((rows, n, steps), -1, device=scores.device)
    for t in range(steps - 1, -1, -1):
        within = (t < lengths)[:, None]
        paths[:, :, t] = torch.where(within, at % tags, -1)
        if t:
            at = torch.where(within, came[t - 1].flatten(1).gather(1, at), at)
    empty = (lengths == 0)[:, None]
    first = torch.arange(n, device=scores.device) == 0
    last = torch.where(empty, torch.where(first, 0.0, -torch.inf).to(last.dtype), last)
    return Paths(paths.masked_fill((last == -torch.inf)[..., None], -1), last)
