"""One encoder, one or more heads: classification, tagging, and both at once (Caruana 1997)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .. import tree
from ..layers import Bidirectional, Dropout, Pool, Stack
from ..recurrent import Cell, Layer
from .document import Sentences
from .embedder import Embedder
from .heads import Head, Heads


class Labeller(nn.Module):
    """Word ids -> the scores of each head. embedder -> body -> heads.

    It reads whole sequences, so it is no Recurrent and does not stream. With `Sentences` for an embedder the steps are
    the sentences of a document, and its tags are their labels.

    Args:
        embedder: ids -> [B, T, embedder.d_out].
        body: any Layer, [B, T, embedder.d_out] -> [B, T, D].
        heads: name -> what is asked.
        weights, learned: how much a head's loss counts, as `Heads` has it.
        adversarial: training also learns from each row with its vectors moved to where the loss grows fastest (Miyato,
            Dai & Goodfellow 2017), so far in parts of their own length, ‖r‖ = adversarial ‖v‖ over the row; 0: not. The
            published step, 5 for vectors of variance 1, is 0.02 for rows of 250 words and 256 features.

    Raises:
        ValueError: a head pools the last step, and reads another number of directions than the body has.
    """

    def __init__(
        self,
        embedder: Embedder | Sentences,
        body: Layer,
        heads: Mapping[str, Head],
        weights: Mapping[str, float] | None = None,
        learned: bool = False,
        adversarial: float = 0.0,
    ) -> None:
        super().__init__()
        for head in heads.values():
            if isinstance(pool := getattr(head, "pool", None), Pool):
                check_directions(body, pool)
        self.embedder = embedder
        self.body = body
        self.heads = Heads(heads, weights, learned)
        self.adversarial = adversarial

    def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """The scores of each head, [B, C] or [B, T, C].

        Args:
            x: ids [B, T], or [B, T, 1 + C] with letters.
            lengths: [B] int64 in 0..T.
        """
        return self.judge(self.embedder(x, lengths), lengths)

    def judge(self, vectors: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """The scores of each head from the embedder's vectors [B, T, embedder.d_out]."""
        y, _ = self.body(vectors, None, lengths)
        return {name: head(y, lengths) for name, head in self.heads.items()}

    def features(self, x: Tensor, lengths: Tensor) -> Tensor:
        """What the heads read, [B, T, D]."""
        return self.body(self.embedder(x, lengths), None, lengths)[0]

    def losses(self, x: Tensor, targets: Mapping[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
        """The loss of each head, in nats."""
        return self._losses(self.embedder(x, lengths), targets, lengths)

    def _losses(self, vectors: Tensor, targets: Mapping[str, Tensor], lengths: Tensor) -> dict[str, Tensor]:
        scores = self.judge(vectors, lengths)
        return {name: self.head(name).loss(scores[name], target, lengths) for name, target in targets.items()}

    def loss(self, x: Tensor, targets: Mapping[str, Tensor], lengths: Tensor) -> Tensor:
        """The weighted sum of the heads' losses; with `adversarial`, while training, its mean over both readings."""
        vectors = self.embedder(x, lengths)
        loss = self.heads.sum(self._losses(vectors, targets, lengths))
        if not (self.adversarial and self.training and loss.requires_grad):
            return loss
        (slope,) = torch.autograd.grad(loss, vectors, retain_graph=True)
        sizes = [t.detach().flatten(1).norm(dim=1).view(-1, 1, 1) for t in (vectors, slope)]
        step = slope * (self.adversarial * sizes[0] / sizes[1].clamp(min=torch.finfo(slope.dtype).tiny))
        return (loss + self.heads.sum(self._losses(vectors + step, targets, lengths))) / 2

    def head(self, name: str) -> Head:
        found = self.heads[name]
        assert isinstance(found, Head)
        return found


def check_directions(body: Layer, pool: Pool) -> None:
    """
    Raises:
        ValueError: "last" would read a step at which a direction has seen one word only.
    """
    top = _top(body)
    if pool.kind not in ("last", "concat"):
        return
    if isinstance(top, Bidirectional) and (top.merge != "concat" or pool.directions != 2):
        raise ValueError(
            "the last step of a Bidirectional is where its backward layer has read one word only; write Pool('last', "
            "d, directions=2) over merge 'concat', or pool by 'max'"
        )
    if isinstance(top, Cell) and pool.directions != 1:
        raise ValueError(f"{type(top).__name__} reads in one direction, and this Pool in two; write directions=1")


def _top(layer: nn.Module) -> nn.Module:
    """The layer that makes the features, as far as can be seen."""
    while isinstance(layer, Stack):
        layer = next((part for part in reversed(list(layer.parts)) if not isinstance(part, Dropout)), layer.parts[-1])
    return layer


def saliency(model: Labeller, x: Tensor, lengths: Tensor, head: str, target: Tensor) -> Tensor:
    """Gradient times input of each word at the embedder, [B, T]: how far it speaks for (> 0) or against `target`.

    Read in evaluation mode; parameters get no gradients. 0 past a row's length.

    Args:
        x, lengths: as the model reads them.
        head: whose scores [B, C] are asked about.
        target: [B] int64, the class whose score it is.
    """
    modes = {part: part.training for part in model.modules()}
    try:
        model.eval()
        with torch.enable_grad():
            vectors = model.embedder(x, lengths).detach().requires_grad_()
            scores = model.judge(vectors, lengths)[head]
            (slope,) = torch.autograd.grad(scores.gather(1, target[:, None]).sum(), vectors)
    finally:
        for part, mode in modes.items():
            part.training = mode
    return tree.masked((slope * vectors.detach()).sum(-1), lengths)
