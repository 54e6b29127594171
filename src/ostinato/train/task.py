"""What is learnt, apart from how."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

Batch = TypeVar("Batch")


class Task(ABC, Generic[Batch]):
    """Data, model and loss of one job. The training loop moves its batches and states without looking inside."""

    monitor: str  # the metric of the "valid" split that decides what is best
    higher_is_better: ClassVar[bool] = False  # of that metric: true for an accuracy, F1, BLEU

    @abstractmethod
    def model(self) -> nn.Module:
        """A fresh model, its weights drawn from torch's global generator."""

    def notes(self) -> list[str]:
        """What a reader of the figures should know of the model or the data."""
        return []

    def groups(self, model: nn.Module) -> list[list[nn.Parameter]]:
        """The model's weights in groups from the bottom to the top, each weight once.

        `train.optimiser.layer_decay` and `train.unfreeze_epochs` go by them.
        """
        return [list(model.parameters())]

    def fingerprint(self) -> str:
        """Names what is learnt from: a checkpoint goes on only where it is the same. "" leaves that unchecked."""
        return ""

    @abstractmethod
    def batches(self, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """The training batches of one epoch from number `start` on: this rank's share of each.

        The same arguments give the same batches, so that a run resumes in mid-epoch.
        """

    @abstractmethod
    def batch_count(self) -> int:
        """Training batches in an epoch."""

    @abstractmethod
    def size(self, batch: Batch) -> int:
        """How many scored items (tokens, say, or rows) the batch has: the loss is their mean."""

    def tokens(self, batch: Batch) -> int:
        """How many tokens the batch has: what speed is told in."""
        return self.size(batch)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        """(mean loss over the batch's items, the state after it for the next batch or None).

        Its value is what is told and compared; a penalty goes in by its gradient alone (`layers.penalties.silent`).

        `state` is what the batch before gave, already detached: truncated back-propagation through time.
        """

    def worth(self, metrics: dict[str, float]) -> float:
        """What an evaluation of "valid" is judged by: the monitored metric, or what goes on where that says nothing."""
        return metrics[f"valid/{self.monitor}"]

    @abstractmethod
    def evaluate(self, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        """Metrics on "valid" or "test"; names carry split and unit: "test/bits_per_char".

        `quick` allows a faster figure that is only compared with others of its kind: it steers the training.
        """
