"""What the report of a labelling run is drawn from. Oracles: counts by hand, a linear model, finite differences."""

import math
from collections import Counter

import pytest
import torch
from torch import nn

from ostinato.layers import Pointwise, Pool
from ostinato.models import Embedder, Labeller
from ostinato.models.heads import ClassHead
from ostinato.models.labeller import saliency
from ostinato.tasks.labelling import Examples, LabellingRecipe, LabellingTask
from ostinato.tasks.labelling.extras import BESIDE, excerpt, extras
from ostinato.tasks.labelling.task import answered, pad_rows

TEXTS = ["good film", "a bad film", "bad bad", "so good", "film", "good bad film", "it is bad", "it is so good indeed"]
LABELS = ["pos", "neg", "neg", "pos", "pos", "neg", "neg", "pos"]
TAGS = ["B-PER I-PER", "O B-LOC I-LOC", "O O", "O B-PER", "B-LOC", "B-PER O B-LOC", "O O O", "B-LOC O O O O"]
MODEL = {"hidden": 6, "width": 5}


def classification(folder, rows=24, **changes):
    for part in ("train", "valid", "test"):
        lines = [f"{LABELS[i % 8]} {TEXTS[i % 8]}" for i in range(rows)]
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n")
    data = {"path": str(folder), "format": "labelled", "tokens": "space", "min_count": 1, "batch": 4}
    given = {"task": "classification", "data": data, "model": MODEL, **changes}
    return made(given)


def tagging(folder, crf=True, tags=TAGS, name="tags", learnt="same"):
    for part in ("train", "valid", "test"):
        rows = [zip(TEXTS[i].split(), tags[i].split(), strict=True) for i in range(8)]
        (folder / f"{part}.conll").write_text("\n".join("".join(f"{w}\t{t}\n" for w, t in row) for row in rows))
    data = {"path": str(folder), "format": "conll", "columns": ["words", name], "text": "words", "tokens": "given",
            "min_count": 1}  # fmt: skip
    head = {"kind": "tags", "crf": crf, "learnt": learnt}
    return made({"task": "tagging", "data": data, "model": MODEL, "heads": {name: head}})


def made(given):
    recipe = LabellingRecipe.model_validate(given)
    torch.manual_seed(3)
    task = LabellingTask(recipe, Examples.read(recipe), torch.device("cpu"))
    return task, task.model().eval()


def said(task, model, head):
    part, names = task.examples.parts["test"], task.examples.codec.names[head].itos
    rows = [row[head] for row in answered(model, part.rows, 8)]
    return [[names[i] for i in row.ids] for row in rows], [row.confidence for row in rows], part.gold[head]


def test_gradient_times_input_of_a_linear_model_adds_up_to_its_score():
    torch.manual_seed(0)
    model = Labeller(Embedder(20, 6), Pointwise(nn.Identity()), {"label": ClassHead(Pool("mean", 6), 3)}).double()
    head = model.head("label")
    nn.init.normal_(head.linear.bias)
    x, lengths = torch.randint(1, 20, (4, 7)), torch.tensor([7, 3, 1, 0])
    target = torch.tensor([2, 0, 1, 1])
    model.train()
    got = saliency(model, x, lengths, "label", target)
    scores = model(x, lengths)["label"].gather(1, target[:, None])[:, 0] - head.linear.bias[target]
    torch.testing.assert_close(got.sum(1), scores)
    for row, word in ((0, 4), (1, 2)):  # each word's share by itself: w · e / n
        share = head.linear.weight[target[row]] @ model.embedder.words(x[row, word]) / lengths[row]
        torch.testing.assert_close(got[row, word], share)
    assert all(got[row, n:].eq(0).all() for row, n in enumerate(lengths))
    assert model.training and all(p.grad is None for p in model.parameters())


def test_saliency_is_the_slope_along_a_words_own_vector(tmp_path):
    """Through a whole recurrent model: d/da of the score where the word's vector is (1 + a) times itself."""
    task, model = classification(tmp_path)
    model = model.double()
    x, lengths = pad_rows(task.examples.parts["test"].rows[:3])
    target, eps = torch.tensor([0, 1, 1]), 1e-6
    got = saliency(model, x, lengths, "label", target)
    with torch.no_grad():
        vectors = model.embedder(x, lengths)
        for t in range(x.shape[1]):
            scale = torch.ones_like(vectors)
            scale[:, t] += eps
            up, down = (model.judge(vectors * s, lengths)["label"] for s in (scale, 2 - scale))
            slope = (up - down).gather(1, target[:, None])[:, 0] / (2 * eps)
            torch.testing.assert_close(got[:, t], slope, rtol=1e-5, atol=1e-8)


