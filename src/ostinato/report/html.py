"""The report of one training run: one HTML file that needs nothing else, and its figures beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from torch import nn

from ..storage import atomic_write
from .canvas import adapted
from .diagram import ascii_chain, drawing, mermaid_bidirectional, mermaid_chain, mermaid_model, mermaid_unrolled, parts
from .figures import baseline_bars, gradient_norms, learning_curves, save
from .folder import Events, read_events, read_results
from .judged import calibration, confusion, lengths, padding, per_tag
from .page import Column, Section, folded, number, page, picture, table, titled
from .raster import png
from .reading import attention, mistakes, translations
from .series import is_number, lower_is_better
from .shapes import parameter_table, total_parameters
from .wording import compared, course, digits, entries, filename, measured, notes, verbatim, when, words

# For runs that do not say themselves what they are judged by.
_FIRST = (
    *("bleu", "span_f1", "mean", "perplexity", "bits_per_char", "nats_per_char"),
    *("micro_f1", "accuracy", "token_accuracy", "macro_f1", "chrf", "mae", "rmse", "nats_per_token"),
)
_SPEEDS = (
    "tokens/s (fitting): training tokens per second while a model was fitted. "
    "A model of counts reads each of them once, a net once an epoch."
)


def write_report(run: Path, model: nn.Module) -> Path:
    """Reads RUN/events.jsonl and RUN/results.json and writes RUN/report.html and RUN/figures/*.png, *.svg.

    What is missing in either file is left out of the page. Each file is written whole or not at all.

    Args:
        run: the run's folder.
        model: the trained model, for its drawing and its parameters; it is not run on data.

    Returns:
        The path of report.html.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: results.json is not one JSON object.
    """
    run = Path(run)
    if not run.is_dir():
        raise FileNotFoundError(f"a run's folder was expected at {run}, and there is none; train first")
    events, results = read_events(run / "events.jsonl"), read_results(run / "results.json")
    rows = [row for row in entries(results, "table") if isinstance(row, Mapping)]
    metrics = results.get("metrics") if isinstance(results.get("metrics"), Mapping) else {}
    assert isinstance(metrics, Mapping)
    judged = _judged(results, metrics, rows)
    figures = run / "figures"
    sections = [
        Section("result", "Result", _headline(results, metrics, judged, rows, model) + notes(results)),
        Section("comparison", "Models and baselines", _comparison(rows, judged, figures)),
        Section("lengths", "Quality against length", lengths(results, figures)),
        Section("confusion", "Confusion matrix", confusion(results, figures)),
        Section("labels", "Label by label", per_tag(results)),
        Section("mistakes", "Errors worth reading", mistakes(results)),
        Section("translations", "Translations", translations(results)),
        Section("attention", "Attention", attention(results, figures)),
        Section("calibration", "Calibration", calibration(results, figures)),
        Section("curves", "Learning curves", _curves(events, figures)),
        Section("gradients", "Gradient norms", _gradients(events, figures)),
        Section("samples", "Samples", _samples(entries(results, "samples"))),
        Section("model", "The model", _model(model, figures)),
        Section("parameters", "Parameters by shape", _parameters(model)),
        Section("kernel", "Kernel path", verbatim(results, "kernel")),
        Section("recipe", "Recipe", _recipe(results)),
        Section("run", "The run", course(events) + padding(results)),
    ]
    name = str(results.get("name") or run.resolve().name)
    start = next((row for row in events.rows if row.get("event") == "start"), {})
    intro = f'<p class="dim">Report of a training run, {escape(when(start))}</p>'
    footer = "Written by Ostinato. The figures lie in figures/ as PNG and SVG."
    return atomic_write(run / "report.html", page(name, intro, sections, footer))


def _judged(results: Mapping[str, Any], metrics: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics the run is judged by: of the test split if there is one, else one of the validation split."""
    told = [*entries(results, "judged")] or [*entries(results, "shown")[:1]]
    if told := [str(said) for said in told if is_number(metrics.get(said))]:
        return told
    every = [key for key, value in metrics.items() if is_number(value)]
    every += [key for row in rows for key, value in row.items() if is_number(value)]
    for split in ("test/", "valid/"):
        known = [split + name for name in _FIRST if split + name in every]
        if found := known or [key for key in every if key.startswith(split)]:
            return found[:1]
    return [""]


def _headline(
    results: Mapping[str, Any],
    metrics: Mapping[str, Any],
    judged: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    model: nn.Module,
) -> str:
    numbers = [part for metric in judged for part in _against(metrics, metric, rows)]
    split, _, name = judged[0].partition("/")
    more = [*entries(results, "shown"), *(key for key in metrics if key.startswith(split + "/")), f"valid/{name}"]
    shown = {metrics.get(metric) for metric in judged}  # the same number twice (nats a token and a char) says nothing
    for key in more:
        value = metrics.get(key)
        silent = key.endswith("/tokens") or (key.endswith("/unknown_share") and value == 0)
        if is_number(value) and value not in shown and not silent and len(shown) < 4 + len(judged):
            shown.add(value)
            numbers.append(number(measured(value, key), words(key)))
    numbers.append(number(f"{total_parameters(model):,}", "parameters"))
    return f'<div class="headline">{"".join(numbers)}</div>'


def _against(metrics: Mapping[str, Any], metric: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the model reaches in a metric, and what its best baseline does."""
    numbers = []
    own = metrics.get(metric)
    if own is None:
        own = next((row[metric] for row in rows if row.get("kind") != "baseline" and metric in row), None)
    if is_number(own):
        numbers.append(number(measured(own, metric), words(metric), big=True))
    rivals = [row for row in rows if row.get("kind") == "baseline" and is_number(row.get(metric))]
    if rivals:
        best = (min if lower_is_better(metric) else max)(rivals, key=lambda row: row[metric])
        said = f"best baseline: {best.get('model', '?')}"
        if is_number(own):
            said += "; " + compared(own, best[metric], metric, lower_is_better(metric))
        numbers.append(number(measured(best[metric], metric), said))
    return numbers


def _comparison(rows: Sequence[Mapping[str, Any]], judged: Sequence[str], figures: Path) -> str:
    if not rows:
        return ""
    found = dict.fromkeys(key for row in rows for key, v in row.items() if "/" in key and is_number(v))
    # Of equal columns (bits per char and per byte of plain English) the first one says it all.
    keys = list({tuple(row.get(key) for row in rows): key for key in reversed(found)}.values())[::-1]
    best = {
        key: (min if lower_is_better(key) else max)(row[key] for row in rows if is_number(row.get(key))) for key in keys
    }
    columns = [Column("model", "name"), Column("kind", "kind"), Column("parameters", "n")]
    columns += [*(Column(words(key), "n") for key in keys), Column("tokens/s (fitting)", "n")]
    body = []
    for row in rows:
        cells = [
            titled(str(row.get("model", "?")), str(row.get("note") or "")),
            escape(str(row.get("kind", ""))),
            digits(row.get("parameters")),
        ]
        for key in keys:
            value = measured(row.get(key), key)
            cells.append(f"<strong>{value}</strong>" if row.get(key) == best[key] else value)
        cells.append(digits(row.get("tokens_per_s")))
        body.append(("" if row.get("kind") == "baseline" else "own", cells))
    drawn = []
    shown = [key for key in dict.fromkeys([*judged, "test/bits_per_char", "test/nats_per_char"]) if key in keys]
    shown = shown[: max(2, len(judged))]
    for key in shown or keys[:1]:
        name = "baselines_" + filename(key)
        svg = adapted(save(baseline_bars([dict(row) for row in rows], key), figures, name), name)
        drawn.append(picture(svg, f"Bars: {words(key)} of the models and baselines in the table"))
    below = f'<p class="dim under">{_SPEEDS}</p>' if any(is_number(row.get("tokens_per_s")) for row in rows) else ""
    return table(columns, body, "Models and baselines") + below + _side_by_side(drawn)


def _side_by_side(drawn: Sequence[str]) -> str:
    return f'<h3>As bars</h3><div class="charts">{"".join(drawn)}</div>' if drawn else ""


def _curves(events: Events, figures: Path) -> str:
    if not any(row.get("event") in ("step", "evaluate") for row in events.rows):
        return ""
    svg = adapted(save(learning_curves(events.rows), figures, "learning_curves"), "curves")
    caption = "Training loss, smoothed over a fiftieth of the run, and validation after each evaluation."
    return picture(svg, "Line chart: training and validation loss over optimiser steps", caption)


def _gradients(events: Events, figures: Path) -> str:
    if not any("grad_norm" in row for row in events.rows):
        return ""
    svg = adapted(save(gradient_norms(events.rows), figures, "gradient_norms"), "norms")
    caption = "The norm of all gradients together before clipping, on a logarithmic axis; below it the learning rate."
    return picture(svg, "Line chart: gradient norm and learning rate over optimiser steps", caption)


def _samples(samples: Sequence[Any]) -> str:
    out = []
    for sample in samples:
        if isinstance(sample, Mapping):
            prompt, text = str(sample.get("prompt") or ""), str(sample.get("text") or "")
            mark = f"<mark>{escape(prompt)}</mark>" if (prompt := prompt.lstrip("\n")) else ""
            settings = escape(str(sample.get("settings") or ""))
            out.append(
                f'<div class="sample"><p dir="auto">{mark}{escape(text)}</p><div class="dim">{settings}</div></div>'
            )
    note = '<p class="dim">What is marked is the prompt; the model wrote the rest.</p>'
    return note * any("<mark>" in sample for sample in out) + "".join(out)


def _model(model: nn.Module, figures: Path) -> str:
    svg = drawing(model)
    atomic_write(figures / "model.svg", svg)
    atomic_write(figures / "model.png", png(svg))
    body = picture(svg, "The model unrolled over three time steps", kind="plan")
    body += folded("The model as a Mermaid flowchart", [("", mermaid_model(model))])
    if any(part.direction != "none" for part in parts(model)):
        body += folded("The model unrolled, in Mermaid", [("", mermaid_unrolled(model))])
    lectures = [
        ("The simple chain, in Mermaid", mermaid_chain()),
        ("Both directions of time, in Mermaid", mermaid_bidirectional()),
        ("The chain in characters", ascii_chain()),
    ]
    return body + folded("The lectures' diagrams, for reference", lectures)


def _recipe(results: Mapping[str, Any]) -> str:
    text = str(results.get("recipe") or "").rstrip("\n")
    return folded("Every setting of this run, as TOML", [("", text)]) if text else ""


def _parameters(model: nn.Module) -> str:
    rows = parameter_table(model)
    body = [
        (
            "",
            [
                f"<code>{escape(row.name)}</code>",
                " × ".join(map(str, row.shape)) or "1",
                f"{row.numbers:,}",
                escape(row.role),
            ],
        )
        for row in rows
    ]
    total = f"{total_parameters(model):,}"
    body.append(("sum", ["total", "", total, "shared weights counted once"]))
    columns = [Column("name"), Column("shape", "n"), Column("numbers", "n"), Column("role", "note")]
    note = f"No shape contains the length T: the same {total} numbers read a sequence of any length."
    return f"<p>{note}</p>" + table(columns, body, "Parameters by shape")
