"""What is learnt, apart from how."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

Batch = TypeVar("Batch")


class Task(ABC, Generic[Batch]):
    """Data, model and loss of one job. The training loop moves its batches and states without looking inside."""

    monitor: ClassVar[str]  # the metric of the "valid" split that decides what is best; lower is better

    @abstractmethod
    def model(self) -> nn.Module:
        """A fresh model, its weights drawn from torch's global generator."""

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
        """How many scored items (tokens, say) the batch has: the loss is their mean."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, state: Any) -> tuple[Tensor, Any]:
        """(mean loss over the batch's items, the state after it for the next batch or None).

        `state` is what the batch before gave, already detached: truncated back-propagation through time.
        """

    @abstractmethod
    def evaluate(self, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        """Metrics on "valid" or "test"; names carry split and unit: "test/bits_per_char".

        `quick` allows a faster figure that is only compared with others of its kind: it steers the training.
        """