def test_the_test_part_is_answered_once(tmp_path):
    task, model = classification(tmp_path)
    rows = []
    model.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    extras(task, model)
    assert sum(rows) == len(task.examples.parts["test"])


def test_confusions_and_scores_of_classes_are_counts(tmp_path):
    task, model = classification(tmp_path)
    guess, sure, gold = said(task, model, "label")
    pairs = Counter((a, b) for (a,), (b,) in zip(gold, guess, strict=True))
    found = extras(task, model)
    names, matrix = found["confusion"]["label"]["names"], found["confusion"]["label"]["matrix"]
    assert {
        (a, b): n for a, row in zip(names, matrix, strict=True) for b, n in zip(names, row, strict=True) if n
    } == pairs
    for row in found["per_tag"]["label"]:
        right, there = pairs[row["label"], row["label"]], sum(n for (a, _), n in pairs.items() if a == row["label"])
        assert row["support"] == there
        assert row["recall"] == pytest.approx(right / there)
    calibrated = found["calibration"]["label"]
    assert sum(calibrated["counts"]) == 24
    right = sum(a * n for a, n in zip(calibrated["accuracy"], calibrated["counts"], strict=True) if n)
    assert right == pytest.approx(sum(n for (a, b), n in pairs.items() if a == b))
    total = sum(c * n for c, n in zip(calibrated["confidence"], calibrated["counts"], strict=True) if n)
    assert total == pytest.approx(sum(p for (p,) in sure))
    assert all(c is None for c, n in zip(calibrated["confidence"], calibrated["counts"], strict=True) if not n)


def test_mistakes_are_the_most_confident_wrong_rows_with_their_place(tmp_path):
    task, model = classification(tmp_path, rows=64)
    guess, sure, gold = said(task, model, "label")
    wrong = sorted((p for (p,), a, b in zip(sure, guess, gold, strict=True) if a != b), reverse=True)
    found = extras(task, model)["mistakes"]
    assert wrong and [row["confidence"] for row in found] == pytest.approx(wrong[:20])
    for row in found:
        file, _, line = row["place"].partition(":")
        at = int(line) - 1
        assert (file, row["tokens"], [row["gold"]]) == ("test.txt", TEXTS[at % 8].split(), gold[at])
        assert [row["said"]] == guess[at] != gold[at]
        assert len(row["saliency"]) == len(row["tokens"]) and any(row["saliency"])


def test_an_answer_that_training_never_saw_is_a_row_that_is_always_missed(tmp_path):
    task, model = classification(tmp_path, heads={"label": {"kind": "class", "unseen": "wrong"}})
    (tmp_path / "test.txt").write_text("odd good film\npos so good\n")
    task, model = made(task.recipe.model_dump())
    found = extras(task, model)
    assert found["confusion"]["label"]["names"][-1] == "odd"
    assert sum(found["confusion"]["label"]["matrix"][-1]) == 1 and found["confusion"]["label"]["matrix"][-1][-1] == 0
    assert found["per_tag"]["label"][-1] == {"label": "odd", "precision": 0, "recall": 0, "f1": 0, "support": 1}


@pytest.mark.parametrize("crf", [True, False])
def test_chunks_are_scored_whole_and_confused_by_type(tmp_path, crf):
    task, model = tagging(tmp_path, crf)
    guess, sure, gold = said(task, model, "tags")
    found = extras(task, model)
    names, matrix = found["confusion"]["tags"]["names"], found["confusion"]["tags"]["matrix"]
    assert set(names) == {"O", "PER", "LOC"}
    tokens = Counter(tag[2:] or "O" for row in gold for tag in row)
    assert {name: sum(row) for name, row in zip(names, matrix, strict=True)} == tokens
    assert {row["label"]: row["support"] for row in found["per_tag"]["tags"]} == {"PER": 3, "LOC": 4}
    assert sum(found["calibration"]["tags"]["counts"]) == 21
    for row in found["mistakes"]:
        at = TEXTS.index(" ".join(row["tokens"]))
        assert gold[at][row["at"]] == row["gold"] != row["said"] == guess[at][row["at"]]
        misses = [p for p, a, b in zip(sure[at], gold[at], guess[at], strict=True) if a != b]
        assert row["confidence"] == max(misses)
        assert len(row["saliency"]) == len(row["tokens"]) and all(map(math.isfinite, row["saliency"]))
    assert found["mistakes"]


