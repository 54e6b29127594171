"""Metrics of labels. Oracles: scikit-learn, and torchmetrics' calibration error."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from ostinato import metrics

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)
LABELS = st.lists(st.tuples(*[st.tuples(st.booleans(), st.booleans())] * 3), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_one_label_a_row_is_scored_as_scikit_learn_does(rows):
    said, truth = torch.tensor(rows).unbind(1)
    assert metrics.accuracy(said, truth) == pytest.approx(sklearn.accuracy_score(truth, said))
    want = sklearn.f1_score(truth, said, average="macro")
    assert metrics.macro_f1(said, truth, 5) == pytest.approx(want, abs=1e-6)
    matrix = sklearn.confusion_matrix(truth, said, labels=range(5))
    assert metrics.confusion_matrix(said, truth, 5).tolist() == matrix.tolist()
    parts = sklearn.precision_recall_fscore_support(truth, said, labels=range(5), zero_division=0)
    np.testing.assert_allclose(metrics.class_scores(said, truth, 5), np.stack(parts, axis=1), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_several_labels_a_row_are_scored_as_scikit_learn_does(rows):
    said, truth = torch.tensor(rows).unbind(-1)  # [N, 3] each
    got = metrics.multilabel_scores(said, truth)
    used = (said | truth).any(0)
    assert got.subset_accuracy == pytest.approx(sklearn.accuracy_score(truth, said))
    if used.any():
        # All columns, for scikit-learn takes a single one for two classes.
        micro = sklearn.f1_score(truth, said, average="micro", zero_division=0)
        each = sklearn.f1_score(truth, said, average=None, zero_division=0)
        assert got.micro_f1 == pytest.approx(micro, abs=1e-6)
        assert got.macro_f1 == pytest.approx(each[used.numpy()].mean(), abs=1e-6)


def test_one_label_alone_is_scored_as_two_classes_by_scikit_learn():
    said, truth = torch.tensor([[1], [0], [1], [1], [0]]), torch.tensor([[1], [1], [0], [1], [0]])
    got = metrics.multilabel_scores(said, truth)
    want = sklearn.f1_score(truth[:, 0], said[:, 0], average="binary")
    assert got == (pytest.approx(want, abs=1e-6), pytest.approx(want, abs=1e-6), pytest.approx(0.6))


def test_the_calibration_curve_is_scikit_learns():
    """Of two classes where the second is always chosen: its probability and how often it was right."""
    draw = np.random.default_rng(0)
    p = draw.uniform(0.5, 1, 500)
    truth = (draw.uniform(size=500) < p**2).astype(int)
    got = metrics.calibration(torch.tensor(np.stack([1 - p, p], axis=1)), torch.tensor(truth), bins=10)
    accuracy, confidence = calibration_curve(truth, p, n_bins=10)
    full = got.counts > 0
    assert full.tolist() == [False] * 5 + [True] * 5
    np.testing.assert_allclose(got.accuracy[full], accuracy, rtol=1e-12)
    np.testing.assert_allclose(got.confidence[full], confidence, rtol=1e-12)
    assert got.accuracy[~full].isnan().all()
    assert got.counts.sum() == 500


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_is_torchmetrics(bins):
    torch.manual_seed(0)
    probabilities = (2 * torch.randn(300, 4)).softmax(-1)
    truth = torch.randint(4, (300,))
    want = multiclass_calibration_error(probabilities, truth, 4, n_bins=bins)
    assert metrics.calibration(probabilities, truth, bins).expected_error == pytest.approx(float(want), abs=1e-6)


def test_honest_probabilities_have_no_calibration_error():
    probabilities = torch.tensor([[0.75, 0.25]]).repeat(8, 1)
    truth = torch.tensor([0, 0, 0, 1] * 2)
    assert metrics.calibration(probabilities, truth).expected_error == 0
    assert metrics.calibration(probabilities, 1 - truth).expected_error == pytest.approx(0.5)


def test_what_cannot_be_scored_is_told():
    one = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"\[N\] of one shape, and have \(2,\) and \(3,\)"):
        metrics.accuracy(one, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="no labels to score"):
        metrics.accuracy(one[:0], one[:0])
    with pytest.raises(ValueError, match=r"predicted labels must lie in 0\.\.1, and reach from 0 to 2"):
        metrics.macro_f1(torch.tensor([0, 2]), one, 2)
    with pytest.raises(ValueError, match=r"true labels must lie in 0\.\.1, and reach from 0 to 3"):
        metrics.multilabel_scores(torch.eye(2), torch.tensor([[0, 1], [3, 0]]))
    with pytest.raises(ValueError, match=r"probabilities must be \[N, C\]"):
        metrics.calibration(torch.rand(3), one)
