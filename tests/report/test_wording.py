"""How the report says things; the sentences are worked out by hand."""

import pytest

from ostinato.report.folder import Events
from ostinato.report.series import lower_is_better
from ostinato.report.wording import compared, course, measured, words


@pytest.mark.parametrize(
    ("own", "best", "metric", "said"),
    [
        (80.0, 100.0, "test/perplexity", "the model is 20.0% better"),
        (150.0, 100.0, "test/perplexity", "the model is 50.0% worse"),
        (1130.0, 100.0, "test/perplexity", "the model is worse, with 11.3 times its perplexity"),
        (40.0, 100.0, "test/perplexity", "the model is better: the baseline has 2.5 times its perplexity"),
        (0.9, 0.3, "test/accuracy", "the model is better, with 3.0 times its accuracy"),
        (0.1, 0.3, "test/accuracy", "the model is worse: the baseline has 3.0 times its accuracy"),
        (2.0, 2.0, "test/mae", "the model equals it"),
        (0.8912, 0.851, "test/accuracy", "the model is 4.02 points better"),
        (0.5, 0.51, "test/slot_f1", "the model is 1.00 points worse"),
        (33.2, 28.1, "test/bleu", "the model is 5.1 points better"),
        (0.5, -0.1, "test/r2", "the model is better"),
        (0.5, 0.0, "test/mae", "the model is worse"),
    ],
)
def test_the_distance_to_the_best_baseline_is_said_so_that_one_can_picture_it(
    own: float, best: float, metric: str, said: str
) -> None:
    assert compared(own, best, metric, lower_is_better(metric)) == said


@pytest.mark.parametrize(
    ("metric", "value", "said"),
    [
        ("test/accuracy", 0.8912, "89.12%"),
        ("test/intent_accuracy", 1.0, "100.00%"),
        ("test/slot_f1", 0.0, "0.00%"),
        ("valid/mean", 0.5, "50.00%"),
        ("test/accuracy", 89.12, "89.12"),
        ("test/bleu", 33.2, "33.2"),
        ("test/chrf", 58.44, "58.4"),
        ("test/perplexity", 80.0, "80.00"),
        ("test/mean_absolute_error", 0.5, "0.5000"),
        ("test/accuracy", None, "–"),
    ],
)
def test_a_metric_is_written_as_its_field_writes_it(metric: str, value: float, said: str) -> None:
    assert measured(value, metric) == said


@pytest.mark.parametrize(
    "name", ["accuracy", "macro_f1", "span_f1", "slot_f1", "intent_accuracy", "mean", "bleu", "chrf"]
)
def test_the_metrics_of_text_tasks_are_better_when_higher(name: str) -> None:
    assert not lower_is_better(f"test/{name}")


@pytest.mark.parametrize("name", ["perplexity", "mean_absolute_error", "expected_error", "nats_per_token"])
def test_losses_are_better_when_lower(name: str) -> None:
    assert lower_is_better(f"test/{name}")


def test_names_are_spelt_as_the_field_spells_them() -> None:
    assert words("test/span_f1") == "test span F1" and words("valid/bleu") == "valid BLEU"


@pytest.mark.parametrize(("count", "said"), [(1, "900</dd>"), (2, "900 (median of 2 reports)</dd>")])
def test_a_median_is_of_two_or_more(count: int, said: str) -> None:
    assert said in course(Events([{"event": "step", "tokens_per_s": 900.0}] * count, 0))