def test_mistakes_are_told_in_the_scheme_of_the_files(tmp_path):
    """Whichever is learnt: the files know no E- and no S-, and what is right there is no mistake."""
    task, model = tagging(tmp_path, learnt="BIOES")
    found = extras(task, model)
    assert any(name[0] in "ES" for name in task.examples.codec.names["tags"].itos)
    for row in found["mistakes"]:
        gold = TAGS[TEXTS.index(" ".join(row["tokens"]))].split()
        assert gold[row["at"]] == row["gold"] != row["said"]
        assert row["said"][0] in "BIO"
    assert found["mistakes"]
    assert set(found["confusion"]["tags"]["names"]) == {"O", "PER", "LOC"}
    assert sum(map(sum, found["confusion"]["tags"]["matrix"])) == 21


def test_types_of_chunks_are_confused_where_their_tags_are_too_many(tmp_path, monkeypatch):
    """Four tags of each type in BIOES: the matrix has the types."""
    monkeypatch.setattr("ostinato.tasks.labelling.extras.MOST_CLASSES", 3)
    task, model = tagging(tmp_path, learnt="BIOES")
    assert len(task.examples.codec.names["tags"]) > 3
    assert len(extras(task, model)["confusion"]["tags"]["names"]) == 3


def test_parts_of_speech_are_scored_token_by_token(tmp_path):
    tags = [" ".join("NOUN" if word == "film" else "ADJ" for word in text.split()) for text in TEXTS]
    task, model = tagging(tmp_path, crf=False, tags=tags, name="upos")
    found = extras(task, model)
    assert {row["label"]: row["support"] for row in found["per_tag"]["upos"]} == {"NOUN": 4, "ADJ": 17}


def test_several_labels_have_scores_but_no_matrix(tmp_path):
    for part in ("train", "valid", "test"):
        rows = [f"{text}\t{'x,y' if i % 2 else 'y'}" for i, text in enumerate(TEXTS)]
        (tmp_path / f"{part}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    data = {"path": str(tmp_path), "tokens": "space", "min_count": 1}
    heads = {"label": {"kind": "labels"}}
    task, model = made({"task": "classification", "data": data, "model": MODEL, "heads": heads})
    found = extras(task, model)
    assert "confusion" not in found and "calibration" not in found
    assert {row["label"]: row["support"] for row in found["per_tag"]["label"]} == {"x": 4, "y": 8}
    for row in found.get("mistakes", ()):
        assert row["said"] not in row["gold"].split(", ")


def test_attention_pooling_shows_where_it_looks(tmp_path):
    task, model = classification(tmp_path, heads={"label": {"kind": "class", "pool": "attention"}})
    found = extras(task, model)["attention"]
    assert found
    for row in found:
        assert sum(row["weights"]) == pytest.approx(1, abs=1e-3) and len(row["weights"]) == len(row["tokens"]) > 2
    alone = model.head("label").pool
    text = task.examples.codec.encode(found[0]["tokens"])[None]
    lengths = torch.tensor([text.shape[1]])
    with torch.no_grad():
        weights = alone.attend(model.features(text, lengths), lengths)[0]
    assert found[0]["weights"] == pytest.approx(weights.tolist(), rel=1e-3)
    assert "attention" not in extras(*classification(tmp_path))


def test_padding_is_less_than_without_sorting(tmp_path):
    found = extras(*classification(tmp_path, rows=200))["padding"]
    assert 0 <= found["share"] < found["unsorted"] < 1


def test_a_short_text_is_whole_and_a_long_one_is_cut_around_its_strongest_words():
    tokens, weights = ["a", "b", "c"], [0.1, -2.0, 0.0]
    assert excerpt(tokens, weights, 2) == (tokens, weights, 2)
    assert excerpt([], []) == ([], [], None)
    tokens = [f"w{i}" for i in range(1000)]
    weights = [0.0] * 1000
    weights[500], weights[999] = -3.0, 2.0
    shown, values, place = excerpt(tokens, weights, at=100, most=15)
    assert place is not None and shown[place] == "w100"
    kept = [f"w{i}" for at in (100, 500, 999) for i in range(at - BESIDE, min(at + BESIDE + 1, 1000))]
    assert [word for word in shown if word != "…"] == kept
    assert [values[shown.index(word)] for word in ("w500", "w999", "…")] == [-3.0, 2.0, 0.0]
    assert shown[0] == "…" and shown.count("…") == 3
