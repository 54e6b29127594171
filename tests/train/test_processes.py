"""Runs that are killed, interrupted from outside, or made of two processes: they end as the run that was left alone."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ostinato.report.folder import read_events
from ostinato.train import checkpoint
from tiny import NO_BASELINES, Command, options, sentences

Start = Callable[..., subprocess.Popen[str]]
PATIENCE = 300  # seconds: another job may hold the processor
STEPS = 300
LONG = options(
    "model.hidden=16", "data.batch=4", "data.steps=8", "data.min_count=1", "train.epochs=100",
    f"train.max_steps={STEPS}", "train.log_steps=1", "train.checkpoint_steps=7", "train.evaluate_steps=50",
    "train.ema=0.9", "samples.tokens=0", *NO_BASELINES,
)  # fmt: skip
# No dropout: each process draws its own. Plain sums, so that halves of a batch add up to the whole.
PAIRED = options(
    "model.hidden=16", "data.batch=4", "data.steps=8", "data.min_count=1", "train.epochs=1", "train.log_steps=1",
    "model.dropout.input=0", "model.dropout.output=0", "train.schedule.name=constant", "samples.tokens=0",
    "baselines.ngram_order=0",
)  # fmt: skip


def process_of(*words: object, **variables: str) -> subprocess.Popen[str]:
    """`ostinato WORDS`, with the kernels that a user gets: in this process the tests choose others."""
    command = [sys.executable, "-W", "error", "-m", "ostinato", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


@pytest.fixture
def start() -> Iterator[Start]:
    """`ostinato WORDS` as a process of its own, which does not outlive the test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*words: object, **variables: str) -> subprocess.Popen[str]:
        processes.append(process_of(*words, **variables))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int, start: int = 0) -> None:
    """Returns once events.jsonl, from byte `start` on, tells of that step while the process still runs."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        events = run / "events.jsonl"
        # The last lines alone: to read all of them each time would take the processor from the run.
        tail = events.read_bytes()[start:][-1000:] if events.exists() else b""
        if any(int(number) >= step for number in re.findall(rb'"event": "step", "step": (\d+),', tail)):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    raise TimeoutError(f"step {step} was not reached")


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that is left alone."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = process_of("train", "language", "--text", text, "--run", folder, *LONG)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return folder


def assert_same_end(one: Path, other: Path) -> None:
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    mine, theirs = (checkpoint.load(run / "checkpoint" / "last.safetensors") for run in (one, other))
    assert mine[0].keys() == theirs[0].keys()
    assert [name for name in mine[0] if not torch.equal(mine[0][name], theirs[0][name])] == []
    figures = [json.loads((run / "results.json").read_text())["metrics"] for run in (one, other)]
    clocks = ("train/seconds", "train/tokens_per_s")
    assert {k: v for k, v in figures[0].items() if k not in clocks} == {
        k: v for k, v in figures[1].items() if k not in clocks
    }


def test_killed_three_times_it_ends_as_if_left_alone(start: Start, text: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    draw = random.Random(20)
    for number, step in enumerate(sorted(draw.sample(range(10, 170), 3))):
        words = ("--resume", run) if number else ("language", "--text", text, "--run", run, *LONG)
        told = (run / "events.jsonl").stat().st_size if number else 0
        process = start("train", *words)
        wait_for_step(process, run, step, told)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = start("train", "--resume", run)
    _, err = process.communicate()
    assert process.returncode == 0, err
    resumed = [e["step"] for e in read_events(run / "events.jsonl").rows if e["event"] == "resume"]
    assert len(resumed) == 3
    assert 0 < resumed[0] <= resumed[1] <= resumed[2] < STEPS
    assert_same_end(whole, run)


def test_ctrl_c_saves_evaluates_and_says_how_to_go_on(
    start: Start, cli: Command, text: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start("train", "language", "--text", text, "--run", run, "--json", *LONG)
    wait_for_step(process, run, 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert f"go on with: ostinato train --resume {run}\n" in err
    results = json.loads(out)
    assert results["interrupted"]
    assert 60 < results["metrics"]["train/steps"] < STEPS
    assert results["metrics"]["valid/perplexity"] > 1
    assert cli("evaluate", run, "--json").code == 0  # what there is can be used
    process = start("train", "--resume", run)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert_same_end(whole, run)


def pair(start: Start, *words: object) -> None:
    """`ostinato WORDS` by two processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = [start(*words, **place, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    said = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[1] == ("", "")  # the first one speaks


def losses(run: Path) -> dict[int, Any]:
    return {e["step"]: e["loss"] for e in read_events(run / "events.jsonl").rows if e["event"] == "step"}


def test_two_processes_follow_the_loss_of_one_and_resume(
    start: Start, cli: Command, text: Path, tmp_path: Path
) -> None:
    alone, two = tmp_path / "alone", tmp_path / "two"
    first = ("train", "language", "--text", text, *PAIRED, *options(*NO_BASELINES))
    assert cli(*first, "--run", alone, "-o", "train.max_steps=24").code == 0
    pair(start, *first, "--run", two, "-o", "train.max_steps=11")
    assert len(losses(two)) == 11
    pair(start, "train", "--resume", two, "-o", "train.max_steps=24")  # each with the state of its own streams
    mine, theirs = losses(alone), losses(two)
    assert [mine[step] for step in range(1, 25)] == pytest.approx([theirs[step] for step in range(1, 25)], abs=1e-5)
    last, best = (checkpoint.load(run / "checkpoint" / "last.safetensors")[0] for run in (alone, two))
    for name in (key for key in last if key.startswith(("model/", "state/"))):
        torch.testing.assert_close(last[name], best[name], rtol=1e-4, atol=1e-5)


def test_two_processes_share_documents_that_do_not_come_out_even(start: Start, cli: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(sentences(49))
    alone, two = tmp_path / "alone", tmp_path / "two"
    # 45 lines to learn from: in the batch of the one that is left over, the second process has padding only.
    first = ("train", "language", "--text", tmp_path / "text.txt", *PAIRED, "-o", "data.rows=documents")
    assert cli(*first, "--run", alone).code == 0
    pair(start, *first, "--run", two)
    mine, theirs = losses(alone), losses(two)
    assert len(mine) == 12
    assert list(mine.values()) == pytest.approx(list(theirs.values()), abs=1e-5)
    table = [json.loads((run / "results.json").read_text())["table"] for run in (alone, two)]
    assert [row["model"] for row in table[1]] == ["lstm 1 x 16", "unigram", "feed-forward net"]
    for one, other in zip(*table, strict=True):
        assert one["test/perplexity"] == pytest.approx(other["test/perplexity"], rel=1e-4)
