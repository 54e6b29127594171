"""Pre-training of a labeller. Oracles: plain torch on each text alone; the language model's own weights; the run that
nobody interrupted."""

import json
import math
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from ostinato.cells import LSTM
from ostinato.layers import Bidirectional
from ostinato.models import Labeller
from ostinato.models.bilm import BiLM
from ostinato.tasks import training
from ostinato.tasks.labelling import Examples, LabellingJob, LabellingRecipe, LabellingTask
from ostinato.tasks.labelling.pretrain import PretrainingTask, check, language_model, pretrain
from ostinato.tasks.labelling.use import load
from ostinato.tasks.language import load as load_language
from ostinato.train.groups import checked
from ostinato.train.recipe import RecipeError, override, validate
from tiny import sentences

CPU = torch.device("cpu")
SMALL = (
    "data.batch=8", "data.min_count=1", "data.max_length=12", "model.hidden=8", "model.width=6",
    "baselines.majority=false", "baselines.words=false", "pretrain.epochs=2", "pretrain.batch=3", "pretrain.steps=7",
    "pretrain.answers=12", "pretrain.held_out=4", "train.epochs=2", "train.log_steps=1", "train.checkpoint_steps=2",
    "train.optimiser.lr=0.01", "pretrain.optimiser.lr=0.01",
)  # fmt: skip
EVERYWHERE = ("model.dropout.input=0.2", "model.dropout.recurrent=0.2", "pretrain.dropout.words=0.1",
              "pretrain.dropout.output=0.2", "pretrain.activation=1", "pretrain.temporal=1")  # fmt: skip
