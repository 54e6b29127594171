"""Attention over a memory (Bahdanau et al. 2015, Luong et al. 2015), lecture S2.

weights = softmax_s score(q_t, m_s),   context_t = Σ_s weights_ts m_s

dot       q · m
general   q · W m
additive  v · tanh(W_q q + W_m m)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import tree
from ..registry import UnknownNameError, near

SCORES = ("dot", "general", "additive")


class Memory(NamedTuple):
    """What is attended to, kept in a decoder's state."""

    outputs: Tensor  # [B, S, M], zero past each row's length
    keys: Tensor  # [B, S, K] what queries are compared with, projected once
    lengths: Tensor  # [B] int64


class Attention(nn.Module):
    """Queries [B, T, Q] and a memory of [B, S, M] -> (contexts [B, T, M], weights [B, T, S]).

    Every query of a row is answered apart from the others, so T steps at once give what T calls of one step give.

    Args:
        score: "dot", "general" or "additive".
        d_query: Q. d_memory: M.
        d_hidden: K, the width inside the additive score; None: Q.

    Raises:
        ValueError: no score has that name; "dot" with Q other than M; `d_hidden` where the score has no such width.
    """

    def __init__(self, score: str, d_query: int, d_memory: int, d_hidden: int | None = None) -> None:
        super().__init__()
        if score not in SCORES:
            raise UnknownNameError(f"no attention score is called {score!r}{near(score, SCORES)}")
        if score == "dot" and d_query != d_memory:
            raise ValueError(
                f"the dot score compares vectors of one width, but queries have {d_query} and the memory {d_memory}; "
                "take 'general', which has a matrix between them"
            )
        if d_hidden is not None and score != "additive":
            raise ValueError(f"d_hidden is a width of the additive score, and the score is {score!r}; leave it out")
        self.score = score
        self.d_query, self.d_memory = d_query, d_memory
        width = d_hidden if d_hidden is not None else d_query
        self.w_memory = None if score == "dot" else nn.Linear(d_memory, width, bias=score == "additive")
        self.w_query = nn.Linear(d_query, width, bias=False) if score == "additive" else None
        self.v = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5)) if self.w_query else None

    def remember(self, outputs: Tensor, lengths: Tensor | None = None) -> Memory:
        """The memory of outputs [B, S, M]; `lengths` [B] int64: what stands past a row's length is never seen.

        Raises:
            ValueError: `outputs` has another width.
        """
        if outputs.ndim != 3 or outputs.shape[2] != self.d_memory:
            raise ValueError(f"the memory must be [B, S, {self.d_memory}], and has shape {tuple(outputs.shape)}")
        batch, steps, _ = outputs.shape
        if lengths is None:
            lengths = torch.full((batch,), steps, dtype=torch.int64, device=outputs.device)
        outputs = tree.masked(outputs, lengths)
        return Memory(outputs, outputs if self.w_memory is None else self.w_memory(outputs), lengths)

    def empty(self, like: Tensor, batch: int) -> Memory:
        """The memory of sources of length 0, in the dtype and on the device of `like`: every context is zero."""
        return self.remember(like.new_zeros(batch, 1, self.d_memory), like.new_zeros(batch, dtype=torch.int64))

    def forward(self, query: Tensor, memory: Memory, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(contexts [B, T, M], weights [B, T, S]) of queries [B, T, Q].

        Args:
            bias: `hidden(memory)` made before, by a loop over steps. A row of length 0 has context zero.
        """
        scores = self._scores(query, memory.keys)
        weights = (scores + (hidden(memory, scores.dtype) if bias is None else bias)).softmax(-1)
        return weights @ memory.outputs.to(weights.dtype), weights

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        if self.w_query is None:
            return query @ keys.to(query.dtype).mT
        found = self.w_query(query)[:, :, None] + keys[:, None]  # [B, T, S, K]
        return found.tanh() @ self.v.to(found.dtype)  # type: ignore[union-attr]


def hidden(memory: Memory, dtype: torch.dtype) -> Tensor:
    """[B, 1, S]: 0 where a row has a source step, else the lowest number; a row of length 0 attends to its zeros."""
    steps = torch.arange(memory.outputs.shape[1], device=memory.lengths.device)
    past = steps >= memory.lengths[:, None]  # [B, S]
    return torch.zeros(past.shape, dtype=dtype, device=past.device).masked_fill(past, torch.finfo(dtype).min)[:, None]
