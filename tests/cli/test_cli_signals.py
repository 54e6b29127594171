"""Ctrl-C and SIGTERM end the command line alike: saved what can be, one sentence, the shell's exit code."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostinato import console
from ostinato.tasks import training
from ostinato.train import checkpoint
from tiny import NO_BASELINES, SMALL, Command, options

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(autouse=True)
def nobody_else_listens() -> Iterator[None]:
    """The signals as a fresh program has them, and afterwards as they were."""
    before = {number: signal.getsignal(number) for number in CODES}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # the command line left nothing behind
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CODES)
def test_in_the_loop_the_run_is_saved_and_told_how_to_go_on(
    cli: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    shown = console.Watch.__call__

    def interrupt(watch: console.Watch, event: dict[str, Any]) -> None:
        shown(watch, event)
        if event["event"] == "step" and event["step"] == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(console.Watch, "__call__", interrupt)
    run = tmp_path / "run"
    said = cli("train", "language", "--text", text, "--run", run, *options(*SMALL, *NO_BASELINES))
    assert said.code == CODES[number]
    assert f"go on with: ostinato train --resume {run}" in said.err
    _, meta = checkpoint.load(run / "checkpoint" / "last.safetensors")
    assert meta["progress"]["step"] in (3, 4)  # the step it is in may be finished
    monkeypatch.undo()
    assert cli("train", "--resume", run).code == 0


@pytest.mark.parametrize("number", CODES)
def test_outside_of_the_loop_one_word_is_said(
    cli: Command, text: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(training, "train", lambda *_, **__: signal.raise_signal(number))
    said = cli("train", "language", "--text", text)
    assert (said.code, said.out, said.err) == (CODES[number], "", "ostinato: interrupted\n")


def test_an_interrupt_that_carries_a_sentence_says_it(
    cli: Command, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("interrupted while scoring; go on with ...")

    monkeypatch.setattr(training, "train", train)
    said = cli("train", "language", "--text", text)
    assert (said.code, said.err) == (130, "ostinato: interrupted while scoring; go on with ...\n")


@pytest.mark.parametrize("ignored", [False, True])
def test_a_term_from_outside_ends_the_program_even_where_ctrl_c_is_ignored(ignored: bool) -> None:
    """Shells start background jobs with SIGINT ignored."""
    program = (
        "import signal, sys, time, ostinato.cli as cli\n"
        f"if {ignored}: signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "cli.app = lambda: (print('ready', flush=True), time.sleep(30))\n"
        "cli.main()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (143, "ostinato: interrupted\n")


def test_a_handler_that_someone_else_set_stays(cli: Command) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert cli("recipes").code == 0
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