Listener = Callable[[dict[str, Any]], None]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two or three sentences a text, of a different number of words; who they are about is the label."""
    folder = tmp_path / "data"
    folder.mkdir()
    for part, count, seed in (("train", 80, 0), ("valid", 20, 1), ("test", 20, 2)):
        texts, labels = [], []
        for beast in ("cat", "dog", "bird"):
            lines = [line for line in sentences(count, seed).splitlines() if beast in line]
            texts += [" ".join(lines[i : i + 2 + i % 4 // 2]) for i in range(0, len(lines) - 2, 2)]
            labels += [beast] * (len(texts) - len(labels))
        rows = [json.dumps({"text": t, "label": label}) for t, label in zip(texts, labels, strict=True)]
        (folder / f"{part}.jsonl").write_text("\n".join(rows))
    return folder


def recipe(data: Path, *overrides: str) -> LabellingRecipe:
    raw = {"task": "classification", "seed": 3, "data": {"path": str(data)}}
    return validate(LabellingRecipe, override(raw, (*SMALL, *overrides)))


def quiet(event: dict[str, Any]) -> None:
    pass


def plain_nats(model: BiLM, direction: int, ids: list[int]) -> list[float]:
    """-log p of every word but the first in reading order, step by step, from weights."""
    (cell,) = [part for part in model.directions[direction].modules() if isinstance(part, LSTM)]
    weight = model.embedder.words.weight
    state, nats = cell.initial_state(1), []
    for now, after in pairwise(ids):
        y, state = cell.step(weight[now][None], state)
        h = F.linear(y, model.projections[direction].weight)
        logits = F.linear(h, weight[: model.answers], model.biases[direction])[0]
        nats.append(float(-logits.log_softmax(0)[after if after < model.answers else 1]))
    return nats


@pytest.mark.parametrize("bidirectional", ["true", "false"])
def test_streams_are_read_as_if_each_text_stood_alone(data: Path, bidirectional: str) -> None:
    made = recipe(data, f"model.bidirectional={bidirectional}", "pretrain.batch=1")
    task = PretrainingTask(made, Examples.read(made), CPU)
    model = task.model().double().eval()
    total, items, state = 0.0, 0, None
    with torch.no_grad():
        for batch in task.batches(1, 0, 0, 1):
            loss, state = task.loss(model, batch, state)
            total, items = total + loss.item() * task.size(batch), items + task.size(batch)
        rows = [text.tolist() for text in task.texts]
        alone = [n for row in rows for n in plain_nats(model, 0, row)]
        if bidirectional == "true":
            alone += [n for row in rows for n in plain_nats(model, 1, row[::-1])]
        assert items == len(alone)
        assert total / items == pytest.approx(sum(alone) / len(alone), rel=1e-10)
        held = [n for text in task.held for n in plain_nats(model, 0, text.tolist())]
        if bidirectional == "true":
            held += [n for text in task.held for n in plain_nats(model, 1, text.tolist()[::-1])]
        assert task.evaluate(model, "valid")["valid/perplexity"] == pytest.approx(math.exp(sum(held) / len(held)))


def test_batches_go_on_at_any_of_them_and_epochs_differ(data: Path) -> None:
    made = recipe(data)
    task = PretrainingTask(made, Examples.read(made), CPU)
    first, again, other = (list(task.batches(epoch, 0, 0, 1)) for epoch in (0, 0, 1))
    assert len(first) == task.batch_count()
    late = list(task.batches(0, 3, 0, 1))
    for one, two in zip(first[3:], late, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(a.x, b.x) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.x, b.x) for a, b in zip(first, other, strict=True))


def test_the_whole_training_texts_are_read_and_no_others(data: Path) -> None:
    made = recipe(data)
    examples = Examples.read(made)
    task = PretrainingTask(made, examples, CPU)
    texts = [json.loads(line)["text"].split() for line in (data / "train.jsonl").read_text().splitlines()]
    read = [" ".join(examples.codec.words.decode(row)) for row in (*task.texts, *task.held)]
    assert sorted(read) == sorted(" ".join(text) for text in texts)  # max_length = 12 cuts them for the labeller alone
    assert len(task.held) == len(texts) // 10


def begun(data: Path, tmp_path: Path, *overrides: str) -> tuple[Labeller, BiLM]:
    """A labeller as its training begins, and the language model before it."""
    made = recipe(data, *overrides)
    examples = Examples.read(made)
    start, figures = pretrain(made, examples, CPU, tmp_path / "pretraining", quiet)
    assert figures["pretrain/perplexity"] > 1
    task = LabellingTask(made, examples, CPU)
    task.start = start
    return task.model(), start


def test_one_direction_starts_as_the_language_model_ended(data: Path, tmp_path: Path) -> None:
    model, start = begun(data, tmp_path, "model.layers=2", *EVERYWHERE)
    assert torch.equal(model.embedder.words.weight[1:], start.embedder.words.weight[1:])
    assert not model.embedder.words.weight[0].any()  # padding
    mine = [part for part in model.body.modules() if isinstance(part, LSTM)]
    theirs = [part for part in start.directions[0].modules() if isinstance(part, LSTM)]
    assert len(mine) == len(theirs) == 2
    for one, two in zip(mine, theirs, strict=True):
        assert torch.equal(one.w_rec, two.w_rec) and torch.equal(one.w_in.weight, two.w_in.weight)


def test_each_direction_starts_as_its_own_language_model_ended(data: Path, tmp_path: Path) -> None:
    model, start = begun(data, tmp_path, "model.bidirectional=true", "model.dropout.input=0.5")
    (both,) = [part for part in model.body.modules() if isinstance(part, Bidirectional)]
    for mine, direction in zip((both.rightward, both.leftward), start.directions, strict=True):
        (theirs,) = [part for part in direction.modules() if isinstance(part, LSTM)]
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    assert not torch.equal(both.rightward.w_rec, both.leftward.w_rec)


def test_groups_go_from_the_embedding_to_the_head(data: Path) -> None:
    made = recipe(data, "model.layers=2", "model.dropout.between=0.1")
    task = LabellingTask(made, Examples.read(made), CPU)
    model = task.model()
    names = {p: name for name, p in model.named_parameters()}
    groups = [{names[p].split(".")[0] for p in group} for group in checked(task.groups(model), model)]
    assert groups == [{"embedder"}, {"body"}, {"body"}, {"heads"}]


@pytest.mark.parametrize("bidirectional", ["true", "false"])
def test_it_learns(data: Path, tmp_path: Path, bidirectional: str) -> None:
    more = ("pretrain.epochs=20", "pretrain.answers=100", "train.epochs=20", "train.optimiser.lr=0.05")
    gently = ("train.optimiser.layer_decay=0.8", "train.unfreeze_epochs=2", "train.schedule.name=triangular")
    concat = ("heads.label.kind=class", "heads.label.pool=concat")
    made = recipe(data, f"model.bidirectional={bidirectional}", *more, *gently, *concat)
    found = training.train(LabellingJob(), made, tmp_path / "run", quiet)
    # Of its 24 words a line leaves open 3 sizes, 3 beasts and 3 places of 8 or so: exp(3 ln 3 / 8) = 1.5.
    assert 1 < found["metrics"]["pretrain/perplexity"] < 2.2
    assert found["metrics"]["pretrain/seconds"] > 0
    assert found["metrics"]["valid/accuracy"] == 1
    model, _, _ = load(tmp_path / "run")
    assert not model.training


class Killed(BaseException):
    """What stands for kill -9: nothing catches it."""


def killer(kind: str, count: int) -> Listener:
    """Ends a run at the count-th event of a kind."""
    seen = 0

    def heard(event: dict[str, Any]) -> None:
        nonlocal seen
        seen += event["event"] == kind
        if event["event"] == kind and seen == count:
            raise Killed

    return heard


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model.safetensors")


# Pre-training takes 28 steps with a checkpoint after every second, the training 10 likewise.
@pytest.mark.parametrize(
    ("kind", "count"),
    [("baseline_step", 9), ("pretrain", 1), ("pretrain", 2), ("step", 1), ("step", 7), ("evaluate", 1)],
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(data: Path, tmp_path: Path, kind: str, count: int) -> None:
    made = recipe(data, "model.bidirectional=true", *EVERYWHERE)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    straight = training.train(LabellingJob(), made, whole, quiet)
    with pytest.raises(Killed):
        training.train(LabellingJob(), made, cut, killer(kind, count))
    found = training.train(LabellingJob(), made, cut, quiet, resume=True)
    assert weights(cut).keys() == weights(whole).keys()
    assert [name for name, w in weights(whole).items() if not torch.equal(w, weights(cut)[name])] == []
    for name in ("pretrain/perplexity", "test/accuracy", "train/steps"):
        assert found["metrics"][name] == straight["metrics"][name]


def test_ctrl_c_in_pre_training_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    made = recipe(data)

    def heard(event: dict[str, Any]) -> None:
        if event["event"] == "baseline_step" and event["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"interrupted; go on with: ostinato train --resume .*/run"):
        training.train(LabellingJob(), made, tmp_path / "run", heard)
    with pytest.raises(ValueError, match="already holds a run"):
        training.train(LabellingJob(), made, tmp_path / "run", quiet)
    assert training.train(LabellingJob(), made, tmp_path / "run", quiet, resume=True)["metrics"]["train/steps"] == 10


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model.cell=tcn",), "asks for a cell that reads in order, and tcn is none"),
        (("model.bidirectional=true", "model.layers=2"), "the one layer of a bidirectional model"),
        (("model.characters.kind=reader",), "set model.characters.kind = none"),
        (("model.vectors=glove.txt",), "pretrain.epochs and model.vectors each say what the model starts from"),
        (("model.pretrained=runs/lm",), "pretrain.epochs and model.pretrained each say"),
        (("data.folds=3",), "do not go together"),
    ],
)
def test_what_cannot_start_so_is_refused(data: Path, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(data, *overrides)


def test_too_few_texts_are_told_before_any_folder_is_made(data: Path, tmp_path: Path) -> None:
    made = recipe(data, "pretrain.batch=5000")
    with pytest.raises(RecipeError, match=r"pretrain.batch = 5000 streams need two tokens each.*lower pretrain.batch"):
        training.train(LabellingJob(), made, tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()
    check(recipe(data, "pretrain.batch=5000", "pretrain.epochs=0"), Examples.read(made))


def test_answers_are_words_of_the_vocabulary(data: Path) -> None:
    made = recipe(data, "pretrain.answers=5000")
    codec = Examples.read(made).codec
    assert language_model(made, codec).answers == len(codec.words)


def on_run(trained: Path) -> tuple[str, ...]:
    return ("pretrain.epochs=0", f"model.pretrained={trained}", "model.width=16", "model.hidden=16")


def test_a_run_of_a_language_model_is_started_from(data: Path, tmp_path: Path, trained: Path) -> None:
    made = recipe(data, *on_run(trained), "model.dropout.input=0.2", "train.max_steps=1")
    examples = Examples.read(made)
    task = LabellingTask(made, examples, CPU)
    model, (theirs, _, tokenizer, _) = task.model(), load_language(trained)
    for word in ("cat", "the", "."):
        mine = model.embedder.words.weight[examples.codec.words.stoi[word]]
        assert torch.equal(mine, theirs.embedding.weight[tokenizer.stoi[word]])
    (one,), (two,) = ([p for p in m.body.modules() if isinstance(p, LSTM)] for m in (model, theirs))
    assert torch.equal(one.w_rec, two.w_rec)
    (note,) = task.notes()
    assert "words" in note and str(trained) in note
    training.train(LabellingJob(), made, tmp_path / "run", quiet)
    text = (tmp_path / "run" / "recipe.toml").read_text()
    (tmp_path / "run" / "recipe.toml").write_text(text.replace(str(trained), "/gone"))
    load(tmp_path / "run")  # what was trained needs that run no more


def test_a_run_of_other_layers_is_refused(data: Path, trained: Path) -> None:
    made = recipe(data, *on_run(trained), "model.hidden=12", "model.cell=gru")
    task = LabellingTask(made, Examples.read(made), CPU)
    said = r"other layers: model.cell is 'gru' here and 'lstm' there; model.hidden is 12 here and 16 there; make them"
    with pytest.raises(RecipeError, match=said):
        task.model()
    with pytest.raises(RecipeError, match=r"model\.width is 6 here and 16 there"):
        made = recipe(data, *on_run(trained), "model.width=6")
        LabellingTask(made, Examples.read(made), CPU).model()
