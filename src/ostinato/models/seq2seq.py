"""Encoder and decoder: one sequence into another of another length (Sutskever et al. 2014, Bahdanau et al. 2015)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..kernels.cpu.runtime.cpu_features import has_bfloat16_matmul
from ..kernels.loss import linear_cross_entropy
from ..layers import Attention, Dropout, LockedDropout
from ..recurrent import Layer, Recurrent
from ..registry import UnknownNameError, near
from ..stream import Hypothesis, beam_search
from .bridge import Bridge, top
from .decoder import Decoder, DecoderState, fixed


def decoder_width(
    width: int, d_encoder: int, *, feeding: bool = False, context: bool = False, d_out: int | None = None
) -> int:
    """Features that the body of a `Seq2Seq` with these options reads."""
    return width + feeding * (width if d_out is None else d_out) + context * d_encoder


@dataclass(frozen=True)
class GoldShare:
    """How often a step of training reads the true word, over the steps of training (Bengio et al. 2015, section 2.4).

    Args:
        kind: "linear": 1 - i / k; "exponential": k^i, k < 1; "sigmoid": k / (k + exp(i / k)), k >= 1.
        k: how fast it falls. floor: it never falls below.

    Raises:
        ValueError: no schedule has that name, or k or floor is out of range.
    """

    kind: str
    k: float
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _SHARES:
            raise UnknownNameError(f"no schedule is called {self.kind!r}{near(self.kind, _SHARES)}")
        low, high = {"linear": (1e-9, math.inf), "exponential": (0, 1), "sigmoid": (1, math.inf)}[self.kind]
        if not low <= self.k <= high or not 0 <= self.floor <= 1:
            raise ValueError(f"a {self.kind} schedule takes k in {low:g}..{high:g} and a floor in 0..1, not {self}")

    def __call__(self, step: int) -> float:
        """The share at optimiser step i = `step`, from 0 on."""
        return max(self.floor, _SHARES[self.kind](step, self.k))


_SHARES: dict[str, Callable[[int, float], float]] = {
    "linear": lambda i, k: 1 - i / k,
    "exponential": lambda i, k: k**i,
    "sigmoid": lambda i, k: 1 / (1 + math.exp(min(i / k, 700)) / k),
}


class Seq2Seq(nn.Module):
    """p(target | source): ids [B, S] and ids [B, T] -> logits [B, T, V].

    encoder(embedding) -> memory; bridge(final state) -> the decoder's first state; see `Decoder`.

    Args:
        sources: entries of the source vocabulary. targets: V, of the target vocabulary.
        width: W of both embeddings.
        encoder: [B, S, W] -> [B, S, d_encoder]; it may look ahead (Bidirectional).
        body: the decoder's recurrent part, [B, T, d_in] -> [B, T, d_body], with d_in as `decoder_width` tells.
        attention: "dot", "general", "additive", or "none": all that the decoder gets is one fixed vector.
        feeding: what a step says goes into the next one (input feeding, Luong et al. 2015). Steps are then taken one
            by one; without it the whole target is one scan.
        context: without attention, the fixed vector goes into every step (Cho et al. 2014), not only into the first
            state (Sutskever et al. 2014).
        d_out: width of the attentional vector that the softmax reads; None: W.
        tied: one matrix for target embedding and softmax.
        shared: one matrix for source and target embedding too (one vocabulary, joint BPE).
        dropout: on both embeddings and on what the softmax reads. locked: the same features at all steps of a row.
        smoothing: share of the target distribution spread over the whole vocabulary (Szegedy et al. 2016), in training.
        softmax: "float32", "bfloat16" or "auto", as for `LanguageModel`.

    Raises:
        ValueError: `shared` vocabularies of different sizes; `context` with attention; `tied` with d_out other than W;
            a value out of range.

    The decoder streams: `model.decoder.step(ids, state)`, from the state that `model.encode` gives.
    """

    # For drawings: what belongs to which side, in the order of the data. The bridge goes from one to the other.
    chains: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "encoder": ("embedding", "dropout", "encoder"),
        "decoder": tuple(f"decoder.{name}" for name in ("embedding", "dropout", "body", "attention", "join", "head")),
    }

    def __init__(
        self,
        sources: int,
        targets: int,
        width: int,
        encoder: Layer,
        d_encoder: int,
        body: Recurrent[Any],
        d_body: int,
        attention: str = "general",
        feeding: bool = False,
        context: bool = False,
        d_out: int | None = None,
        tied: bool = True,
        shared: bool = False,
        dropout: float = 0.0,
        locked: bool = False,
        smoothing: float = 0.0,
        softmax: str = "auto",
    ) -> None:
        super().__init__()
        if shared and sources != targets:
            raise ValueError(
                f"shared embeddings need one vocabulary, and there are {sources} source and {targets} target entries"
            )
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is a share, from 0 up to but not including 1, and is {smoothing}")
        self.smoothing = smoothing
        self.low_precision = softmax == "bfloat16" or (softmax == "auto" and has_bfloat16_matmul())
        self.dropout = (LockedDropout if locked else Dropout)(dropout)
        self.encoder, self.bridge = encoder, Bridge(encoder, body)
        self.embedding = _embedding(sources, width)
        looks = None if attention == "none" else Attention(attention, d_body, d_encoder)
        self.summary = nn.Linear(top(encoder.initial_state(1)).shape[1], d_encoder) if context else None
        self.decoder = Decoder(
            self.embedding if shared else _embedding(targets, width),
            body, d_body, d_encoder, width if d_out is None else d_out,
            looks, feeding, context, tied, self.dropout,
        )  # fmt: skip

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> DecoderState:
        """The decoder's state before the first target word.

        Args:
            source: [B, S] int64. lengths: [B] int64 in 0..S; None: all rows are S long. Padding may hold any id.
        """
        e, _ = self.dropout(self.embedding(source), (), lengths)
        outputs, state = self.encoder(e, None, lengths)
        begun = self.bridge(state, self.decoder.body.initial_state(len(source)))
        if self.decoder.attention is not None:
            return self.decoder.start(begun, self.decoder.attention.remember(outputs, lengths))
        if self.summary is None:
            return self.decoder.start(begun, fixed(outputs.new_zeros(len(source), 0)))
        return self.decoder.start(begun, fixed(self.summary(top(state)).tanh()))

    def forward(
        self, source: Tensor, target: Tensor, source_lengths: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Logits [B, T, V]: at t those of the word after target[:, : t + 1]. A target begins with the start symbol."""
        return self.decoder(target, self.encode(source, source_lengths), lengths)[0]

    def loss(
        self, source: Tensor, target: Tensor, source_lengths: Tensor | None = None, lengths: Tensor | None = None,
        gold: float = 1.0,
    ) -> Tensor:  # fmt: skip
        """Mean cross-entropy in nats of all target words but the first of each row; smoothed while training.

        Args:
            source: [B, S]. target: [B, T] int64, from the start symbol to the end symbol, T >= 2.
            source_lengths, lengths: [B] int64, of both; None: no row is padded.
            gold: the chance that a step reads the true word and not one that the model draws (scheduled sampling,
                Bengio et al. 2015); see `GoldShare`. Training only.
        """
        state = self.encode(source, source_lengths)
        read, wanted = target[:, :-1], target[:, 1:]
        if self.training and gold < 1:
            read = drawn(self.decoder, read, state, gold)
        # What comes after a row's end has no part in the loss, and no step sees the future: nothing has to rest.
        y, _ = self.decoder.features(read, state)
        y, wanted = _real(y, wanted, lengths)
        smoothing = self.smoothing if self.training else 0.0
        head = self.decoder.head
        return linear_cross_entropy(y, head.weight, head.bias, wanted, bfloat16=self.low_precision, smoothing=smoothing)

    def translate(
        self,
        source: Tensor,
        lengths: Tensor | None = None,
        *,
        start: int,
        end: int,
        ratio: float = 1.5,
        extra: int = 10,
        **options: Any,
    ) -> list[list[Hypothesis]]:
        """`beam_search` over the targets of source ids [B, S], each at most ratio * its length + extra words long."""
        if lengths is None:
            lengths = torch.full((len(source),), source.shape[1], dtype=torch.int64, device=source.device)
        longest = (lengths * ratio).long() + extra
        with torch.no_grad():
            state = self.encode(source, lengths)
        looks = (lambda s: s.weights) if self.decoder.attention is not None else None
        return beam_search(self.decoder, state, start, end, max_length=longest, attention=looks, **options)


@torch.no_grad()
def drawn(decoder: Decoder, read: Tensor, state: DecoderState, gold: float) -> Tensor:
    """`read` [B, T] with words after the first replaced, with chance 1 - gold each, by what the decoder draws there."""
    mixed = [read[:, 0]]
    true = torch.rand(read.shape, device=read.device) < gold
    for t in range(1, read.shape[1]):
        logits, state = decoder.step(mixed[-1], state)
        word = torch.multinomial(logits.float().softmax(-1), 1).squeeze(1)
        mixed.append(torch.where(true[:, t], read[:, t], word))
    return torch.stack(mixed, dim=1)


def _real(y: Tensor, wanted: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The steps that have a word to predict, [N, D] and [N]."""
    if lengths is None:
        return y.flatten(0, 1), wanted.flatten()
    real = torch.arange(wanted.shape[1], device=wanted.device) < lengths[:, None] - 1
    return y[real], wanted[real]


def _embedding(entries: int, width: int) -> nn.Embedding:
    made = nn.Embedding(entries, width)
    nn.init.uniform_(made.weight, -0.1, 0.1)
    return made
