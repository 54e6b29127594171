"""The translation task: what is read, in which batches, how it is judged, and that rows are independent."""

import random
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ostinato.data.buckets import fitted
from ostinato.models.seq2seq import GoldShare, Seq2Seq
from ostinato.tasks.translation import Codec, Pairs, TranslationRecipe, TranslationTask, Translator
from ostinato.tasks.translation.baselines import without_attention
from ostinato.tasks.translation.extras import bins, extras, length_curve, padding
from ostinato.tasks.translation.recipe import PairData
from ostinato.train.loop import Trainer, evaluate
from ostinato.train.recipe import RecipeError, override, validate
from small_pairs import TINY, parallel

CPU = torch.device("cpu")


def recipe(*overrides: str) -> TranslationRecipe:
    return validate(TranslationRecipe, override({}, (*TINY, *overrides)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parallel(tmp_path_factory.mktemp("translation") / "pairs", train=60, valid=10, test=45)


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Pairs:
    return Pairs.read(recipe(f"data.path={folder}"))


def task(pairs: Pairs, *overrides: str) -> TranslationTask:
    return TranslationTask(recipe(*overrides), pairs, CPU)


@pytest.mark.parametrize(
    "kinds",
    [("tokens=bpe", "joint=true"), ("tokens=bpe", "joint=false"), ("tokens=char", "target_tokens=word", "joint=false")],
)
def test_text_comes_back_from_its_numbers(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    lines = ["Ein  Hund,  grün.", "小狗\u3000在 跑。", "«Ça?» don't"]
    data = validate(TranslationRecipe, override({}, [f"data.{kind}" for kind in kinds] + ["model.shared=false"])).data
    codec = Codec.train(data, lines, lines)
    codec.save(tmp_path / "tokenizer.json")
    again = Codec.load(tmp_path / "tokenizer.json")
    rows = codec.wanted(lines)
    assert [row.tolist() for row in again.wanted(lines)] == [row.tolist() for row in rows]
    assert [row.tolist() for row in again.read(lines)] == [row.tolist() for row in codec.read(lines)]
    assert all(row[0] == row[-1] == codec.boundary == codec.targets - 1 for row in rows)
    assert [again.written(row[1:-1].tolist()) for row in rows[:1]] == ["Ein Hund, grün."]
    if "target_tokens=word" not in kinds:
        assert [again.written(row[1:-1].tolist()) for row in rows] == [" ".join(line.split()) for line in lines]
    alone = [codec.read([line])[0].tolist() for line in lines]
    assert alone == [row.tolist() for row in codec.read(lines)]
    assert codec.read([""])[0].tolist() == [codec.sources - 1]


def test_the_first_word_is_the_entry_it_is_elsewhere() -> None:
    codec = Codec.train(PairData(max_size=300), ["dog and dog and dog"] * 9, ["dog"] * 9)
    (row,) = codec.read(["dog and dog"])
    assert row[0] == row[-2] and len(row) == 4
    assert codec.pieces(row.tolist(), "source") == ["dog", "and", "dog", "</s>"]
    # A byte alone may be no text, and a control character would break a picture.
    assert codec.pieces(codec.read(["\x01é"])[0].tolist(), "source") == ["␣", "\\x01", "é…", "…é", "</s>"]


def test_pieces_of_characters_can_be_read() -> None:
    codec = Codec.train(PairData(max_size=262), ["小狗"] * 9, ["小狗"] * 9)

    def shown(text: str) -> list[str]:
        return codec.pieces(codec.read([text])[0].tolist(), "source")

    assert shown("小狗") == ["小狗", "</s>"]  # all of its bytes are one entry
    assert shown("小猫。") == ["小", "猫…", "…猫…", "…猫", "。…", "…。…", "…。", "</s>"]
    assert shown("für") == ["␣", "f", "ü…", "…ü", "r", "</s>"]
    _, first, second, end = codec.read(["ü"])[0].tolist()
    written = [first, first, second, end]  # a model may write bytes that are no character
    assert codec.pieces(written, "target") == ["\\xc3", "ü…", "…ü", "</s>"]
    # Each sign ends in the byte 80 and begins with E4: these two are the first entry that is made.
    codec = Codec.train(PairData(max_size=257), ["一伀一倀伀"] * 9, ["."])
    assert shown("一伀") == ["␣", "一…", "…一…", "…一伀…", "…伀…", "…伀", "</s>"]


def test_lower_folds_the_source_alone() -> None:
    codec = Codec.train(PairData(max_size=300, lower=True), ["Dog"], ["Dog"])
    upper, lower = codec.read(["DOG", "dog"])
    assert upper.tolist() == lower.tolist()
    assert codec.written(codec.wanted(["Dog"])[0][1:-1].tolist()) == "Dog"


@pytest.mark.parametrize("limit", [(), ("data.batch_tokens=120",)])
def test_every_epoch_has_each_pair_once_in_as_many_batches(pairs: Pairs, limit: tuple[str, ...]) -> None:
    made = task(pairs, "data.batch=16", *limit)
    train = pairs.parts["train"]
    wanted = sorted(row.tolist() for row in train.target)
    orders = []
    for epoch in range(6):
        batches = list(made.batches(epoch, 0, 0, 1))
        assert len(batches) == made.batch_count()
        assert [batch.step for batch in batches] == [epoch * len(batches) + i for i in range(len(batches))]
        rows = [row[:n].tolist() for b in batches for row, n in zip(b.target, b.lengths, strict=True)]
        assert sorted(rows) == wanted
        orders.append(rows)
        assert sum(made.size(batch) for batch in batches) == train.scored
        late = list(made.batches(epoch, 2, 0, 1))
        assert [b.target.tolist() for b in late] == [b.target.tolist() for b in batches[2:]]
    assert all(a != b for a, b in pairwise(orders))


def test_batches_are_joined_and_halved_to_a_number() -> None:
    batches = [torch.arange(0, 4), torch.arange(4, 5), torch.arange(5, 7), torch.arange(7, 10)]
    for count in (1, 3, 4, 6, 10):
        made = fitted(batches, [1] * 10, count)
        assert len(made) == count and min(map(len, made)) > 0
        assert sorted(torch.cat(made).tolist()) == list(range(10))
    assert fitted(batches, [1] * 10, 3)[1].tolist() == [5, 6, 4]  # the smallest two


def test_long_pairs_are_left_out_of_training_and_told(folder: Path) -> None:
    every = Pairs.read(recipe(f"data.path={folder}"))
    fewer = Pairs.read(recipe(f"data.path={folder}", "data.max_length=8"))
    short = [s for s, t in zip(every.parts["train"].source, every.parts["train"].target, strict=True)
             if len(s) <= 9 and len(t) <= 10]  # fmt: skip
    assert 0 < len(short) < 60
    assert [row.tolist() for row in fewer.parts["train"].source] == [row.tolist() for row in short]
    assert len(fewer.parts["test"]) == 45 and fewer.long == 60 - len(short)
    assert any(f"{fewer.long} pairs" in doubt for doubt in fewer.doubts())
    with pytest.raises(RecipeError, match=r"data\.max_length = 1 tokens; raise it"):
        Pairs.read(recipe(f"data.path={folder}", "data.max_length=1"))


@pytest.mark.parametrize(
    "how",
    [
        (),
        ("model.attention=additive", "model.feeding=false", "model.encoder.cell=gru", "model.decoder.cell=gru"),
        ("model.attention=none", "model.feeding=false", "model.context=true", "model.decoder.layers=2"),
    ],
)
def test_a_row_among_others_gets_what_it_gets_alone(pairs: Pairs, how: tuple[str, ...]) -> None:
    torch.manual_seed(3)
    model = task(pairs, *how).model().double().eval()
    made = recipe(*how)
    texts = pairs.parts["test"].sources[:12]
    together = Translator(model, made, pairs.codec).predict(texts, n_best=3)
    small = made.model_copy(update={"data": made.data.model_copy(update={"batch_valid": 5})})
    order = list(reversed(range(len(texts))))
    shuffled = Translator(model, small, pairs.codec).predict([texts[i] for i in order], n_best=3)
    for i, text in enumerate(texts):
        alone = Translator(model, made, pairs.codec).predict([text], n_best=3)[0]
        for other in (together[i], shuffled[order.index(i)]):
            assert [one["translation"] for one in other["n_best"]] == [one["translation"] for one in alone["n_best"]]
            scores = [one["score"] for one in alone["n_best"]]
            assert [one["score"] for one in other["n_best"]] == pytest.approx(scores, rel=1e-9)
            assert scores == sorted(scores, reverse=True)
            assert (other["translation"], other["score"]) == (
                other["n_best"][0]["translation"],
                other["n_best"][0]["score"],
            )


def test_nats_per_token_are_those_of_each_pair_alone(pairs: Pairs) -> None:
    made = task(pairs, "model.smoothing=0.1", "model.dropout=0.5", "data.batch_valid=4")
    torch.manual_seed(0)
    model = made.model().double()
    found = evaluate(made, model, "valid")["valid/nats_per_token"]
    model.eval()
    part, nats = pairs.parts["valid"], []
    with torch.no_grad():
        for source, target in zip(part.source, part.target, strict=True):
            logits = model(source[None], target[None, :-1])
            nats += torch.nn.functional.cross_entropy(logits[0], target[1:], reduction="none").tolist()
    assert found == pytest.approx(sum(nats) / len(nats), rel=1e-9)


def test_below_a_bleu_of_one_the_likelihood_decides(pairs: Pairs) -> None:
    """A chance n-gram of weak weights is beaten by what has learnt, and any real BLEU by a higher one."""
    grown = [(0.19, 4.4), (0.0, 3.1), (0.0, 2.4), (1.2, 2.5), (7.0, 2.6)]  # BLEU, nats a token
    worth = [task(pairs).worth({"valid/bleu": b, "valid/nats_per_token": n}) for b, n in grown]
    assert worth == sorted(worth)
    assert len(set(worth)) == len(worth)


def test_scheduled_sampling_goes_by_the_step_of_the_training(pairs: Pairs) -> None:
    made = task(pairs, "model.sampling.kind=linear", "model.sampling.k=10", "model.sampling.floor=0.25")
    seen: list[float] = []
    model = made.model()
    model.loss = lambda *args, gold: seen.append(gold) or torch.zeros(())  # type: ignore[method-assign, func-returns-value]
    for epoch in range(2):
        for batch in made.batches(epoch, 0, 0, 1):
            made.loss(model, batch, None)
    share = GoldShare("linear", 10.0, 0.25)
    assert seen == [share(i) for i in range(2 * made.batch_count())]
    assert seen[0] == 1.0 and seen[-1] == 0.25


def test_a_small_file_is_learnt_by_heart(folder: Path) -> None:
    """And the figures that the report shows are of the right kind."""
    own = recipe(f"data.path={folder}", "train.epochs=30", "train.optimiser.lr=0.01", "train.clip_norm=1",
                 "data.max_size=400", "model.width=32", "model.encoder.hidden=24", "model.decoder.hidden=32",
                 "model.initial.input=xavier", "train.evaluate_epochs=15")  # fmt: skip
    pairs = Pairs.read(own)
    part = pairs.parts["train"]
    heart = Pairs(pairs.codec, {**pairs.parts, "valid": part, "test": part}, 0)
    made = TranslationTask(own, heart, CPU)
    model, _ = Trainer(made, own.train, None, 0, CPU, "float32", lambda event: None).run()
    figures = evaluate(made, model, "test")
    assert figures["test/bleu"] > 95 and figures["test/chrf"] > 95 and figures["test/nats_per_token"] < 0.1
    assert all("|version:2." in note for note in made.notes()) and len(made.notes()) == 2
    assert isinstance(model, Seq2Seq)
    shown = extras(made, model.eval())
    picture = shown["attention"][0]
    assert [len(row) for row in picture["weights"]] == [len(picture["source"])] * len(picture["target"])
    assert all(sum(row) == pytest.approx(1, abs=0.01) for row in picture["weights"])
    assert sum(row["count"] for row in shown["lengths"]["rows"]) == len(part)
    assert all(row["values"]["this model"] > 90 for row in shown["lengths"]["rows"])
    right = [one["translation"] == one["reference"] for one in shown["translations"]]
    assert len(right) == 8 and sum(right) >= 7


def test_lengths_are_cut_into_ranges_that_hold_each_once() -> None:
    draw = random.Random(1)
    sizes = [draw.choice([3, 4, 5, 5, 5, 9, 20]) for _ in range(200)]
    edges = bins(sizes)
    counts = [sum(first <= size <= last for size in sizes) for first, last in edges]
    assert sum(counts) == 200 and min(counts) >= 20
    assert all(a[1] < b[0] for a, b in pairwise(edges))
    assert bins([7, 7]) == [(7, 7)]


def test_the_length_curve_scores_each_model_on_the_same_sentences(pairs: Pairs) -> None:
    test = pairs.parts["test"]
    said = {"this model": test.references, "without attention": ["nothing at all"] * len(test)}
    rows = length_curve(test, said, "13a")["rows"]
    assert all(row["values"] == {"this model": pytest.approx(100), "without attention": 0} for row in rows)
    assert rows[0]["from"] == min(len(row) - 1 for row in test.source)


def test_padding_is_less_where_rows_are_sorted(pairs: Pairs) -> None:
    found = padding(recipe(), pairs)
    assert 0 <= found["share"] < found["unsorted"] < 1


def test_the_model_without_attention_gets_one_vector(pairs: Pairs) -> None:
    own = without_attention(recipe("baselines.without_attention_epochs=2", "train.max_steps=5"))
    model = TranslationTask(own, pairs, CPU).model()
    assert model.decoder.attention is None and model.summary is not None
    assert (own.train.epochs, own.train.max_steps) == (2, None)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("data.target_tokens=char",), "set data.joint = false"),
        (("data.joint=false",), "model.shared needs one vocabulary"),
        (("model.tied=false",), "model.shared goes with model.tied"),
        (("model.context=true",), "it goes with model.attention = none"),
        (("model.decoder.bidirectional=true",), "the decoder writes word by word"),
        (("model.attention=generl",), "did you mean general"),
        (("search.bleu=14a",), "no sacrebleu tokeniser is called '14a'"),
        (("model.sampling.kind=linear", "model.sampling.k=0",), "greater than 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(wrong: tuple[str, ...], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe(*wrong)
