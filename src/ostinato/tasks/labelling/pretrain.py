"""Pre-training: a language model learns the training part's texts, and the labeller starts from its weights.

Dai & Le 2015, "Semi-supervised Sequence Learning"; fine-tuning as in Howard & Ruder 2018 (ULMFiT) is asked for by
`train.optimiser.layer_decay`, `train.unfreeze_epochs` and the schedule "triangular". No text but the training part's is
read: neither the valid part's nor the test part's.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...data.batches import IGNORED
from ...data.buckets import pad
from ...layers import Dropout, LockedDropout
from ...models import Embedder
from ...models.bilm import BiLM
from ...recurrent import Recurrent
from ...storage import atomic_write
from ...train import checkpoint
from ...train.loop import BEST, LAST, Listener, Trainer
from ...train.recipe import RecipeError, Training
from ...train.task import Task
from .. import body
from ..run import PRETRAINED
from .codec import Codec
from .examples import Examples
from .recipe import LabellingRecipe


class Streams(NamedTuple):
    """Pieces of streams of documents, of each direction; row b goes on where row b of the batch before ended."""

    x: Tensor  # [D, B, T] int64
    targets: Tensor  # [D, B, T] int64, IGNORED at the end of a document
    resets: Tensor  # [D, B, T] bool, True where a document begins


class PretrainingTask(Task[Streams]):
    """Next-token prediction on the training part's texts, whole ones, in the labeller's vocabulary.

    Each epoch lays the texts side by side in another order. Some are held out to tell the perplexity.
    """

    monitor = "nats_per_token"

    def __init__(self, recipe: LabellingRecipe, examples: Examples, device: torch.device) -> None:
        self.recipe, self.codec, self.device = recipe, examples.codec, device
        column = examples.parts["train"].table.column(recipe.data.text)
        texts = [self.codec.encode(self.codec.tokens(field)) for field in column]
        texts = [text for text in texts if len(text) > 1]
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(recipe.seed)).tolist()
        held = held_out(recipe, len(texts))
        self.held = [texts[i] for i in order[:held]]
        self.texts = [texts[i] for i in order[held:]]
        self.length = sum(map(len, self.texts)) // recipe.pretrain.batch  # of a stream
        self._laid: tuple[int, Streams | None] = (-1, None)

    def model(self) -> BiLM:
        return language_model(self.recipe, self.codec)

    def fingerprint(self) -> str:
        return hashlib.sha256(b"".join(text.numpy().tobytes() for text in (*self.texts, *self.held))).hexdigest()

    def batch_count(self) -> int:
        return -(-self.length // self.recipe.pretrain.steps)

    def batches(self, epoch: int, start: int, rank: int, world: int) -> Iterator[Streams]:
        if self._laid[0] != epoch:
            self._laid = (epoch, self._lay(epoch))
        whole, steps = self._laid[1], self.recipe.pretrain.steps
        assert whole is not None
        for first in range(start * steps, self.length, steps):
            yield Streams(*(part[..., first : first + steps].to(self.device).contiguous() for part in whole))

    def _lay(self, epoch: int) -> Streams:
        seed = (self.recipe.seed * 100_003 + epoch) % 2**63
        generator = torch.Generator().manual_seed(seed)
        texts = [self.texts[i] for i in torch.randperm(len(self.texts), generator=generator).tolist()]
        ways = (self._streams(way) for way in self._ways(texts))
        return Streams(*map(torch.stack, zip(*ways, strict=True)))

    def _ways(self, texts: list[Tensor]) -> list[list[Tensor]]:
        """The texts as each direction reads them."""
        return [texts, [text.flip(0) for text in texts]][: 1 + self.recipe.model.bidirectional]

    def _streams(self, texts: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, targets and resets of one direction, [B, length] each."""
        ids, targets = torch.cat(texts), torch.cat([following(text) for text in texts])
        begins = torch.zeros(len(ids) + 1, dtype=torch.bool)
        begins[torch.tensor([0, *map(len, texts)]).cumsum(0)] = True
        rows, most = self.recipe.pretrain.batch, self.recipe.pretrain.batch * self.length
        return ids[:most].view(rows, -1), targets[:most].view(rows, -1), begins[:most].view(rows, -1)

    def size(self, batch: Streams) -> int:
        return int((batch.targets != IGNORED).sum())

    def tokens(self, batch: Streams) -> int:
        return batch.x[0].numel()

    def loss(self, model: nn.Module, batch: Streams, state: Any) -> tuple[Tensor, Any]:
        assert isinstance(model, BiLM)
        return model.loss(batch.x, batch.targets, state, batch.resets)

    def evaluate(self, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        """Of the texts that were held out, each read by itself; both directions together."""
        assert isinstance(model, BiLM)
        nats, count = 0.0, 0
        order = torch.tensor([len(text) for text in self.held]).argsort()
        for rows in order.split(self.recipe.data.batch_valid):
            ways = self._ways([self.held[i] for i in rows.tolist()])
            x = torch.stack([pad(way)[0] for way in ways])
            targets = torch.stack([pad([following(text) for text in way], IGNORED)[0] for way in ways])
            lengths = pad(ways[0])[1].to(self.device)
            some, scored = model.score(x.to(self.device), targets.to(self.device), lengths)
            nats, count = nats + some, count + scored
        return {f"{split}/nats_per_token": nats / count, f"{split}/perplexity": math.exp(min(700.0, nats / count))}


def following(text: Tensor) -> Tensor:
    """What is to be predicted at each token of a text."""
    return torch.cat([text[1:], text.new_tensor([IGNORED])])


def held_out(recipe: LabellingRecipe, texts: int) -> int:
    """How many texts tell the perplexity: a tenth at most."""
    return max(1, min(recipe.pretrain.held_out, texts // 10))


def language_model(recipe: LabellingRecipe, codec: Codec) -> BiLM:
    """The labeller's embedding and its layers, each direction by itself, under a softmax."""
    told, model = recipe.pretrain, recipe.model
    embedder = Embedder(len(codec.words), model.width, word_dropout=told.dropout.words)
    inside = told.dropout.model_copy(update={"output": 0.0})
    one_way = model.model_copy(update={"bidirectional": False, "dropout": inside})
    built = [body.build(one_way, model.width) for _ in range(1 + model.bidirectional)]
    directions = [way.body for way in built if isinstance(way.body, Recurrent)]
    mask = LockedDropout if told.dropout.kind == "locked" else Dropout
    dropout = mask(told.dropout.output) if told.dropout.output else None
    answers = min(told.answers, len(codec.words))
    rest = (answers, told.tied, dropout, told.activation, told.temporal)
    made = BiLM(embedder, directions, built[0].d_out, *rest)
    body.begin(model, made)
    return made


def check(recipe: LabellingRecipe, examples: Examples) -> None:
    """Complains about what pre-training cannot do, before any folder is made.

    Raises:
        RecipeError: several processes, or too few texts.
    """
    if not recipe.pretrain.epochs:
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError("pre-training runs in one process; start without torchrun, or set pretrain.epochs = 0")
    sizes = [size for size in examples.parts["train"].sizes if size > 1]
    tokens = sum(sorted(sizes)[: len(sizes) - held_out(recipe, len(sizes))])
    if len(sizes) < 2 or tokens < 2 * recipe.pretrain.batch:
        raise RecipeError(
            f"pretrain.batch = {recipe.pretrain.batch} streams need two tokens each, and two texts at least, and the "
            f"training part has {len(sizes)} texts of {tokens} tokens without the held-out ones; lower pretrain.batch, "
            "or set pretrain.epochs = 0"
        )


def pretrain(
    recipe: LabellingRecipe, examples: Examples, device: torch.device, folder: Path, tell: Listener
) -> tuple[BiLM, dict[str, float]]:
    """The trained language model and its figures. What `folder` holds of an earlier process is gone on with.

    Raises:
        KeyboardInterrupt: by Ctrl-C; the folder holds what it takes to go on.
    """
    task = PretrainingTask(recipe, examples, device)
    done = folder / PRETRAINED
    if done.is_file():
        model = task.model().to(device, torch.float64 if recipe.dtype == "float64" else torch.float32)
        checkpoint.restore(model, checkpoint.load(folder / BEST)[0], folder / BEST)
        return model, json.loads(done.read_text(encoding="utf-8"))
    folder.mkdir(exist_ok=True)
    tell({"event": "phase", "text": "pre-training: a language model of the training part"})
    trainer = Trainer(task, _training(recipe), folder, recipe.seed, device, recipe.dtype, _told(tell), alone=True)
    model, report = trainer.run(resume=(folder / LAST).is_file())
    if report.interrupted:
        raise KeyboardInterrupt
    assert isinstance(model, BiLM) and report.progress.best is not None
    figures = {"pretrain/perplexity": math.exp(min(700.0, report.progress.best)),
               "pretrain/seconds": report.progress.seconds,
               "pretrain/tokens_per_s": report.items_per_second}  # fmt: skip
    atomic_write(done, json.dumps(figures) + "\n")
    (folder / LAST).unlink()  # large, and of no use any more
    return model, figures


def _training(recipe: LabellingRecipe) -> Training:
    told, usual = recipe.pretrain, recipe.train
    return Training(
        epochs=told.epochs,
        max_steps=told.max_steps,
        optimiser=told.optimiser,
        schedule=told.schedule,
        clip_norm=told.clip_norm,
        log_steps=usual.log_steps,
        checkpoint_seconds=usual.checkpoint_seconds,
        checkpoint_steps=usual.checkpoint_steps,
    )


def _told(tell: Listener) -> Listener:
    """The language model's events under names of their own: curves in the report are the labeller's."""

    def heard(event: dict[str, Any]) -> None:
        match event["event"]:
            case "step":
                tell({**event, "event": "baseline_step"})
            case "evaluate":
                tell({**event, "event": "pretrain"})
                perplexity = event["metrics"]["valid/perplexity"]
                tell(
                    {"event": "phase", "text": f"pre-training, epoch {event['epoch']:.2f}: perplexity {perplexity:.1f}"}
                )
            case _:
                tell(event)

    return heard
