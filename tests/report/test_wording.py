"""How the report says things; the sentences are worked out by hand."""

import pytest

from ostinato.report.folder import Events
from ostinato.report.series import lower_is_better
from ostinato.report.wording import compared, course


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
        (0.5, -0.1, "test/r2", "the model is better"),
        (0.5, 0.0, "test/mae", "the model is worse"),
    ],
)
def test_the_distance_to_the_best_baseline_is_said_so_that_one_can_picture_it(
    own: float, best: float, metric: str, said: str
) -> None:
    assert compared(own, best, metric, lower_is_better(metric)) == said


@pytest.mark.parametrize(("count", "said"), [(1, "900</dd>"), (2, "900 (median of 2 reports)</dd>")])
def test_a_median_is_of_two_or_more(count: int, said: str) -> None:
    assert said in course(Events([{"event": "step", "tokens_per_s": 900.0}] * count, 0))
