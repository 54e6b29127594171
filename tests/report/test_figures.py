"""Figures show the numbers that were recorded, and are written as pictures that open."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ostinato.report import activation_gradients, baseline_bars, gradient_norms, learning_curves, save
from ostinato.report.canvas import adapted
from ostinato.report.page import page
from ostinato.report.quality import calibration_curve, quality_by_length
from ostinato.report.series import smooth, thinned


def step(n: int, **values: float) -> dict[str, Any]:
    return {"event": "step", "step": n, "loss": 5.0, "grad_norm": 1.0, "lr": 0.1, **values}


def line(figure: Figure, label: str, axes: int = 0) -> tuple[list[float], list[float]]:
    found = next(one for one in figure.axes[axes].lines if str(one.get_label()).startswith(label))
    return [*np.asarray(found.get_xdata())], [*np.asarray(found.get_ydata())]


def test_validation_perplexity_is_drawn_as_its_logarithm() -> None:
    score = {"event": "evaluate", "step": 2, "split": "valid", "metrics": {"valid/perplexity": 100.0}}
    figure = learning_curves([step(1), step(2), score])
    assert line(figure, "validation") == ([2], [pytest.approx(math.log(100.0))])


def test_metrics_that_are_no_nats_get_their_own_panel() -> None:
    score = {"event": "evaluate", "step": 2, "split": "valid", "metrics": {"valid/mae": 0.5}}
    figure = learning_curves([step(1), step(2), score])
    assert figure.axes[-1].get_legend_handles_labels()[1] == ["valid mae, best 0.5000 at step 2"]


def evaluated(n: int, **metrics: float) -> dict[str, Any]:
    return {"event": "evaluate", "step": n, "split": "valid", "metrics": {f"valid/{k}": v for k, v in metrics.items()}}


def test_a_run_judged_by_a_share_has_no_perplexity_and_names_its_best() -> None:
    scores = [evaluated(1, span_precision=0.9, span_recall=0.9, span_f1=0.5, token_accuracy=0.9),
              evaluated(2, span_precision=0.9, span_recall=0.9, span_f1=0.25, token_accuracy=0.95)]  # fmt: skip
    figure = learning_curves([step(1), step(2), *scores])
    top, low = figure.axes
    assert top.get_ylabel() == "training loss"
    assert low.get_legend_handles_labels()[1][:2] == [
        "valid span F1, best 50.00% at step 1",
        "valid token accuracy, best 95.00% at step 2",
    ]
    FigureCanvasAgg(figure).draw()
    assert all(tick.get_text().endswith("%") for tick in low.get_yticklabels())


def test_beside_perplexity_only_what_is_no_loss_is_drawn() -> None:
    score = evaluated(2, perplexity=9.0, bits_per_token=3.0, bleu=30.0)
    figure = learning_curves([step(1), step(2), score])
    assert figure.axes[0].get_ylabel() == "loss [nats per token]"
    assert figure.axes[-1].get_legend_handles_labels()[1] == ["valid BLEU, best 30.0 at step 2"]


def test_calibration_leaves_out_empty_bins_and_counts_all() -> None:
    found = {"confidence": [None, 0.4, 0.9], "accuracy": [None, 0.5, 0.8], "counts": [0, 3, 7]}
    figure = calibration_curve(found)
    assert line(figure, "this model") == ([0.4, 0.9], [0.5, 0.8])
    assert [bar.get_height() for bar in figure.axes[1].patches] == [0, 3, 7]


def test_quality_by_length_is_one_line_for_each_model() -> None:
    rows = [
        {"from": 1, "to": 1, "count": 1200, "values": {"this model": 0.9, "other": 0.5}},
        {"from": 2, "to": 5, "count": 3, "values": {"this model": 0.8, "other": None}},
    ]
    figure = quality_by_length({"unit": "tokens", "metric": "accuracy", "rows": rows})
    assert line(figure, "this model") == ([0, 1], [0.9, 0.8])
    assert line(figure, "other") == ([0], [0.5])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1\n1,200", "2–5\n3"]


def test_a_step_repeated_after_a_resume_counts_once_and_last() -> None:
    figure = learning_curves([step(1, loss=4.0), step(2, loss=9.0), {"event": "resume", "step": 1}, step(2, loss=3.0)])
    x, y = line(figure, "training")
    assert (x, y) == ([1, 2], [4.0, 3.0])


def test_a_norm_that_is_not_finite_is_marked_and_zero_has_no_logarithm() -> None:
    norms = (1.0, math.nan, 0.0, math.inf, 4.0)
    figure = gradient_norms([step(i, grad_norm=norm) for i, norm in enumerate(norms)])
    assert line(figure, "gradient norm") == ([0, 4], [1.0, 4.0])
    assert line(figure, "2 not finite")[0] == [1, 3]


@pytest.mark.parametrize("draw", [learning_curves, gradient_norms])
def test_a_legend_hides_no_curve(draw: Callable[..., Figure]) -> None:
    figure = draw([step(n, loss=float(n), grad_norm=float(n)) for n in range(1, 40)])
    FigureCanvasAgg(figure).draw()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert legend.get_window_extent().y0 >= figure.axes[0].get_window_extent().y1


def test_charts_fit_a_phone_without_scrolling_and_can_still_be_read(tmp_path: Path) -> None:
    for rule in re.findall(r"[^{}\n]*\.charts?\b[^{}]*\{[^}]*\}", page("", "", [], "")):
        assert "min-width" not in rule
    figures = (learning_curves([step(1)]), gradient_norms([step(1)]), baseline_bars([{"test/mae": 1.0}], "test/mae"))
    for figure in figures:
        svg = save(figure, tmp_path, "chart")
        width = float(ElementTree.fromstring(svg).attrib["viewBox"].split()[2])
        letters = [float(size) for size in re.findall(r"font(?:-size)?: (?:\d+ )?([\d.]+)px", svg)]
        assert letters and min(letters) * 320 / width > 7  # px, of a chart as wide as a phone's column


def test_steps_are_whole_numbers_on_their_axis() -> None:
    for figure in (learning_curves([step(1), step(2)]), gradient_norms([step(1), step(2)])):
        FigureCanvasAgg(figure).draw()
        low = figure.axes[0] if len(figure.axes) == 1 else figure.axes[-1]
        assert all(float(tick).is_integer() for tick in low.get_xticks())


def test_norms_within_one_power_of_ten_still_have_an_axis_to_read() -> None:
    axes = gradient_norms([step(1, grad_norm=0.15), step(2, grad_norm=0.8)]).axes[0]
    low, high = axes.get_ylim()
    assert [tick for tick in axes.get_yticks() if low <= tick <= high] == pytest.approx([0.2, 0.5])
    axes = gradient_norms([step(1, grad_norm=0.55), step(2, grad_norm=1.05)]).axes[0]
    low, high = axes.get_ylim()
    assert [tick for tick in axes.get_yticks() if low <= tick <= high] == pytest.approx([0.6, 0.7, 0.8, 1.0])


@pytest.mark.parametrize(("metric", "first"), [("test/perplexity", "small"), ("test/accuracy", "large")])
def test_bars_stand_best_first_and_leave_out_rows_without_the_metric(metric: str, first: str) -> None:
    table = [
        {"model": "large", "kind": "baseline", metric: 9.0},
        {"model": "small", "kind": "recurrent", metric: 2.0},
        {"model": "none", "kind": "baseline", metric: None},
    ]
    axes = baseline_bars(table, metric).axes[0]
    assert next(label.get_text() for label in axes.get_yticklabels()) == first
    assert len(axes.patches) == 2
    assert axes.yaxis_inverted()  # the first is on top


def test_names_of_bars_keep_what_tells_them_apart() -> None:
    names = [f"bidirectional lstm 256, 2 layers, {kind}" for kind in ("with attention", "without attention")]
    axes = baseline_bars([{"model": name, "test/bleu": 1.0} for name in names], "test/bleu").axes[0]
    assert [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()] == names


def test_activation_derivatives_have_their_known_largest_values() -> None:
    """0.25 and 1 by hand; GELU's is at x = sqrt 2: Φ(√2) + √2 φ(√2)."""
    figure = activation_gradients()
    most = {
        str(axes.get_title(loc="left")).partition(":")[0]: max(line(figure, "derivative", i)[1])
        for i, axes in enumerate(figure.axes)
    }
    gelu = 0.5 * (1 + math.erf(1.0)) + math.sqrt(2) * math.exp(-1.0) / math.sqrt(2 * math.pi)
    want = {"sigmoid": 0.25, "tanh": 1.0, "relu": 1.0, "leaky_relu": 1.0, "gelu": gelu}
    for name, value in want.items():
        assert most[name] == pytest.approx(value, abs=1e-5)
    assert set(most) == {*want, "silu"}


