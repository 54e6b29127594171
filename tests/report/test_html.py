"""The report is one page that needs nothing from outside, breaks on nothing, and shows what the run left."""

import json
import math
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from torch import nn

from ostinato.cells import LSTM
from ostinato.layers import Dropout, Stack
from ostinato.report import (
    ascii_chain,
    mermaid_bidirectional,
    mermaid_chain,
    mermaid_model,
    mermaid_unrolled,
    write_report,
)
from ostinato.report.folder import read_events

_VOID = {"meta", "br", "link", "img", "hr", "input"}
_HOSTILE = "</p><script>alert('x')</script>&amp; \"quoted\" 春眠"


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.body = Stack(Dropout(0.1), LSTM(8, 8), LSTM(8, 8))
        self.head = nn.Linear(8, 50)
        self.head.weight = self.embedding.weight


class Page(HTMLParser):
    """Tags, attributes and visible text; fails where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def row(model: str, kind: str, perplexity: float) -> dict[str, Any]:
    return {"model": model, "kind": kind, "parameters": 1234, "test/perplexity": perplexity,
            "test/nats_per_char": math.log(perplexity) / 5, "test/bits_per_char": math.log2(perplexity) / 5,
            "tokens_per_s": 2000.0 if kind == "recurrent" else None, "note": _HOSTILE}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small run whose last line was torn by a kill."""
    events: list[dict[str, Any]] = [
        {"event": "start", "time": "2026-03-01T12:30:00", "parameters": 9, "device": "cpu", "dtype": "float32",
         "versions": {"torch": "2.10"}}
    ]  # fmt: skip
    for n in range(1, 31):
        events.append({"event": "step", "step": n, "epoch": n / 10, "loss": 5 - n / 20, "grad_norm": 1 + 1 / n,
                       "lr": 1e-3, "tokens_per_s": 900.0, "tokens": 100 * n, "seconds": 6.0 * n})  # fmt: skip
        if n % 10 == 0:
            events.append(
                {"event": "evaluate", "step": n, "split": "valid", "metrics": {"valid/perplexity": 200.0 - n}}
            )
    text = "\n".join(map(json.dumps, events)) + '\n{"event": "step", "st'
    (tmp_path / "events.jsonl").write_text(text, encoding="utf-8")
    results = {
        "name": "small <run>",
        "metrics": {"test/perplexity": 80.0, "test/bits_per_char": 1.25, "valid/perplexity": 90.5},
        "table": [
            row("lstm 2x8", "recurrent", 80.0),
            row("5-gram", "baseline", 100.0),
            row("1-gram", "baseline", 700.0),
        ],
        "samples": [{"prompt": "the", "text": _HOSTILE, "settings": "temperature 0.8"}],
        "kernel": "chosen: aten\n  triton: no <GPU>",
        "recipe": '[model]\ncell = "lstm"',
        "notes": ["a <note>"],
    }
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return tmp_path


def read(run: Path, model: nn.Module | None = None) -> tuple[str, Page]:
    path = write_report(run, model or Language())
    assert path == run / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_takes_nothing_from_outside(run: Path) -> None:
    text, page = read(run)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), "no handlers"
            if name in ("src", "href", "xlink:href"):
                assert value is not None and value.startswith("#")
            elif not name.startswith("xmlns"):
                assert "http" not in (value or "") or name == "http-equiv"
    assert "@import" not in text and "url(http" not in text


def test_every_link_inside_the_page_leads_to_one_place(run: Path) -> None:
    _, page = read(run)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = {value[1:] for _, a in page.tags for name, value in a.items() if name.endswith("href") and value}
    assert targets and targets <= set(ids)


def test_text_of_the_run_is_shown_as_text(run: Path) -> None:
    text, page = read(run)
    assert "<script" not in text and "<note>" not in text
    assert page.text.count("</p><script>alert('x')</script>&amp; \"quoted\" 春眠") == 4  # one sample, three notes
    assert "small <run>" in page.text and "triton: no <GPU>" in page.text and "a <note>" in page.text


def test_the_headline_stands_beside_the_best_baseline(run: Path) -> None:
    _, page = read(run)
    assert "80.00test perplexity" in page.text
    assert "100.0best baseline: 5-gram; the model is 20.0% better" in page.text


def test_speeds_are_told_as_those_of_fitting(run: Path) -> None:
    _, page = read(run)
    assert "tokens/s (fitting)" in page.words
    assert "A model of counts reads each of them once" in page.text


