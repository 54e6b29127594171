"""A labelling task in the training loop: resumed, shared by processes, cut by tokens. Oracle: the run left alone."""

import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ostinato.data.buckets import fitted
from ostinato.tasks.labelling import Examples, LabellingRecipe, LabellingTask
from ostinato.train.loop import Trainer
from ostinato.train.recipe import override, validate
from small_loop import assert_same_run, quiet
from tiny_rows import questions, sentences, write_conll, write_parallel, write_tsv

CPU = torch.device("cpu")
# Everything that is random is in use.
BASE = (
    "data.min_count=1", "data.batch=4", "model.width=6", "model.hidden=6", "model.bidirectional=true",
    "model.dropout.input=0.2", "model.dropout.words=0.1", "model.dropout.output=0.3", "model.unknown=0.3",
    "train.epochs=2", "train.ema=0.9", "train.checkpoint_steps=3", "train.evaluate_steps=5", "train.log_steps=1",
    "train.optimiser.lr=0.01",
)  # fmt: skip
TOKENS = ("data.batch_tokens=30", "data.batch=8")


def made(path: Path, task: str = "classification", *overrides: str, **heads: Any) -> LabellingTask:
    raw: dict[str, Any] = {"task": task, "seed": 3, "data": {"path": str(path)}}
    if heads:
        raw["heads"] = heads
    recipe = validate(LabellingRecipe, override(raw, (*BASE, *overrides)))
    return LabellingTask(recipe, Examples.read(recipe), CPU)


def trained(task: LabellingTask, folder: Path | None, listen: Any = quiet, resume: bool = False) -> Any:
    recipe = task.recipe
    return Trainer(task, recipe.train, folder, recipe.seed, CPU, recipe.dtype, listen).run(resume)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return write_tsv(tmp_path / "asked.tsv", questions(60))


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    return write_conll(tmp_path / "tagged.conll", sentences(50))