def test_files_are_pictures_and_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        text = save(learning_curves([step(1), step(2)]), tmp_path / folder, "curve")
        assert (tmp_path / folder / "curve.svg").read_text() == text
    ElementTree.fromstring(text)
    assert (tmp_path / "a/curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    for name in ("curve.png", "curve.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["curve.png", "curve.svg"]


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    save(
        baseline_bars([{"model": "模型 $x$ \n<b>", "kind": "baseline", "test/mae": 1.0}], "test/mae"), tmp_path, "bars"
    )


@pytest.mark.parametrize("events", [[], [{"event": "step"}], [step(1, loss=math.nan, grad_norm=math.nan)]])
def test_a_run_without_numbers_is_a_figure_that_says_so(events: list[dict[str, Any]], tmp_path: Path) -> None:
    assert "nothing recorded" in save(learning_curves(events), tmp_path, "curves")
    assert "nothing recorded" in save(gradient_norms(events), tmp_path, "norms")


def test_on_a_page_a_figure_has_the_pages_colour_and_ids_of_its_own(tmp_path: Path) -> None:
    svg = save(learning_curves([step(1), step(2)]), tmp_path, "curve")
    one = ElementTree.fromstring(adapted(svg, "one"))
    ids = {element.attrib["id"] for element in one.iter() if "id" in element.attrib}
    assert ids and all(name.startswith("one-") for name in ids)
    text = adapted(svg, "one")
    assert "currentColor" in text and "#ffffff" not in text
    assert "http" not in text.replace("http://www.w3.org/", "")


def test_smoothing_keeps_a_straight_line_and_passes_over_holes() -> None:
    straight = np.linspace(9.0, 4.0, 500)
    assert smooth(straight) == pytest.approx(straight)
    holed = np.full(500, 2.0)
    holed[100] = math.nan
    assert smooth(holed) == pytest.approx(np.full(500, 2.0))


def test_thinning_keeps_the_mean_of_a_long_run() -> None:
    x, y = thinned(np.arange(6000.0), np.sin(np.arange(6000.0)) + 3)
    assert len(x) <= 1200
    assert y.mean() == pytest.approx((np.sin(np.arange(6000.0)) + 3).mean())
