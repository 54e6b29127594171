"""A recurrent language model: p(next token | all tokens so far)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..kernels.cpu.runtime.cpu_features import has_bfloat16_matmul
from ..kernels.loss import linear_cross_entropy
from ..layers import Dropout, Stack
from ..layers.penalties import activation, silent, temporal
from ..recurrent import Recurrent


class LanguageModel(Recurrent[Any]):
    """Token ids [B, T] -> logits [B, T, V].

    embedding -> body -> (dropout) -> (projection) -> softmax. With `tied` the softmax uses the embedding's matrix
    (Press & Wolf 2017; Inan et al. 2017), and a projection without bias bridges different widths.

    Args:
        vocabulary: V.
        width: the embedding's size.
        body: the recurrent part, [B, T, width] -> [B, T, d_body].
        d_body: features that the body gives.
        tied: one matrix for embedding and softmax.
        word_dropout: share of the vocabulary whose embedding is zero in a training batch, wherever the word stands in
            it; the other words' are divided by 1 - word_dropout (Gal & Ghahramani 2016; Merity et al. 2018).
        softmax: "float32", "bfloat16" or "auto" (bfloat16 where the processor has it): precision of the output
            products while training; evaluation is always in the weights' own dtype.
        dropout: of what the body gives.
        activation, temporal: while training, the gradient of `loss` has so many times the mean square of what the
            dropout gives (AR), and of the body's change from step to step (TAR, Merity et al. 2018: 2 and 1).
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        body: Recurrent[Any],
        d_body: int,
        tied: bool = False,
        word_dropout: float = 0.0,
        softmax: str = "auto",
        dropout: Dropout | None = None,
        activation: float = 0.0,
        temporal: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation, self.temporal = activation, temporal
        self.word_dropout = word_dropout
        self.low_precision = softmax == "bfloat16" or (softmax == "auto" and has_bfloat16_matmul())
        self.embedding = nn.Embedding(vocabulary, width)
        self.body = body
        self.dropout = dropout
        self.projection = nn.Linear(d_body, width, bias=False) if tied and d_body != width else None
        self.head = nn.Linear(width if tied else d_body, vocabulary)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.bias)
        if tied:
            self.head.weight = self.embedding.weight

    def initial_state(self, batch: int) -> Any:
        return self.body.initial_state(batch)

    def scan(self, x: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, Any]:
        h, state = self.features(x, state, lengths, resets)
        return self.head(h), state

    def features(
        self, x: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """What the softmax layer reads: [B, T, width or d_body]."""
        y, state = self.body(self._embed(x), state, lengths, resets)
        return self._project(self._drop(y, lengths)), state

    def loss(
        self, x: Tensor, targets: Tensor, state: Any, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """(mean cross-entropy in nats over the targets that are not -100, the state after the batch).

        That is its value, with `activation` and `temporal` too; while training its gradient is that of
        cross-entropy + activation * AR + temporal * TAR.
        """
        state = self.initial_state(len(x)) if state is None else state
        raw, state = self.body(self._embed(x), state, lengths, resets)
        dropped = self._drop(raw, lengths)
        h, w, b = self._project(dropped).flatten(0, 1), self.head.weight, self.head.bias
        loss = linear_cross_entropy(h, w, b, targets.flatten(), bfloat16=self.low_precision)
        if self.training and self.activation:
            loss = silent(loss, self.activation * activation(dropped, lengths))
        if self.training and self.temporal:
            loss = silent(loss, self.temporal * temporal(raw, lengths, resets))
        return loss, state

    def groups(self) -> list[list[nn.Parameter]]:
        """The weights from the bottom to the top, each once: embedding, part by part of the body, softmax layer.

        A tied matrix is the embedding's.
        """
        parts = self.body.parts if isinstance(self.body, Stack) else [self.body]
        tops = [m for m in (self.projection, self.head) if m is not None]
        shared = set(self.embedding.parameters())
        top = [p for m in tops for p in m.parameters() if p not in shared]
        return [g for g in [list(m.parameters()) for m in (self.embedding, *parts)] + [top] if g]

    def _drop(self, y: Tensor, lengths: Tensor | None) -> Tensor:
        return y if self.dropout is None else self.dropout(y, (), lengths)[0]

    def _project(self, y: Tensor) -> Tensor:
        return y if self.projection is None else self.projection(y)

    def _embed(self, x: Tensor) -> Tensor:
        weight = self.embedding.weight
        if not self.training or self.word_dropout == 0:
            return F.embedding(x, weight)
        kept = torch.empty_like(weight[:, :1]).bernoulli_(1 - self.word_dropout) / (1 - self.word_dropout)
        return F.embedding(x, weight) * F.embedding(x, kept)


@torch.no_grad()
def score_documents(model: Recurrent[Any], ids: Tensor, end: int, *, batch: int = 64) -> Tensor:
    """-log p of every token of a text but the first, as `score`, but each line is read from the initial state.

    Args:
        ids: [N] int64, N >= 2.
        end: the token that ends a line. What ends one line is what the next one is predicted from.
        batch: lines read side by side; the result does not depend on it.
    """
    cuts = (ids[1:-1] == end).nonzero().flatten() + 1
    starts = torch.cat([cuts.new_zeros(1), cuts])
    sizes = torch.cat([cuts, cuts.new_tensor([len(ids) - 1])]) - starts  # scored tokens
    nats = torch.empty(len(ids) - 1, dtype=torch.float64, device=ids.device)
    for rows in sizes.argsort(descending=True, stable=True).split(batch):
        lengths, steps = sizes[rows], torch.arange(int(sizes[rows].max()), device=ids.device)
        real = steps < lengths[:, None]
        at = torch.where(real, starts[rows, None] + steps, 0)
        logits, _ = model(ids[at], None, lengths)
        flat = F.cross_entropy(logits.flatten(0, 1), ids[at + 1].flatten(), reduction="none")
        nats[at[real]] = flat.view_as(at)[real].double()
    return nats


@torch.no_grad()
def score(model: Recurrent[Any], ids: Tensor, *, chunk: int = 1024, streams: int = 1) -> Tensor:
    """-log p of every token of a text but the first, in nats, [N - 1] float64, read as ONE stream.

    Args:
        ids: [N] int64 on the model's device, N >= 2.
        chunk: tokens read at once; the result does not depend on it.
        streams: > 1 cuts the text into that many pieces read side by side, each from the initial state with the token
            before it as context: faster, and a little worse for the model. Quote figures with 1.

    Raises:
        ValueError: fewer than two tokens.
    """
    if len(ids) < 2:
        raise ValueError(f"a text of {len(ids)} tokens cannot be scored: each token is predicted from those before it")
    total = len(ids) - 1
    steps = -(-total // streams)
    padded = F.pad(ids, (0, steps * streams + 1 - len(ids)))
    inputs, targets = padded[:-1].view(streams, steps), padded[1:].view(streams, steps)
    state, nats = None, []
    for t in range(0, steps, chunk):
        logits, state = model(inputs[:, t : t + chunk], state)
        flat = F.cross_entropy(logits.flatten(0, 1), targets[:, t : t + chunk].flatten(), reduction="none")
        nats.append(flat.view(streams, -1))
    return torch.cat(nats, dim=1).flatten()[:total].double()
