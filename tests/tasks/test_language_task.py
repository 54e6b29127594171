"""The language task: what is counted, what the model starts from, which streams the batches carry."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ostinato.layers import DropConnect, Dropout, LockedDropout
from ostinato.models import score, score_documents
from ostinato.tasks import training
from ostinato.tasks.language import Corpus, LanguageJob, LanguageRecipe, LanguageTask, build, load, metrics
from ostinato.tasks.language.corpus import Text
from ostinato.train.recipe import RecipeError, override, validate
from tiny import sentences

CPU = torch.device("cpu")


def recipe(*overrides: str) -> LanguageRecipe:
    small = ("model.hidden=8", "data.batch=4", "data.steps=6")
    return validate(LanguageRecipe, override({}, (*small, *overrides)))


def task(path: Path, *overrides: str) -> LanguageTask:
    made = recipe(f"data.path={path}", *overrides)
    return LanguageTask(made, Corpus.read(made), CPU)


def numpy_nats(weights: dict[str, np.ndarray], ids: list[int]) -> list[float]:
    """-log p of every token but the first: one LSTM layer with a tied softmax, from the equations, in float64."""
    h = c = np.zeros(weights["body.parts.1.w_rec"].shape[1])
    nats = []
    for now, after in pairwise(ids):
        x = weights["embedding.weight"][now]
        pre = weights["body.parts.1.w_in.weight"] @ x + weights["body.parts.1.w_in.bias"]
        i, f, g, o = np.split(pre + weights["body.parts.1.w_rec"] @ h, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        logits = weights["embedding.weight"] @ h + weights["head.bias"]
        nats.append(float(np.log(np.exp(logits).sum()) - logits[after]))
    return nats


def nats_of_spaces(words: list[str]) -> float:
    """A space before each word but the first of a line is expected and comes; one before "." is not, and comes too.

    Sequences of m and n of two kinds, each coded by its share so far, cost ln (m + n)! / ((m - 1)! (n - 1)!), wherever
    they stand; the first of each kind is written out: a space in two bytes, nothing in one.
    """
    plain = sum(word not in (".", "<eos>") and before != "<eos>" for before, word in pairwise(words))
    points, rest = words[1:].count("."), len(words) - 1 - plain - words[1:].count(".")
    byte = math.log(256)
    surprise = math.lgamma(points + rest + 1) - math.lgamma(points) - math.lgamma(rest)
    return math.log(plain) + 2 * byte + surprise + 3 * byte


def test_the_perplexity_of_a_trained_run_is_numpys(trained: Path) -> None:
    model, made, tokenizer, _ = load(trained)
    weights = {name: w.double().numpy() for name, w in model.state_dict().items()}
    text = Path(str(made.data.path)).read_text()
    test = text[round(len(text) * 0.95) :]  # 0.90, 0.05, 0.05, in order
    words = test.replace("\n", " <eos> ").split()
    ids = [tokenizer.stoi[word] for word in words]
    assert ids == tokenizer.encode(test).tolist()
    nats = numpy_nats(weights, ids)
    found = json.loads((trained / "results.json").read_text())["metrics"]
    assert found["test/tokens"] == len(words) - 1
    assert found["test/perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    # Characters of what is scored: all but the first word's; the white space, which word tokens lose, is paid for.
    scored, whole = len(test) - len(words[0]), sum(nats) + nats_of_spaces(words)
    assert found["test/nats_per_char"] == pytest.approx(whole / scored, rel=1e-5)
    assert found["test/bits_per_char"] == pytest.approx(whole / math.log(2) / scored, rel=1e-5)
    assert found["test/bits_per_byte"] == found["test/bits_per_char"]  # it is ASCII


def test_figures_by_hand() -> None:
    figures = metrics("test", np.array([1.0, 2.0, 3.0]), Text(np.arange(4), characters=12, bytes=24))
    assert figures == {
        "test/perplexity": pytest.approx(math.exp(2)),
        "test/nats_per_token": 2.0,
        "test/nats_per_char": 0.5,
        "test/bits_per_char": pytest.approx(0.5 / math.log(2)),
        "test/bits_per_byte": pytest.approx(0.25 / math.log(2)),
        "test/unknown_share": 0.0,
        "test/tokens": 3.0,
    }
    lossy = metrics("test", np.array([1.0, 2.0, 3.0]), Text(np.arange(4), 12, 24, unknown=1, lost=6.0))
    assert lossy["test/perplexity"] == figures["test/perplexity"]
    assert (lossy["test/nats_per_char"], lossy["test/unknown_share"]) == (1.0, 1 / 3)


def test_a_hopeless_model_has_a_finite_perplexity() -> None:
    figures = metrics("test", np.array([1e6]), Text(np.arange(2), 1, 1))
    assert math.isfinite(figures["test/perplexity"])


@pytest.mark.parametrize(("kind", "first"), [("char", 1), ("word", 2), ("byte", 1)])
def test_characters_and_bytes_are_those_that_are_scored(tmp_path: Path, kind: str, first: int) -> None:
    line = "山水 有情,人 无情\n"
    (tmp_path / "text.txt").write_text(line * 40)
    made = recipe(f"data.path={tmp_path / 'text.txt'}", f"data.tokens={kind}", "data.fractions=[0.5, 0.25, 0.25]")
    corpus = Corpus.read(made)
    assert (corpus.raw.test, corpus.splits["test"].characters) == (line * 10, 10 * len(line) - first)
    if kind != "byte":  # whose first token is a third of a character
        assert corpus.splits["test"].bytes == len((line * 10).encode()) - 3 * first


def test_documents_are_scored_as_if_each_stood_alone(tmp_path: Path) -> None:
    lines = ["the cat sleeps .", "a b", "the old dog runs on the hill and on .", "x", "", "the end is near ."]
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    made = task(tmp_path, "data.rows=documents", "data.batch=3")
    assert made.batch_count() == 2
    torch.manual_seed(0)
    model = made.model().double().eval()
    total, items = 0.0, 0
    for batch in made.batches(0, 0, 0, 1):
        loss, _ = made.loss(model, batch, None)
        total, items = total + loss.item() * made.size(batch), items + made.size(batch)
    tokenizer = made.corpus.tokenizer
    ended = [f"\n{line}\n" for line in lines[:4]]
    rows = [tokenizer.encode(line) for line in (*ended, f"\n{lines[5]}")]
    alone = [score(model, torch.from_numpy(row)) for row in rows]
    assert items == sum(map(len, alone)) == sum(len(row) - 1 for row in rows)
    assert total / items == pytest.approx(float(torch.cat(alone).mean()), rel=1e-12)


@pytest.mark.parametrize("kind", ["word", "char", "byte"])
def test_documents_are_scored_as_they_are_trained(tmp_path: Path, kind: str) -> None:
    """Oracle: the whole text as one stream, with a reset where a line end is read."""
    (tmp_path / "text.txt").write_text("\n" + sentences(60) + "\n\nthe end")
    made = task(tmp_path / "text.txt", "data.rows=documents", f"data.tokens={kind}")
    model = made.model().double().eval()
    end = int(made.corpus.tokenizer.encode("\n")[0])
    for split in ("valid", "test"):
        ids = torch.from_numpy(made.corpus.splits[split].ids)
        with torch.no_grad():
            logits, _ = model(ids[None, :-1], None, None, ids[None, :-1] == end)
        want = torch.nn.functional.cross_entropy(logits[0], ids[1:], reduction="none")
        torch.testing.assert_close(score_documents(model, ids, end, batch=3), want, rtol=1e-12, atol=1e-12)
        found = made.evaluate(model, split)[f"{split}/nats_per_token"]
        assert found == pytest.approx(float(want.mean()), rel=1e-12)
        assert found != pytest.approx(float(score(model, ids).mean()), rel=1e-6)


def test_every_epoch_reads_every_document_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(sentences(60))
    made = task(tmp_path / "text.txt", "data.rows=documents")

    def read(epoch: int, start: int = 0) -> list[list[int]]:
        return [row.tolist() for b in made.batches(epoch, start, 0, 1) for row in b.targets]

    first, second = read(0), read(1)
    assert first != second
    assert sorted([t for t in row if t >= 0] for row in first) == sorted([t for t in row if t >= 0] for row in second)
    assert read(1, start=2) == second[2 * 4 :]  # resumed in mid-epoch


def test_streams_carry_the_state_and_a_new_epoch_does_not(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(sentences(30))
    made = task(tmp_path / "text.txt")
    torch.manual_seed(0)
    model = made.model().double().eval()
    state, nats = None, []
    for batch in made.batches(0, 0, 0, 1):
        loss, state = made.loss(model, batch, state)
        nats.append(loss.item() * made.size(batch))
    ids = made.ids
    length = (len(ids) - 1) // 4
    pieces = [ids[row * length : (row + 1) * length + 1] for row in range(4)]
    assert sum(nats) == pytest.approx(sum(float(score(model, piece).sum()) for piece in pieces), rel=1e-12)
    again = next(iter(made.batches(1, 0, 0, 1)))
    assert made.loss(model, again, state)[0].item() * made.size(again) == nats[0]


def test_a_quick_evaluation_reads_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(sentences(200))
    made = task(tmp_path / "text.txt", "data.valid_streams=3")
    model = made.model().double().eval()
    exact, quick = (made.evaluate(model, "valid", quick)["valid/nats_per_token"] for quick in (False, True))
    ids = torch.from_numpy(made.corpus.splits["valid"].ids)
    assert exact == pytest.approx(float(score(model, ids).mean()), rel=1e-12)
    assert quick == pytest.approx(float(score(model, ids, streams=3).mean()), rel=1e-12)
    assert quick != pytest.approx(exact, rel=1e-6)


def test_word_vectors_reach_the_embedding(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(sentences(60))
    words = {"cat": [0.5, -1.25, 3.0], "the": [1.0, 2.0, -0.5], "zebra": [9.0, 9.0, 9.0]}
    file = tmp_path / "glove.txt"
    file.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in words.items()))
    made = task(tmp_path / "text.txt", f"model.vectors={file}", "model.width=3", "model.tied=true")
    model, stoi = made.model(), made.corpus.tokenizer.stoi
    for word in ("cat", "the"):
        assert model.embedding.weight[stoi[word]].tolist() == words[word]
    assert model.head.weight is model.embedding.weight
    assert made.vectors == f"word vectors cover 2 of {len(stoi)} tokens ({2 / len(stoi):.1%})"
    with pytest.raises(RecipeError, match=r"glove\.txt has vectors of 3 numbers; set model\.width to that"):
        task(tmp_path / "text.txt", f"model.vectors={file}").model()


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ((), ["LSTM"]),
        (("model.layers=2", "model.cell=gru"), ["GRU", "GRU"]),
        (("model.cell=feedforward",), ["Pointwise"]),
        (("model.learned_state=true",), ["LearnedState"]),
        (("model.layers=3", "model.residual=true"), ["Residual", "Residual", "Residual"]),
        (("model.layers=2", "model.residual=true", "model.width=5"), ["LSTM", "Residual"]),
        (
            ("model.layers=2", "model.dropout.input=0.1", "model.dropout.between=0.2", "model.dropout.output=0.3"),
            ["LockedDropout", "LSTM", "LockedDropout", "LSTM"],
        ),
        (("model.dropout.output=0.3", "model.dropout.kind=plain"), ["LSTM"]),
        (("model.layers=2", "model.dropout.recurrent=0.5"), ["DropConnect", "DropConnect"]),
        (("model.dropout.recurrent=0.5", "model.learned_state=true"), ["LearnedState"]),
    ],
)
def test_the_model_is_what_the_recipe_says(tmp_path: Path, overrides: tuple[str, ...], names: list[str]) -> None:
    (tmp_path / "text.txt").write_text(sentences(20))
    made = task(tmp_path / "text.txt", *overrides)
    model = made.model()
    assert [type(part).__name__ for part in model.body.parts] == names  # type: ignore[union-attr]
    chances = [p.p for p in model.modules() if isinstance(p, Dropout | LockedDropout)]
    given = [o for o in overrides if o.startswith("model.dropout") and "kind" not in o and "recurrent" not in o]
    assert chances == [float(o.split("=")[1]) for o in given]
    weights = [p.p for p in model.modules() if isinstance(p, DropConnect)]
    assert weights == [0.5] * sum("recurrent" in o for o in overrides) * made.recipe.model.layers
    loss, _ = made.loss(model, next(iter(made.batches(0, 0, 0, 1))), None)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_initialisers_and_options_reach_the_cell(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(sentences(20))
    corpus = Corpus.read(recipe(f"data.path={tmp_path / 'text.txt'}"))
    chosen = recipe("model.cell=elman", "model.options.activation=relu", "model.initial.recurrent=orthogonal").model
    model, note = build(chosen, corpus.tokenizer)
    cell: Any = model.body.parts[0]  # type: ignore[union-attr]
    torch.testing.assert_close(cell.w_rec @ cell.w_rec.T, torch.eye(8), atol=1e-6, rtol=0)
    assert cell.recurrence.name == "elman_relu"
    assert note == ""
    forget, _ = build(recipe("model.initial.forget_bias=3").model, corpus.tokenizer)
    bias = forget.body.parts[0].w_in.bias  # type: ignore[union-attr]
    assert torch.equal(bias[8:16], torch.full((8,), 3.0))
    with pytest.raises(RecipeError, match=r"model\.options \{'forget': 1\} do not fit the cell lstm"):
        build(recipe("model.options.forget=1").model, corpus.tokenizer)


def test_a_text_too_short_is_told_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one two three four five six seven eight nine ten")
    with pytest.raises(RecipeError, match=r"the valid part of .*text\.txt needs two tokens or more and has 1; give"):
        task(path, "data.fractions=[0.7, 0.1, 0.2]")
    with pytest.raises(ValueError, match="40 streams need at least 41 tokens, but the text has 7"):
        task(path, "data.fractions=[0.6, 0.2, 0.2]", "data.batch=40").batch_count()
    with pytest.raises(RecipeError, match=r"recipe language needs a text \(any UTF-8 file\): add -o data\.path="):
        Corpus.read(recipe())


@pytest.mark.parametrize(("hardware", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_mixed_precision_where_the_hardware_has_it(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hardware: bool, dtype: str
) -> None:
    monkeypatch.setattr(training, "has_bfloat16_matmul", lambda: hardware)
    small = ["dtype=auto", f"data.path={str(text)!r}", "data.batch=4", "data.steps=8", "model.hidden=8"]
    quick = ["train.max_steps=2", "samples.tokens=0", "baselines.feedforward_epochs=0", "baselines.ngram_order=0"]
    recipe = validate(LanguageRecipe, override({}, small + quick))
    events: list[dict[str, Any]] = []
    results = training.train(LanguageJob(), recipe, tmp_path / "run", events.append)
    assert next(e for e in events if e["event"] == "start")["dtype"] == dtype
    assert f'dtype = "{dtype}"' in results["recipe"]
