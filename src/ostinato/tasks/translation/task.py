"""The translation task: pairs side by side, the loss of each target token, and the quality of what a search finds."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...data.buckets import bucketed, fitted, pad
from ...metrics import translation as scores
from ...models.seq2seq import GoldShare, Seq2Seq
from ...stream import Hypothesis
from ...train.task import Task
from .build import build
from .codec import Codec
from .pairs import Pairs, Part
from .recipe import Search, TranslationRecipe


class PairBatch(NamedTuple):
    """Pairs side by side."""

    source: Tensor  # [B, S] int64
    source_lengths: Tensor  # [B] int64
    target: Tensor  # [B, T] int64
    lengths: Tensor  # [B] int64
    step: int  # which batch of the whole training it is


class TranslationTask(Task[PairBatch]):
    """p(target | source), judged by BLEU.

    Args:
        recipe: data, model and search.
        pairs: what the recipe names, read.
        device: where the batches go.

    `said` holds what was written for a split when it was evaluated last.
    """

    monitor: str = "bleu"
    higher_is_better: ClassVar[bool] = True

    def __init__(self, recipe: TranslationRecipe, pairs: Pairs, device: torch.device) -> None:
        self.recipe, self.pairs, self.device = recipe, pairs, device
        self.said: dict[str, list[str]] = {}
        self.found: list[list[Hypothesis]] = []  # of the split evaluated last
        self.signatures: dict[str, str] = {}
        sampling = recipe.model.sampling
        self.gold = None if sampling.kind == "none" else GoldShare(sampling.kind, sampling.k, sampling.floor)
        self._order: tuple[int, list[Tensor]] = (-1, [])
        self._sizes = pairs.parts["train"].sizes
        self._count = len(_cut(recipe, pairs, 0))

    def model(self) -> Seq2Seq:
        return build(self.recipe, self.pairs.codec)

    def notes(self) -> list[str]:
        return [f"{name} by sacrebleu: {signature}" for name, signature in self.signatures.items()]

    def fingerprint(self) -> str:
        return self.pairs.fingerprint()

    def batch_count(self) -> int:
        return self._count

    def batches(self, epoch: int, start: int, rank: int, world: int) -> Iterator[PairBatch]:
        for number, rows in enumerate(self._batches(epoch)[start:], start=epoch * self._count + start):
            shared = rows.tolist()[rank::world]
            batch = self._batch(self.pairs.parts["train"], shared or rows.tolist()[:1], number)
            # More ranks than rows: this one keeps step with the others, and learns nothing from a mark alone.
            yield batch if shared else batch._replace(lengths=torch.ones_like(batch.lengths))

    def _batches(self, epoch: int) -> list[Tensor]:
        if self._order[0] != epoch:
            self._order = (epoch, fitted(_cut(self.recipe, self.pairs, epoch), self._sizes, self._count))
        return self._order[1]

    def _batch(self, part: Part, rows: Sequence[int], step: int = 0) -> PairBatch:
        source, source_lengths = pad([part.source[i] for i in rows])
        target, lengths = pad([part.target[i] for i in rows])
        to = self.device
        return PairBatch(source.to(to), source_lengths.to(to), target.to(to), lengths.to(to), step)

    def size(self, batch: PairBatch) -> int:
        return int((batch.lengths - 1).sum())

    def loss(self, model: nn.Module, batch: PairBatch, state: Any) -> tuple[Tensor, Any]:
        assert isinstance(model, Seq2Seq)
        gold = 1.0 if self.gold is None else self.gold(batch.step)
        return model.loss(batch.source, batch.target, batch.source_lengths, batch.lengths, gold=gold), None

    def evaluate(self, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        """Nats a target token, BLEU and chrF; `quick`: without chrF, and of the greedy translations."""
        assert isinstance(model, Seq2Seq)
        part, search = self.pairs.parts[split], self.recipe.search
        figures = {f"{split}/nats_per_token": self._nats(model, part)}
        search = search.model_copy(update={"beam": 1}) if quick else search
        self.found = translated(model, self.pairs.codec, part.source, self.recipe.data.batch_valid, search)
        said = [self.pairs.codec.written(best[0].ids) for best in self.found]
        if quick:
            return figures | {f"{split}/bleu": scores.bleu(said, part.references, search.bleu).score}
        self.said[split] = said
        found, self.signatures = quality(said, part.references, search.bleu)
        return figures | {f"{split}/{name}": value for name, value in found.items()}

    def worth(self, metrics: dict[str, float]) -> float:
        """BLEU from 1 on; below, where a chance n-gram decides it while the model still learns, the likelihood."""
        bleu = metrics["valid/bleu"]
        return bleu if bleu >= 1 else -metrics["valid/nats_per_token"]

    def _nats(self, model: Seq2Seq, part: Part) -> float:
        """Mean over the target tokens."""
        order = sorted(range(len(part)), key=part.sizes.__getitem__)
        total, count, width = 0.0, 0, self.recipe.data.batch_valid
        for start in range(0, len(order), width):
            batch = self._batch(part, order[start : start + width])
            items = self.size(batch)
            loss = model.loss(batch.source, batch.target, batch.source_lengths, batch.lengths)
            total, count = total + float(loss) * items, count + items
        return total / count


def quality(said: list[str], references: list[str], tokenize: str) -> tuple[dict[str, float], dict[str, str]]:
    """(BLEU and chrF, 0..100; how each was made, as sacrebleu signs it)."""
    found = {"bleu": scores.bleu(said, references, tokenize), "chrf": scores.chrf(said, references)}
    return {name: one.score for name, one in found.items()}, {name: one.signature for name, one in found.items()}


@torch.no_grad()
def translated(
    model: Seq2Seq, codec: Codec, rows: Sequence[Tensor], batch: int, search: Search, n_best: int = 1
) -> list[list[Hypothesis]]:
    """What a search finds for source rows [S], in their order; `batch` of like length at a time."""
    device = model.embedding.weight.device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: list[list[Hypothesis]] = [[] for _ in rows]
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        source, lengths = pad([rows[i] for i in chosen])
        said = model.translate(
            source.to(device),
            lengths.to(device),
            start=codec.boundary,
            end=codec.boundary,
            ratio=search.ratio,
            extra=search.extra,
            beam=max(search.beam, n_best),
            n_best=n_best,
            length_penalty=search.length_penalty,
            forbidden=codec.forbidden,
        )
        for i, hypotheses in zip(chosen, said, strict=True):
            found[i] = hypotheses
    return found


def _cut(recipe: TranslationRecipe, pairs: Pairs, epoch: int) -> list[Tensor]:
    """The rows of each batch of an epoch."""
    seed = (recipe.seed * 100_003 + epoch) % 2**63
    sizes = pairs.parts["train"].sizes
    return bucketed(sizes, recipe.data.batch, seed=seed, max_tokens=recipe.data.batch_tokens)
