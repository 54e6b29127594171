"""Each labelling task learns a tiny file by heart, says so under the right names, and loads again as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import ostinato
from ostinato.models.heads import ClassHead, TagHead
from ostinato.tasks.labelling import Examples, LabellingRecipe, LabellingTask
from ostinato.tasks.labelling.use import load
from ostinato.train.recipe import override, validate
from tiny import Command, options
from tiny_rows import LEARNT, questions, sentences, write_conll, write_parallel, write_tsv

NEW_PROCESS = """
import json, sys
import torch
torch.set_num_threads(1)
from ostinato.kernels import dispatch
dispatch.PREFERENCE["cpu"] = ("aten",)
import ostinato
print(json.dumps(ostinato.load(sys.argv[1]).predict(json.loads(sys.argv[2]))))
"""
BOTH = (
    'task = "multitask"\nseed = 1\n[data]\nformat = "parallel"\ntext = "words"\ntokens = "given"\n'
    '[data.columns]\nwords = "seq.in"\nslots = "seq.out"\nintent = "label"\n'
    '[heads.intent]\nkind = "class"\n[heads.slot]\nkind = "tags"\ncolumn = "slots"\nlearnt = "BIOES"\n'
)


def results(cli: Command, recipe: object, path: Path, run: Path, *changes: str) -> dict[str, Any]:
    said = cli("train", recipe, "--run", run, "--json", *options(*LEARNT, f"data.path={path}", *changes))
    assert said.code == 0, said.err
    return json.loads(said.out)


@pytest.mark.parametrize("changes", [(), ("heads.label.classes=balanced", "heads.label.smoothing=0.1", "dtype=float64"),
                                     ("heads.label.pool=attention", "model.characters.kind=convolution")])  # fmt: skip
def test_a_classifier_learns_by_heart(cli: Command, tmp_path: Path, changes: tuple[str, ...]) -> None:
    path = write_tsv(tmp_path / "rows.tsv", questions(90))
    found = results(cli, "classification", path, tmp_path / "run", *changes)
    metrics = found["metrics"]
    assert (metrics["test/accuracy"], metrics["test/macro_f1"], metrics["valid/accuracy"]) == (1, 1, 1)
    assert found["shown"] == ["test/accuracy", "test/macro_f1"]
    assert [row["model"] for row in found["table"]] == ["bi-lstm 1 x 12", "majority"]


def test_labels_in_one_column_are_learnt_by_heart(cli: Command, tmp_path: Path) -> None:
    """Each of two words asks for a label of its own; neither for none."""
    path = tmp_path / "rows.jsonl"
    words = ["red", "round", "red round", "grey flat"]
    labels = ["colour", "shape", "colour; shape", ""]
    rows = [{"text": f"a {words[i % 4]} thing {'here ' * (i % 3)}", "topics": labels[i % 4]} for i in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = tmp_path / "labels.toml"
    raw.write_text('task = "classification"\n[heads.topics]\nkind = "labels"\nseparator = ";"\nclasses = "balanced"\n')
    found = results(cli, raw, path, tmp_path / "run")["metrics"]
    assert (found["test/micro_f1"], found["test/macro_f1"], found["test/subset_accuracy"]) == (1, 1, 1)
    answers = ostinato.load(tmp_path / "run").predict(["a red round thing", "a grey flat thing"])
    assert [[label["label"] for label in answer["labels"]] for answer in answers] == [["colour", "shape"], []]


def test_one_label_that_some_rows_have_is_a_question(cli: Command, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"a {word} thing", "topics": ["hot"] if word == "red" else []} for word in ["red", "grey"] * 40]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = tmp_path / "labels.toml"
    raw.write_text('task = "classification"\n[heads.topics]\nkind = "labels"\n')
    assert results(cli, raw, path, tmp_path / "run")["metrics"]["test/subset_accuracy"] == 1


def test_a_blank_beside_a_comma_is_no_part_of_a_class(cli: Command, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = (f"{text},{' ' * (i % 2)}{label}\n" for i, (text, label) in enumerate(questions(60)))
    path.write_text("text,label\n" + "".join(rows))
    found = results(cli, "classification", path, tmp_path / "run")
    assert sorted(found["confusion"]["label"]["names"]) == sorted({label for _, label in questions(60)})


def test_the_recipe_of_several_questions_runs_as_it_is(cli: Command, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = ({"words": words, "slots": tags, "intent": intent} for words, tags, intent in sentences(60))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = results(cli, "multitask", path, tmp_path / "run", "train.max_steps=4")
    assert found["judged"] == ["test/intent_accuracy", "test/slots_f1"]


@pytest.mark.parametrize("changes", [(), ("heads.tags.crf=false",), ("heads.tags.learnt=BIOES", "dtype=float64")])
def test_a_tagger_learns_by_heart(cli: Command, tmp_path: Path, changes: tuple[str, ...]) -> None:
    path = write_conll(tmp_path / "rows.conll", sentences(70))
    sure = ("model.dropout.input=0", "model.dropout.output=0", "model.unknown=0", "train.evaluate_epochs=12")
    found = results(cli, "tagging", path, tmp_path / "run", "model.characters.kind=none", *sure, *changes)
    names = ("span_f1", "span_precision", "span_recall", "token_accuracy", "sentence_accuracy")
    assert [found["metrics"][f"test/{name}"] for name in names] == [1] * 5
    assert found["shown"] == ["test/span_f1", "test/token_accuracy"]
    (answer,) = ostinato.load(tmp_path / "run").predict([["Grace", "Hopper", "calls", "Rome"]])
    ends = ["B-PER", "I-PER", "O", "B-LOC"]  # the files' scheme, whichever is learnt
    assert answer["tags"] == ends
    assert answer["spans"] == [
        {"label": "PER", "text": "Grace Hopper", "start": 0, "end": 2},
        {"label": "LOC", "text": "Rome", "start": 3, "end": 4},
    ]
    assert [row["model"] for row in found["table"]][1:] == ["most frequent answers", "hidden Markov model"]


@pytest.mark.parametrize("balance", ["fixed", "learned"])
def test_two_heads_learn_by_heart_and_are_named(cli: Command, tmp_path: Path, balance: str) -> None:
    folder = write_parallel(tmp_path / "both", sentences(80))
    (tmp_path / "both.toml").write_text(BOTH)
    changes = (f"model.balance={balance}", "heads.slot.weight=2", "baselines.words=true")
    found = results(cli, tmp_path / "both.toml", folder, tmp_path / "run", *changes)
    metrics = found["metrics"]
    ones = ("test/intent_accuracy", "test/intent_macro_f1", "test/slot_f1", "test/slot_accuracy", "test/mean")
    assert {name: metrics[name] for name in ones} == dict.fromkeys(ones, 1)
    assert found["shown"] == [
        "test/intent_accuracy", "test/intent_macro_f1", "test/slot_f1", "test/slot_accuracy",
    ]  # fmt: skip
    assert found["judged"] == ["test/intent_accuracy", "test/slot_f1"]
    answered = {row["model"]: [row[name] is not None for name in found["judged"]] for row in found["table"][1:]}
    assert answered == {
        "most frequent answers": [True, True], "bag of words": [True, False], "hidden Markov model": [False, True],
    }  # fmt: skip
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.count("best baseline: ") == 2
    (answer,) = ostinato.load(tmp_path / "run").predict([["Ada", "goes", "New", "York"]])
    assert answer["intent"]["label"] == "goes"
    assert answer["slot"]["tags"] == ["B-PER", "O", "B-LOC", "I-LOC"]
    assert ("heads.log_variance" in dict(load(tmp_path / "run")[0].named_parameters())) == (balance == "learned")


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_a_new_process_says_the_same_and_scores_the_same(cli: Command, tmp_path: Path, task: str) -> None:
    """Half learnt, so that no confidence is close to one."""
    run, inputs = tmp_path / "run", [["Ada", "goes", "Mars"], ["New"], ["Zoe", "and", "Grace", "Hopper"]]
    if task == "classification":
        path, inputs = write_tsv(tmp_path / "rows.tsv", questions(60)), ["where it run", "why", "who the big zebra"]
    else:
        path = write_conll(tmp_path / "rows.conll", sentences(50))
    found = results(cli, task, path, run, "train.max_steps=9", "model.dropout.input=0.3")
    model = ostinato.load(run)
    answers = model.predict(inputs)
    command = [sys.executable, "-W", "error", "-c", NEW_PROCESS, str(run), json.dumps(inputs)]
    said = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == answers
    again = json.loads(cli("evaluate", run, "--json").out)
    assert again == {name: value for name, value in found["metrics"].items() if name in again}
    assert {name.split("/")[0] for name in again} == {"valid", "test"}
    turned = model.predict(inputs[::-1])[::-1]
    for one, other in zip(answers, turned, strict=True):
        assert one.get("tags", one.get("label")) == other.get("tags", other.get("label"))
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-6)


def test_another_file_is_scored_from_end_to_end(cli: Command, tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "rows.tsv", questions(90))
    results(cli, "classification", path, tmp_path / "run")
    other = write_tsv(tmp_path / "other.tsv", [*questions(7, seed=5), ("who", "place"), ("when", "person")])
    said = cli("evaluate", tmp_path / "run", "--json", "-o", f"data.path={other}")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["test/accuracy"] == pytest.approx(7 / 9)
    assert not [name for name in found if name.startswith("valid")]


def built(path: Path, *changes: str, task: str = "classification") -> tuple[LabellingTask, Any]:
    raw = {"task": task, "data": {"path": str(path), "min_count": 1}}
    recipe = validate(LabellingRecipe, override(raw, ("model.width=4", "model.hidden=4", *changes)))
    made = LabellingTask(recipe, Examples.read(recipe), torch.device("cpu"))
    return made, made.model()


def test_balanced_classes_weigh_as_the_rows_that_are_learnt(tmp_path: Path) -> None:
    """n / (C n_c), by hand."""
    rows = [("who", "person")] * 60 + [("where", "place")] * 30 + [("when", "time")] * 10
    for name, part in (("train", rows), ("valid", rows[::10]), ("test", rows[::10])):
        write_tsv(tmp_path / f"{name}.tsv", part)
    _, model = built(tmp_path, "heads.label.classes=balanced")
    head = model.head("label")
    assert isinstance(head, ClassHead)
    assert head.get_buffer("class_weights").tolist() == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    assert "class_weights" not in "".join(model.state_dict())
    _, model = built(tmp_path)
    assert model.head("label")._buffers["class_weights"] is None


def test_the_embedding_starts_from_the_rows_of_the_file(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "rows.tsv", questions(60))
    (tmp_path / "wide.txt").write_text("who 1 2 3 4\nbig -1 0.5 0 9\nzebra 7 7 7 7\n")
    made, model = built(path, f"model.vectors={tmp_path / 'wide.txt'}")
    words, weight = made.examples.codec.words, model.embedder.words.weight
    assert weight[words.index("who")].tolist() == [1, 2, 3, 4]
    assert weight[words.index("big")].tolist() == [-1, 0.5, 0, 9]
    assert weight[0].eq(0).all()
    assert weight[words.index("where")].ne(0).all()
    assert made.notes() == [f"word vectors cover 2 of {len(words)} tokens ({2 / len(words):.1%})"]


def test_words_never_seen_are_one_word_and_their_letters_tell_them_apart(cli: Command, tmp_path: Path) -> None:
    path = write_conll(tmp_path / "rows.conll", sentences(40))
    unseen = [["Zoe", "goes", "Rome"], ["Oslo", "goes", "Rome"]]
    for kind, alike in (("none", True), ("reader", False), ("convolution", False)):
        run = tmp_path / kind
        results(cli, "tagging", path, run, "train.max_steps=4", f"model.characters.kind={kind}", "heads.tags.crf=false",
                "baselines.majority=false", "baselines.hmm=false")  # fmt: skip
        one, other = ostinato.load(run).predict(unseen)
        assert (one["confidence"] == other["confidence"]) == alike
        assert one["tokens"] == unseen[0]


def test_the_heads_are_what_the_recipe_says(tmp_path: Path) -> None:
    path = write_conll(tmp_path / "rows.conll", sentences(40))
    made, model = built(path, task="tagging")
    head = model.head("tags")
    assert isinstance(head, TagHead)
    assert head.crf is not None
    names = made.examples.codec.names["tags"]
    assert not head.crf.allowed.between[names.index("O"), names.index("I-PER")]
    assert head.length == pytest.approx(sum(made.examples.parts["train"].sizes) / len(made.examples.parts["train"]))
    _, free = built(path, "heads.tags.constrained=false", task="tagging")
    assert free.head("tags").crf.allowed.between.all()
    _, plain = built(path, "heads.tags.crf=false", task="tagging")
    assert plain.head("tags").crf is None