def test_a_prompt_is_marked_as_it_is_and_unseen_words_only_where_there_are_any(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    results["samples"] = [{"prompt": "\nold ho", "text": "use\n", "settings": ""}, {"prompt": "", "text": "x"}]
    results["metrics"] |= {"test/unknown_share": 0.0}
    (run / "results.json").write_text(json.dumps(results))
    text, page = read(run)
    assert "<mark>old ho</mark>use" in text and "unknown share" not in page.text
    results["samples"], results["metrics"]["test/unknown_share"] = [{"prompt": "", "text": "x"}], 0.0125
    (run / "results.json").write_text(json.dumps(results))
    text, page = read(run)
    assert "the prompt" not in page.text and "0.01250test unknown share" in page.text


def test_all_sections_are_there(run: Path) -> None:
    _, page = read(run)
    sections = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    wanted = "result comparison curves gradients samples model parameters kernel recipe run"
    assert sections == wanted.split()
    assert 'cell = "lstm"' in page.text and "flowchart BT" in page.text and "h0 --> h1 --> h2 --> h3" in page.text
    assert "3 min 0 s" in page.text and "900 (median of 30 reports)" in page.text and "torch 2.10" in page.text


def test_the_models_diagrams_are_there_to_copy(run: Path) -> None:
    text, page = read(run)
    for diagram in (mermaid_model(Language()), mermaid_unrolled(Language()), mermaid_chain(), mermaid_bidirectional()):
        assert " ".join(diagram.split()) in page.text
    assert escape(ascii_chain()) in text
    assert sum(tag == "details" for tag, _ in page.tags) == 4  # the model, unrolled, the lectures', the recipe


def test_the_headline_says_nothing_twice_and_no_column_is_another(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    results["metrics"] |= {"test/bits_per_byte": 1.25, "test/tokens": 77777}
    for row in results["table"]:
        row["test/bits_per_byte"] = row["test/bits_per_char"]
    (run / "results.json").write_text(json.dumps(results))
    _, page = read(run)
    assert "1.250test bits per char" in page.text and "90.50valid perplexity" in page.text
    assert "per byte" not in page.text and "77,777" not in page.text


def test_pictures_have_names_and_the_page_a_language(run: Path) -> None:
    _, page = read(run)
    assert dict(page.tags)["html"]["lang"] == "en"
    assert all(a.get("aria-label") for _, a in page.tags if a.get("role") in ("img", "region"))
    assert sum(tag == "svg" for tag, _ in page.tags) == 5  # two bars, curves, norms, the model


def test_every_figure_is_written_as_png_and_svg(run: Path) -> None:
    read(run)
    svgs = {path.stem for path in (run / "figures").glob("*.svg")}
    pngs = {path.stem for path in (run / "figures").glob("*.png")}
    bars = {"baselines_test_perplexity", "baselines_test_bits_per_char"}
    assert pngs == bars | {"learning_curves", "gradient_norms", "model"}
    assert svgs == pngs
    for name in svgs:
        assert ElementTree.parse(run / "figures" / f"{name}.svg").getroot().tag.endswith("svg")
    assert all((run / "figures" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for name in pngs)
    assert not list(run.rglob(".*")), "no temporary file is left"


def test_a_torn_line_is_passed_over_wherever_it_stands(run: Path) -> None:
    rows, broken = read_events(run / "events.jsonl")
    assert (len(rows), broken) == (34, 1)
    with (run / "events.jsonl").open("a") as file:  # a resumed run writes on
        file.write('{"event": "resume"}\n{"event": "end"}\n')
    rows, broken = read_events(run / "events.jsonl")
    assert rows[-1] == {"event": "end"} and broken == 1
    _, page = read(run)
    assert "1 of events.jsonl, torn" in page.text


@pytest.mark.parametrize("results", [None, {}, {"metrics": {}}, {"table": [{}], "samples": [{}], "metrics": None}])
def test_what_is_missing_does_not_break_the_page(tmp_path: Path, results: Any) -> None:
    if results is not None:
        (tmp_path / "results.json").write_text(json.dumps(results))
        (tmp_path / "events.jsonl").write_text('{"event": "step"}\n{"event": "evaluate"}\n[]\n')
    _, page = read(tmp_path, nn.Linear(2, 3))
    assert "9parameters" in page.text


def test_a_missing_folder_and_a_broken_result_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is none; train first"):
        write_report(tmp_path / "none", nn.Linear(1, 1))
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"results\.json must hold one JSON object"):
        write_report(tmp_path, nn.Linear(1, 1))
