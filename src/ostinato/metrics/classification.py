"""How good labels are, and how much a probability can be trusted.

Labels are int64 [N] in 0 .. classes - 1; several labels at once are 0/1 or bool [N, C], one column a label. Shares are
fractions, not per cent. torchmetrics counts; it is loaded by the first call.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor


class ClassScore(NamedTuple):
    """One class against all others. What has nothing to be a share of is 0."""

    precision: float
    recall: float
    f1: float
    support: int  # how many rows are of this class


class MultiLabelScores(NamedTuple):
    """Several labels a row."""

    micro_f1: float  # over all labels of all rows together
    macro_f1: float  # the mean over labels of which there are any, in prediction or truth
    subset_accuracy: float  # rows all of whose labels are right


@final
@dataclass(frozen=True)
class Calibration:
    """Rows put in bins by the probability of the label that was chosen: were as many right as it promised?"""

    confidence: Tensor  # [bins] float64, the mean probability in each bin; NaN where the bin is empty
    accuracy: Tensor  # [bins] float64, the share that was right; NaN where the bin is empty
    counts: Tensor  # [bins] int64

    @property
    def expected_error(self) -> float:
        """The expected calibration error (Guo et al. 2017): Σ n_b / N |accuracy_b - confidence_b|."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num()
        return float((gaps * self.counts).sum() / self.counts.sum())


def accuracy(predicted: Tensor, truth: Tensor) -> float:
    """The share of labels [N] that are right. Raises ValueError where shapes differ or there are none."""
    _check(predicted, truth, axes=1)
    return float((predicted == truth).double().mean())


def macro_f1(predicted: Tensor, truth: Tensor, classes: int) -> float:
    """The mean F1 over the classes that occur, in prediction or truth. Raises ValueError as `confusion_matrix`."""
    right, said, there = _counts(predicted, truth, classes)
    each = 2 * right / (said + there)  # in float64: torchmetrics' own F1 is in float32, and shows it
    return float(each[said + there > 0].mean())


def class_scores(predicted: Tensor, truth: Tensor, classes: int) -> list[ClassScore]:
    """One score a class, in order. Raises ValueError as `confusion_matrix`."""
    right, said, there = _counts(predicted, truth, classes)
    shares = [right / said.clamp(min=1), right / there.clamp(min=1), 2 * right / (said + there).clamp(min=1)]
    columns = [part.tolist() for part in shares]
    return [ClassScore(p, r, f, int(n)) for p, r, f, n in zip(*columns, there.tolist(), strict=True)]


def confusion_matrix(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """[classes, classes] int64: how many rows of true class i were given class j.

    Raises:
        ValueError: shapes differ, there are no rows, or a label lies outside 0 .. classes - 1.
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    _check(predicted, truth, axes=1, classes=classes)
    return multiclass_confusion_matrix(predicted, truth, classes).long()


def _counts(predicted: Tensor, truth: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class how often it was said rightly, how often it was said, and how often true, [classes] float64."""
    matrix = confusion_matrix(predicted, truth, classes).double()
    return matrix.diagonal(), matrix.sum(0), matrix.sum(1)


def calibration(probabilities: Tensor, truth: Tensor, bins: int = 15) -> Calibration:
    """Bins of equal width over 0..1; a probability on an edge belongs to the bin below it.

    Args:
        probabilities: [N, C], rows that sum to 1.
        truth: [N] int64.

    Raises:
        ValueError: shapes differ or there are no rows.
    """
    if probabilities.ndim != 2:
        raise ValueError(f"probabilities must be [N, C], and have shape {tuple(probabilities.shape)}")
    confidence, chosen = probabilities.double().max(-1)
    _check(chosen, truth, axes=1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    counts = torch.bincount(place, minlength=bins)
    sums = [torch.bincount(place, weights, bins) for weights in (confidence, (chosen == truth).double())]
    return Calibration(sums[0] / counts, sums[1] / counts, counts)


def multilabel_scores(predicted: Tensor, truth: Tensor) -> MultiLabelScores:
    """Scores of labels [N, C], 0/1 or bool.

    Raises:
        ValueError: shapes differ, there are no rows, or an entry is neither 0 nor 1.
    """
    from torchmetrics.functional.classification import multilabel_exact_match, multilabel_f1_score

    said, there = predicted.long(), truth.long()
    _check(said, there, axes=2, classes=2)
    if said.shape[1] == 1:  # torchmetrics wants two; a label that is nowhere changes no score
        said, there = (torch.cat([labels, torch.zeros_like(labels)], dim=1) for labels in (said, there))
    columns = (said + there).any(0)
    if not columns.any():
        return MultiLabelScores(0.0, 0.0, 1.0)
    classes = said.shape[1]
    micro = multilabel_f1_score(said, there, classes, average="micro")
    each = multilabel_f1_score(said, there, classes, average="none")
    exact = multilabel_exact_match(said, there, classes)
    return MultiLabelScores(float(micro), float(each[columns].double().mean()), float(exact))


def _check(predicted: Tensor, truth: Tensor, axes: int, classes: int | None = None) -> None:
    wanted = "[N]" if axes == 1 else "[N, C]"
    if predicted.shape != truth.shape or truth.ndim != axes:
        raise ValueError(
            f"predicted and true labels must be {wanted} of one shape, and have {tuple(predicted.shape)} and "
            f"{tuple(truth.shape)}"
        )
    if not truth.numel():
        raise ValueError("there are no labels to score; give at least one row")
    for name, labels in (("predicted", predicted), ("true", truth)):
        low, high = int(labels.min()), int(labels.max())
        if classes is not None and not 0 <= low <= high < classes:
            raise ValueError(f"{name} labels must lie in 0..{classes - 1}, and reach from {low} to {high}")
