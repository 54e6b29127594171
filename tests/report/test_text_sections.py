"""The sections of text tasks: what results.json holds is on the page, as text, and nothing else is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_html import Page, read

_HOSTILE = "<script>alert('x')</script>&amp;\""


def results() -> dict[str, Any]:
    return {
        "metrics": {"test/accuracy": 0.8912, "test/macro_f1": 0.85, "valid/accuracy": 0.9},
        "shown": ["test/accuracy", "test/macro_f1"],
        "table": [
            {"model": "bi-lstm", "kind": "recurrent", "parameters": 5, "test/accuracy": 0.8912, "tokens_per_s": 9},
            {"model": "majority", "kind": "baseline", "parameters": 0, "test/accuracy": 0.851, "tokens_per_s": 9},
        ],
        "confusion": {"label": {"names": ["good", _HOSTILE], "matrix": [[7, 1], [3, 4]]}},
        "per_tag": {
            "label": [
                {"label": "rare", "precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 4},
                {"label": _HOSTILE, "precision": 0.75, "recall": 1.0, "f1": 0.857, "support": 1200},
            ]
        },
        "calibration": {
            "label": {"confidence": [None, 0.7], "accuracy": [None, 0.8], "counts": [0, 9], "expected_error": 0.1}
        },
        "mistakes": [
            {
                "head": "label",
                "gold": _HOSTILE,
                "said": "good",
                "confidence": 0.987,
                "place": f"{_HOSTILE}:12",
                "tokens": ["not", _HOSTILE, "春", "眠"],
                "saliency": [-0.5, 1.0, 0.0, 0.25],
                "at": 0,
            },
            {"head": "label", "gold": "a", "said": "b", "confidence": 0.6, "tokens": ["x"], "saliency": None},
        ],
        "attention": [
            {"source": ["ein", _HOSTILE], "target": ["a", "春眠"], "weights": [[0.9, 0.1], [0.2, 0.8]]},
            {"tokens": ["so", _HOSTILE], "weights": [0.25, 0.75], "gold": "a", "said": "b"},
        ],
        "translations": [{"source": "ein", "reference": "a", "translation": _HOSTILE}],
        "lengths": {
            "unit": "source tokens",
            "metric": "BLEU",
            "rows": [
                {"from": 1, "to": 8, "count": 120, "values": {"this model": 35.14, _HOSTILE: 30.0}},
                {"from": 9, "to": None, "count": 80, "values": {"this model": 33.0, _HOSTILE: None}},
            ],
        },
        "padding": {"share": 0.031, "unsorted": 0.41},
    }


def page(run: Path, **changes: Any) -> tuple[str, Page]:
    (run / "results.json").write_text(json.dumps({**results(), **changes}), encoding="utf-8")
    return read(run)


def test_every_section_is_there_and_everything_is_text(tmp_path: Path) -> None:
    text, found = page(tmp_path)
    sections = [attributes["id"] for tag, attributes in found.tags if tag == "section"]
    wanted = (
        "result comparison lengths confusion labels mistakes translations attention calibration model parameters run"
    )
    assert sections == wanted.split()
    assert "<script" not in text
    for tag, attributes in found.tags:
        assert tag not in ("script", "img", "link") and not any(name.startswith("on") for name in attributes)
    names = {"confusion_label", "calibration_label", "attention_1", "quality_by_length"}
    for kind in ("png", "svg"):
        assert names <= {path.stem for path in (tmp_path / "figures").glob(f"*.{kind}")}


@pytest.mark.parametrize("value", [None, {}, []])
def test_a_section_without_its_key_is_not_there(tmp_path: Path, value: Any) -> None:
    keys = ("confusion", "per_tag", "calibration", "mistakes", "attention", "translations", "lengths", "padding")
    _, found = page(tmp_path, **dict.fromkeys(keys, value))
    sections = [attributes["id"] for tag, attributes in found.tags if tag == "section"]
    assert sections == ["result", "comparison", "model", "parameters"]


@pytest.mark.parametrize(("word", "told"), [("ü…", True), ("…ü", True), ("…", False), ("ü", False)])
def test_characters_that_are_cut_are_explained_where_there_are_any(tmp_path: Path, word: str, told: bool) -> None:
    _, found = page(tmp_path, attention=[{"source": ["ein", word], "target": ["a"], "weights": [[0.9, 0.1]]}])
    assert ("with … where it is cut" in found.text) is told


def test_a_translation_of_nothing_is_seen(tmp_path: Path) -> None:
    _, found = page(tmp_path, translations=[{"source": "ein", "reference": "a", "translation": ""}])
    assert re.search(r"translation\s*–", found.text)


def test_several_heads_are_judged_each_by_its_own(tmp_path: Path) -> None:
    """A rival that answers one of them stands beside it."""
    names = ("test/intent_accuracy", "test/slot_f1")
    table = [
        {"model": "ours", "kind": "recurrent", names[0]: 0.97, names[1]: 0.95},
        {"model": "bag", "kind": "baseline", names[0]: 0.93, names[1]: None},
        {"model": "chain", "kind": "baseline", names[0]: None, names[1]: 0.96},
    ]
    _, found = page(tmp_path, metrics=dict(zip(names, (0.97, 0.95), strict=True)), judged=list(names), table=table)
    assert "93.00%best baseline: bag; the model is 4.00 points better" in found.text
    assert "96.00%best baseline: chain; the model is 1.00 points worse" in found.text
    figures = {path.stem for path in (tmp_path / "figures").glob("baselines_*.svg")}
    assert figures == {"baselines_test_intent_accuracy", "baselines_test_slot_f1"}


def test_shares_are_read_as_per_cent_and_compared_by_points(tmp_path: Path) -> None:
    _, found = page(tmp_path)
    assert "89.12%test accuracy" in found.text
    assert "85.10%best baseline: majority; the model is 4.02 points better" in found.text


def test_the_run_is_judged_by_what_it_names_first(tmp_path: Path) -> None:
    metrics = {"test/intent_accuracy": 0.97, "test/slot_f1": 0.95, "test/mean": 0.96}
    text, found = page(tmp_path, metrics=metrics, shown=["test/slot_f1", "test/intent_accuracy"], table=[])
    assert re.findall(r'class="number big"><b>([^<]*)</b>', text) == ["95.00%"]
    assert found.text.index("95.00%test slot F1") < found.text.index("97.00%test intent accuracy")


def test_the_matrix_says_each_pair_in_words(tmp_path: Path) -> None:
    text, _ = page(tmp_path)
    assert text.count("<title>good read as &lt;script&gt;") == 1
    hints = re.findall(r"<title>[^<]* read as [^<]*: (\d+ of \d+)</title>", text)
    assert hints == ["7 of 8", "1 of 8", "3 of 7", "4 of 7"]


def test_of_many_classes_the_most_confused_pairs_are_listed(tmp_path: Path) -> None:
    matrix = [[100 if i == j else 0 for j in range(26)] for i in range(26)]
    matrix[3][17], matrix[5][2] = 25, 9
    names = [f"class{i}" for i in range(26)]
    _, found = page(tmp_path, confusion={"label": {"names": names, "matrix": matrix}})
    assert "34 confusions of 2 kinds among 26 labels" in found.text
    assert "class3class172520.0%class5class29" in found.text.replace(" ", "")
    assert not (tmp_path / "figures" / "confusion_label.png").exists()
    matrix[3][17] = matrix[5][2] = 0
    _, found = page(tmp_path, confusion={"label": {"names": names, "matrix": matrix}})
    assert "No two labels were confused." in found.text


def test_labels_stand_by_how_many_there_are_and_the_rare_ones_behind_a_click(tmp_path: Path) -> None:
    _, found = page(tmp_path)
    assert found.text.index("75.00%") < found.text.index("rare")
    rows = [{"label": f"tag{i}", "precision": 1, "recall": 1, "f1": 1, "support": i} for i in range(35)]
    text, found = page(tmp_path, per_tag={"label": rows})
    assert "The other 5 labels" in found.text
    assert text.index("tag34") < text.index("tag5<") < text.index("The other 5") < text.index("tag4<")


def test_words_for_and_against_have_their_colours(tmp_path: Path) -> None:
    text, found = page(tmp_path)
    spans = re.findall(r'<span class="(word[^>]*)>([^<]+)</span>', text)
    words = {word: kind for kind, word in spans}
    assert "59,130,246,0.28" in words["not"] and 'title="-0.5"' in words["not"] and words["not"].startswith("word at")
    assert "232,113,10,0.14" in words["眠"]
    assert "style" not in words["春"] and "style" not in words["x"]
    assert "春眠" in found.text  # no space between Chinese words
    assert "said good (98.7% sure), gold <script>" in found.text
    assert ":12" in found.text


def test_lengths_and_padding_are_said_in_numbers(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "step", "step": 1, "loss": 1.0}\n')
    _, found = page(tmp_path)
    assert "1–8 120 35.1 30.0" in " ".join(found.words).replace("\n", " ")
    assert "9+" in found.text and "80" in found.text
    assert "3.1% of the cells of the training batches are padding" in found.text
    assert "side by side it would be 41.0%." in found.text


def test_heads_are_named_where_there_are_several(tmp_path: Path) -> None:
    one = results()["calibration"]["label"]
    _, found = page(tmp_path, calibration={"intent": one, "slot": one})
    assert [word for word in found.words if word in ("intent", "slot")] == ["intent", "slot"]
    assert (tmp_path / "figures" / "calibration_slot.png").exists()
