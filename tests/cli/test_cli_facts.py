"""The commands that tell something: what there is, what runs, what this machine has; and how it is printed."""

import io
import json
import math
import subprocess
import sys
from typing import Any

import pytest
import rich.console
import torch

from ostinato import console
from ostinato.cells import cells
from ostinato.tasks import tasks
from tiny import Command


def test_recipes_are_listed(cli: Command) -> None:
    rows = json.loads(cli("recipes", "--json").out)
    assert {"language", "demo", "ptb-small"} <= {row["recipe"] for row in rows}
    assert all(row["task"] in tasks and row["needs"] and row["reaches"] for row in rows)
    assert "ptb-small" in cli("recipes").out


def test_cells_are_listed_with_their_size(cli: Command) -> None:
    rows = json.loads(cli("cells", "--json").out)
    assert {row["cell"] for row in rows} == set(cells)
    sizes = {row["cell"]: row["parameters (4 -> 3)"] for row in rows}
    assert sizes["lstm"] == 4 * (4 * 3 + 3 * 3 + 3)
    assert all(row["about"] for row in rows)
    assert "lstm" in cli("cells").out


def test_explain_says_which_kernel_runs_and_why_not(cli: Command) -> None:
    said = cli("explain", "lstm", "--batch", 2, "--steps", 3, "--inputs", 4, "--hidden", 5)
    assert said.code == 0, said.err
    assert said.out.startswith("lstm, batch 2, 3 steps, 4 -> 5, float32 on cpu\n")
    assert "aten" in said.out
    found = json.loads(cli("explain", "lstm", "--resets", "--ragged", "--json").out)
    assert found["shape"] == [32, 100, 128, 128]
    assert any("it cannot reset the state in mid-sequence" in line for line in found["lines"])
    assert cli("explain", "elman", "-o", "activation=relu", "--dtype", "float64").code == 0


@pytest.mark.parametrize(
    ("name", "parts"),
    {
        "trace": ("graph():\n", "aten.sigmoid.default"),
        "lower": ("rows\n", "sigmoid(", "results\n", "state's gradient 0: "),
        "plan": ("forward\n", "backward\n", " -> next0[0:8]", "@ m0 [16]", "over all steps\n", "one step late"),
        "legalise": ("forward\n", "backward\n", "inference\n", " -> next0[0:8]"),
        "schedule": ("multiply by m0 [16]", "loop [8]: ", "inference\n"),
        "loops": ("forward(T, ", "For b ", "Multiply R 16 8 "),
        "source": ("def forward(T, ", "def backward(T, ", "def inference(T, "),
    }.items(),
)
def test_explain_shows_what_each_pass_derived(cli: Command, name: str, parts: tuple[str, ...]) -> None:
    said = cli("explain", "gru_reset_before", "--inputs", "4", "--hidden", "8", "--after", name)
    assert said.code == 0, said.err
    assert [part for part in parts if part not in said.out] == []


def test_explain_names_the_passes(cli: Command) -> None:
    said = cli("explain", "gru", "--after", "sources")
    assert said.code != 0
    assert "no pass is called 'sources'; did you mean source?" in said.err


def test_doctor_knows_this_machine(cli: Command) -> None:
    facts = json.loads(cli("doctor", "--json").out)
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == torch.get_num_threads()
    assert facts["extra zh"] in ("installed", 'pip install "ostinato[zh]"')
    assert torch.__version__ in cli("doctor").out


def test_json_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"text": ":smile: [bold]x[/bold] 红楼\n\t\x07", "wide": "x" * 300, "list": [1, 2.5, None]}
    console.print_json({**data, "none": math.nan, "far": (math.inf,)})
    assert json.loads(capsys.readouterr().out) == {**data, "none": None, "far": [None]}


def test_help_does_not_wait_for_torch() -> None:
    program = "import sys, ostinato.cli; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_help_names_every_command(cli: Command) -> None:
    said = cli("--help")
    assert said.code == 0
    assert [c for c in ("train", "evaluate", "generate", "demo", "recipes", "cells", "explain", "doctor")
            if c not in said.out] == []  # fmt: skip


def progress(monkeypatch: pytest.MonkeyPatch, steps: list[tuple[float, Any]]) -> list[str]:
    """The lines of a training of 300 steps whose Watch is told of `steps`: the time in seconds, the step or "phase"."""
    err = io.StringIO()
    monkeypatch.setattr(console, "err", rich.console.Console(file=err, width=200))
    now = 0.0
    watch = console.Watch(clock=lambda: now)
    event = {"text": "scoring", "of": 300, "loss": 2.0, "tokens_per_s": 5.0}
    for now, step in steps:
        watch({**event, "event": "phase" if step == "phase" else "step", "step": step, "seconds": now})
    return err.getvalue().splitlines()


def test_a_slow_training_says_where_it_is_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = progress(monkeypatch, [(4.0 * step, step) for step in range(1, 11)])
    assert [line.split()[1] for line in lines] == ["3/300", "6/300", "9/300"]  # after 12, 24 and 36 s
    assert lines[0] == "step 3/300  loss 2.000  5 tokens/s  20 min left"  # 297 steps of 4 s


def test_a_new_phase_waits_its_own_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = progress(monkeypatch, [(60.0, "phase"), (62.0, 1), (71.0, 2)])
    assert [line.split()[0:2] for line in lines] == [["scoring"], ["step", "2/300"]]


def test_a_fast_training_is_not_wordy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress(monkeypatch, [(0.03 * step, step) for step in range(1, 301)]) == []  # 9 s
    assert len(progress(monkeypatch, [(0.09 * step, step) for step in range(1, 301)])) == 2  # 27 s


def test_a_tables_columns_may_have_headings_of_their_own() -> None:
    shown = console.table([{"speed": 12.0, "note": "x"}], {"speed": "tokens/s [fitting]"})
    assert [str(column.header) for column in shown.columns] == [r"tokens/s \[fitting]"]
    assert [list(column.cells) for column in shown.columns] == [["12"]]