@pytest.mark.parametrize("step", [4, 11])
@pytest.mark.parametrize("cut", [(), TOKENS])
def test_an_interrupted_run_resumes_bit_for_bit(asked: Path, tmp_path: Path, step: int, cut: tuple[str, ...]) -> None:
    def press(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == step:
            signal.raise_signal(signal.SIGINT)

    trained(made(asked, "classification", *cut), tmp_path / "whole")
    _, report = trained(made(asked, "classification", *cut), tmp_path / "parts", press)
    assert report.interrupted
    trained(made(asked, "classification", *cut), tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_tagger_with_characters_that_is_killed_resumes_bit_for_bit(tagged: Path, tmp_path: Path) -> None:
    spelt = ("model.characters.kind=reader", "model.characters.dropout=0.2", *TOKENS)

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 8:
            raise RuntimeError("killed")

    trained(made(tagged, "tagging", *spelt), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        trained(made(tagged, "tagging", *spelt), tmp_path / "parts", kill)
    trained(made(tagged, "tagging", *spelt), tmp_path / "parts", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_every_epoch_has_as_many_batches_and_each_row_once(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "asked.tsv", questions(600))  # more than are sorted at once
    task = made(path, "classification", "data.batch_tokens=20")
    train = task.examples.parts["train"]
    counts = {len(task._cut(epoch)) for epoch in range(30)}
    assert len(counts) > 1  # what the seed alone decides differs
    wanted = sorted(tuple(row.tolist()) for row in train.rows)
    for epoch in range(30):
        batches = list(task.batches(epoch, 0, 0, 1))
        assert len(batches) == task.batch_count()
        seen = [tuple(row[:n].tolist()) for b in batches for row, n in zip(b.x, b.lengths.tolist(), strict=True)]
        assert sorted(seen) == wanted
    first = [batch.x.tolist() for batch in task.batches(0, 0, 0, 1)]
    assert first != [batch.x.tolist() for batch in task.batches(1, 0, 0, 1)]
    assert first[4:] == [batch.x.tolist() for batch in task.batches(0, 4, 0, 1)]


def test_batches_are_fitted_by_their_cells() -> None:
    sizes = [9, 9, 1, 1, 2, 5]
    batches = [torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3, 4]), torch.tensor([5])]
    assert [rows.tolist() for rows in fitted(batches, sizes, 4)] == [[0, 1], [2], [3, 4], [5]]
    assert [rows.tolist() for rows in fitted(batches, sizes, 3)] == [[0, 1], [3, 4, 2], [5]]
    assert [rows.tolist() for rows in fitted(batches, sizes, 5)] == [[0], [1], [2], [3, 4], [5]]


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_share_each_batch_and_their_losses_add_up(tmp_path: Path, world: int) -> None:
    """Of 41 rows in batches of 4, the last batch has one row, and a seventh rank never has any."""
    folder = write_parallel(tmp_path / "both", sentences(51))
    columns = {"words": "seq.in", "slots": "seq.out", "intent": "label"}
    raw = {
        "task": "multitask", "seed": 3, "dtype": "float64",
        "data": {"path": str(folder), "format": "parallel", "columns": columns, "text": "words", "tokens": "given"},
        "heads": {"intent": {"kind": "class", "classes": "balanced"}, "slot": {"kind": "tags", "column": "slots"}},
        "model": {"balance": "learned"},
    }  # fmt: skip
    plain = ("model.dropout.input=0", "model.dropout.words=0", "model.dropout.output=0", "model.unknown=0")
    recipe = validate(LabellingRecipe, override(raw, (*BASE, *plain)))
    task = LabellingTask(recipe, Examples.read(recipe), CPU)
    torch.manual_seed(0)
    model = task.model().double()
    shares = [list(task.batches(1, 0, rank, world)) for rank in range(world)]
    sizes = set()
    for number, whole in enumerate(task.batches(1, 0, 0, 1)):
        parts = [share[number] for share in shares]
        assert sum(map(task.size, parts)) == task.size(whole)
        assert sum(map(task.tokens, parts)) == task.tokens(whole)
        sizes |= {task.size(part) for part in parts}
        grads = []
        for pieces in ([whole], parts):
            model.zero_grad()
            for piece in pieces:
                loss, _ = task.loss(model, piece, None)
                assert torch.isfinite(loss)
                (loss * task.size(piece) / task.size(whole)).backward()
            grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-11)
    assert 0 in sizes  # a rank without a row


def test_two_processes_follow_the_loss_of_one(asked: Path, tmp_path: Path) -> None:
    """As torchrun starts them; the odd rows leave the second process without any."""
    import json
    import os
    import socket
    import subprocess
    import sys

    plain = [o for o in BASE if "dropout" not in o and "unknown" not in o]
    words = ["train", "classification", "-o", f"data.path={asked}", "-o", "data.valid_fraction=11"]
    zero = ("model.dropout.input=0", "model.dropout.words=0", "model.dropout.output=0", "heads.label.dropout=0",
            "baselines.majority=false", "baselines.words=false", "train.epochs=1", "train.schedule.name=constant",
            "data.batch=6")  # fmt: skip
    words += [word for o in (*plain, *zero) for word in ("-o", o)]
    code = (
        "import sys; from ostinato.kernels import dispatch; dispatch.PREFERENCE['cpu'] = ('aten',);"
        "from ostinato.cli import main; sys.argv[0] = 'ostinato'; main()"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def begin(folder: Path, **place: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", code, *words, "--run", str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **place}
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    alone = begin(tmp_path / "alone")
    both = [begin(tmp_path / "both", **place, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    for process in (alone, *both):
        said = process.communicate(timeout=500)
        assert process.returncode == 0, said

    def losses(run: Path) -> list[float]:
        events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
        return [event["loss"] for event in events if event["event"] == "step"]

    mine = losses(tmp_path / "alone")
    assert len(mine) == 8
    assert mine == pytest.approx(losses(tmp_path / "both"), abs=1e-5)


def test_the_same_seed_draws_the_same_rows_in_any_process(asked: Path) -> None:
    one, other = (made(asked, "classification", *TOKENS) for _ in range(2))
    random.seed(1)
    torch.manual_seed(99)
    assert [b.x.tolist() for b in one.batches(3, 0, 0, 1)] == [b.x.tolist() for b in other.batches(3, 0, 0, 1)]
    assert one.fingerprint() == other.fingerprint()
