"""A decoder: a recurrent language model whose state holds what it translates (Cho et al. 2014, Luong et al. 2015).

    h_t = body([e_t; h~_{t-1}])                     h~_{t-1} with input feeding only
    h~_t = tanh(W [context_t; h_t]),  context_t by attention with the query h_t
    p(y_t | y_<t, source) = softmax(V h~_t)

Without attention a fixed vector of the source stands in for the context, or nothing (Sutskever et al. 2014).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import tree
from ..layers import Attention, Dropout, Memory
from ..layers.attention import hidden
from ..recurrent import Recurrent
from .feeding import opened


class DecoderState(NamedTuple):
    body: Any  # state of the recurrent part
    memory: Memory  # what attention sees; without attention one step, the fixed vector
    fed: Tensor  # [B, D] the last attentional vector
    weights: Tensor  # [B, S] where the last step has looked; [B, 0] without attention


class Decoder(Recurrent[DecoderState]):
    """Target ids [B, T] -> logits [B, T, V].

    Args:
        embedding: V x W, of the target words. body: [B, T, d_in] -> [B, T, d_body], where d_in is W, and besides D with
            input feeding, M with `context`.
        d_body: features that the body gives. d_memory: M, of the memory's outputs, or of the fixed vector.
        d_out: D, of the attentional vector that the softmax reads.
        attention: over [B, S, M] with queries of d_body; None: the memory is one fixed vector.
        feeding: the attentional vector of a step goes into the next one (input feeding, Luong et al. 2015).
        context: without attention, the fixed vector goes into every step and into the readout (Cho et al. 2014).
        tied: the softmax uses the embedding's matrix, so D must be W.
        dropout: on embeddings and attentional vectors, fed back ones excepted.

    Raises:
        ValueError: `tied` with D other than W; `context` with attention.

    A reset begins a target anew on the same memory. Past a row's length its state rests.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        body: Recurrent[Any],
        d_body: int,
        d_memory: int,
        d_out: int,
        attention: Attention | None,
        feeding: bool = False,
        context: bool = False,
        tied: bool = True,
        dropout: Dropout | None = None,
    ) -> None:
        super().__init__()
        if tied and d_out != embedding.embedding_dim:
            raise ValueError(
                f"a tied softmax reads vectors of the embedding's width {embedding.embedding_dim}, and d_out is {d_out}"
            )
        if context and attention is not None:
            raise ValueError("context=True feeds a fixed vector to every step: leave it out where there is attention")
        self.embedding, self.body, self.attention = embedding, body, attention
        self.d_memory, self.d_out, self.feeding, self.context = d_memory, d_out, feeding, context
        seen = d_memory if attention is not None or context else 0
        self.join = nn.Linear(d_body + seen, d_out)
        self.head = nn.Linear(d_out, embedding.num_embeddings)
        self.dropout = Dropout(0.0) if dropout is None else dropout
        nn.init.zeros_(self.head.bias)
        if tied:
            self.head.weight = embedding.weight

    def initial_state(self, batch: int) -> DecoderState:
        like = self.join.weight
        if self.attention is not None:
            memory = self.attention.empty(like, batch)
        else:
            memory = fixed(like.new_zeros(batch, self.d_memory))
        return self.start(self.body.initial_state(batch), memory)

    def start(self, body: Any, memory: Memory) -> DecoderState:
        """The state before the first target word."""
        batch, steps, _ = memory.outputs.shape
        like = self.join.weight
        seen = steps if self.attention is not None else 0
        return DecoderState(body, memory, like.new_zeros(batch, self.d_out), like.new_zeros(batch, seen))

    def scan(
        self, x: Tensor, state: DecoderState, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, DecoderState]:
        y, state = self.features(x, state, lengths, resets)
        return tree.masked(self.head(y), lengths), state

    def features(
        self, x: Tensor, state: DecoderState, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, DecoderState]:
        """What the softmax layer reads, [B, T, D], and the state after it."""
        e, _ = self.dropout.scan(self.embedding(x), (), None, None)
        if self.context:
            e = torch.cat([e, state.memory.outputs.expand(-1, e.shape[1], -1)], dim=-1)
        read = self._fed if self.feeding else self._at_once
        y, state = read(e, state, lengths, resets)
        return self.dropout.scan(y, (), lengths, None)[0], state

    def _at_once(
        self, e: Tensor, state: DecoderState, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, DecoderState]:
        """No step waits for the attention of the one before it: one scan, then attention for all steps."""
        h, body = self.body(e, state.body, lengths, resets)
        seen, weights = self._seen(h, state.memory, None)
        y = self.join(seen).tanh()
        ends = _last(torch.cat([state.fed[:, None], y.to(state.fed.dtype)], 1), lengths)
        looks = _last(torch.cat([state.weights[:, None], weights.to(state.weights.dtype)], 1), lengths)
        return y, DecoderState(body, state.memory, ends, looks)

    def _fed(
        self, e: Tensor, state: DecoderState, lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, DecoderState]:
        """Step by step: what a step says goes into the next one."""
        step = opened(self.body, e, self.d_out)
        memory, now = state.memory, (state.body, state.fed, state.weights)
        bias = None if self.attention is None else hidden(memory, state.fed.dtype)
        fresh = (self.body.initial_state(len(e)), torch.zeros_like(state.fed), torch.zeros_like(state.weights))
        outs = []
        for t in range(e.shape[1]):
            before = now if resets is None else tree.where(resets[:, t], fresh, now)
            h, body = step(t, before[1], before[0])
            seen, weights = self._seen(h[:, None], memory, bias)
            y = self.join(seen[:, 0]).tanh()
            after = (body, y.to(state.fed.dtype), weights[:, 0].to(state.weights.dtype))
            outs.append(after[1])
            now = after if lengths is None else tree.where(t < lengths, after, now)
        return tree.masked(torch.stack(outs, 1), lengths), DecoderState(now[0], memory, now[1], now[2])

    def _seen(self, h: Tensor, memory: Memory, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """(what the attentional vectors are made of, [B, T, M + H]; weights [B, T, S]) for the body's outputs."""
        if self.attention is not None:
            context, weights = self.attention(h, memory, bias)
            return torch.cat([context.to(h.dtype), h], dim=-1), weights
        if self.context:
            h = torch.cat([memory.outputs.expand(-1, h.shape[1], -1).to(h.dtype), h], dim=-1)
        return h, h[..., :0]


def fixed(vector: Tensor) -> Memory:
    """A vector [B, M] as the only step of a memory without keys."""
    outputs = vector[:, None]
    return Memory(outputs, outputs[..., :0], torch.ones(len(vector), dtype=torch.int64, device=vector.device))


def _last(y: Tensor, lengths: Tensor | None) -> Tensor:
    """Of y [B, 1 + T, ...], which begins with the state before the first step: what stands after each row's last."""
    if lengths is None:
        return y[:, -1]
    return y[torch.arange(len(y), device=y.device), lengths]
