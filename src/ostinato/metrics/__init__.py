"""Metrics: what a prediction is worth, beside what was right."""

from .classification import (
    Calibration,
    ClassScore,
    MultiLabelScores,
    accuracy,
    calibration,
    class_scores,
    confusion_matrix,
    macro_f1,
    multilabel_scores,
)
from .spans import Score, SpanScores, span_scores, token_accuracy

__all__ = [
    "Calibration",
    "ClassScore",
    "MultiLabelScores",
    "Score",
    "SpanScores",
    "accuracy",
    "calibration",
    "class_scores",
    "confusion_matrix",
    "macro_f1",
    "multilabel_scores",
    "span_scores",
    "token_accuracy",
]
