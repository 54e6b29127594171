"""`ostinato predict`: formats in and out, streams, n-best, bad rows. Oracle: `ostinato.load(run).predict`."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ostinato
from ostinato.tasks.labelling.use import LabellingPredictor
from ostinato.tasks.predictor import CHUNK
from tiny import Command, options
from tiny_rows import LEARNT, questions, sentences, write_conll, write_tsv

CODE = """
import resource, sys
import torch
torch.set_num_threads(1)
from ostinato.kernels import dispatch
dispatch.PREFERENCE["cpu"] = ("aten",)
from ostinato.cli import main
sys.argv[0] = "ostinato"
try:
    main()
finally:
    sys.stderr.write(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\\n")
"""
TEXTS = ["who did it", "where the big dog", "when"]
WORDS = [["Grace", "Hopper", "calls", "Rome"], ["Ada", "goes", "Paris"]]


@pytest.fixture(scope="module")
def asked(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier."""
    folder = tmp_path_factory.mktemp("asked")
    path = write_tsv(folder / "rows.tsv", questions(60))
    changes = options(*LEARNT, "train.epochs=6", "baselines.majority=false", f"data.path={path}")
    assert cli("train", "classification", "--run", folder / "run", *changes).code == 0
    return folder / "run"


@pytest.fixture(scope="module")
def tagger(cli: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger with a CRF."""
    folder = tmp_path_factory.mktemp("tagger")
    path = write_conll(folder / "rows.conll", sentences(50))
    plain = ("model.characters.kind=none", "baselines.majority=false", "baselines.hmm=false")
    changes = options(*LEARNT, *plain, f"data.path={path}")
    assert cli("train", "tagging", "--run", folder / "run", *changes).code == 0
    return folder / "run"


def table(out: str) -> list[dict[str, str]]:
    heading, *rows = [line.split("\t") for line in out.splitlines() if line]
    return [dict(zip(heading, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.txt", "\n".join(TEXTS)),
        ("rows.csv", 'id,text\n1,who did it\n2,"where the big dog"\n3,when\n'),
        ("rows.tsv", "text\tid\nwho did it\t1\nwhere the big dog\t2\nwhen\t3\n"),
        ("rows.jsonl", "".join(json.dumps({"text": text, "id": 7}) + "\n" for text in TEXTS)),
        ("rows.dat", "\n".join(TEXTS) + "\n"),
    ],
)
def test_every_format_is_answered_in_tsv_and_jsonl(
    cli: Command, asked: Path, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    wanted = ostinato.load(asked).predict(TEXTS)
    said = cli("predict", asked, tmp_path / name, "--json")
    assert said.code == 0, said.err
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {"text": text, **answer} for text, answer in zip(TEXTS, wanted, strict=True)
    ]
    rows = table(cli("predict", asked, tmp_path / name).out)
    assert [(row["text"], row["label"]) for row in rows] == [
        (text, answer["label"]) for text, answer in zip(TEXTS, wanted, strict=True)
    ]
    assert [float(row["confidence"]) for row in rows] == pytest.approx([a["confidence"] for a in wanted], abs=1e-4)


def test_n_best_classes_are_all_and_their_probabilities_sum_to_one(cli: Command, asked: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("\n".join(TEXTS))
    said = cli("predict", asked, tmp_path / "rows.txt", "--json", "--n-best", 9)
    for line in said.out.splitlines():
        answer = json.loads(line)
        sure = [one["confidence"] for one in answer["n_best"]]
        assert sorted(one["label"] for one in answer["n_best"]) == ["person", "place", "time"]
        assert sum(sure) == pytest.approx(1, abs=1e-9)
        assert sure == sorted(sure, reverse=True)
        assert (answer["label"], answer["confidence"]) == (answer["n_best"][0]["label"], sure[0])
    row = table(cli("predict", asked, tmp_path / "rows.txt", "--n-best", 2).out)[0]
    assert json.loads(row["n_best"])[0][0] == row["label"]
    assert len(json.loads(row["n_best"])) == 2


@pytest.mark.parametrize("name", ["rows.conll", "rows.txt", "rows.jsonl"])
def test_a_tagger_reads_columns_lines_and_lists(cli: Command, tagger: Path, tmp_path: Path, name: str) -> None:
    content = {
        "rows.conll": "".join("".join(f"{word} O\n" for word in words) + "\n" for words in WORDS),
        "rows.txt": "".join(" ".join(words) + "\n" for words in WORDS),
        "rows.jsonl": "".join(json.dumps({"words": words}) + "\n" for words in WORDS),
    }
    (tmp_path / name).write_text(content[name])
    wanted = ostinato.load(tagger).predict(WORDS)
    assert [answer["tags"] for answer in wanted] == [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "O", "B-LOC"]]
    said = cli("predict", tagger, tmp_path / name)
    assert said.code == 0, said.err
    assert said.out.startswith("token\ttag\tconfidence\nGrace\tB-PER\t")
    assert said.out.count("\n\n") == len(WORDS)  # a blank line behind each sentence
    assert [(row["token"], row["tag"]) for row in table(said.out)] == [
        pair for words, answer in zip(WORDS, wanted, strict=True) for pair in zip(words, answer["tags"], strict=True)
    ]
    rows = [json.loads(line) for line in cli("predict", tagger, tmp_path / name, "--json").out.splitlines()]
    assert [{k: v for k, v in row.items() if k != "text"} for row in rows] == wanted
    assert all(0 < p <= 1 for row in rows for p in row["confidence"])


def test_each_of_the_n_best_sequences_has_one_probability(tagger: Path) -> None:
    """Oracle: all sequences together. A tag's own probability is the sum over those that have it there."""
    (answer,) = ostinato.load(tagger).predict([WORDS[1]], n_best=5**3)
    every = answer["n_best"]
    sure = [one["confidence"] for one in every]
    assert sum(sure) == pytest.approx(1, abs=1e-5)
    assert sure == sorted(sure, reverse=True)
    assert every[0]["tags"] == answer["tags"] and every[0]["spans"] == answer["spans"]
    for t, (tag, p) in enumerate(zip(answer["tags"], answer["confidence"], strict=True)):
        assert p == pytest.approx(sum(one["confidence"] for one in every if one["tags"][t] == tag), abs=1e-5)


def test_n_best_sequences_are_a_row_each(cli: Command, tagger: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("".join(" ".join(words) + "\n" for words in WORDS))
    answers = ostinato.load(tagger).predict(WORDS, n_best=3)
    wanted = [
        (str(rank), " ".join(one["tags"]), f"{one['confidence']:.4f}", " ".join(words))
        for words, answer in zip(WORDS, answers, strict=True)
        for rank, one in enumerate(answer["n_best"], start=1)
    ]
    rows = table(cli("predict", tagger, path, "--n-best", 3).out)
    assert [(row["rank"], row["tags"], row["confidence"], row["text"]) for row in rows] == wanted
    said = [json.loads(line) for line in cli("predict", tagger, path, "--json", "--n-best", 3).out.splitlines()]
    assert [row["n_best"] for row in said] == [answer["n_best"] for answer in answers]


def test_a_broken_row_in_the_middle_ends_it_behind_the_rows_before(cli: Command, asked: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = [json.dumps({"text": text}) for text in TEXTS]
    path.write_text("\n".join([*good, '{"text": "who', good[0], '{"text": " "}', '{"txt": "who"}']) + "\n")
    said = cli("predict", asked, path)
    assert said.code == 2
    assert [row["text"] for row in table(said.out)] == TEXTS
    assert said.err.startswith(f"ostinato: {path}, line 4: the row is no JSON")
    done = cli("predict", asked, path, "--skip-bad-rows")
    assert done.code == 0
    assert [row["text"] for row in table(done.out)] == [*TEXTS, TEXTS[0]]
    assert done.err.startswith(f"3 bad rows were left out:\n  {path}, line 4: ")
    assert f"{path}, line 6: " in done.err
    assert f"{path}, line 7: " in done.err


def test_a_stream_holds_a_few_hundred_texts(asked: Path) -> None:
    taken = []
    texts = (taken.append(i) or TEXTS[i % 3] for i in range(2 * CHUNK + 3))
    model = ostinato.load(asked)
    answers = model.stream(texts)
    first = next(answers)
    assert len(taken) == CHUNK
    assert [text for text, _ in (first, *answers)] == [TEXTS[i % 3] for i in range(2 * CHUNK + 3)]


def test_a_row_is_judged_once(cli: Command, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To judge is to cut, and for a translator to encode: an answer does it once more and no oftener."""
    judged = []
    refuses = LabellingPredictor.refuses
    monkeypatch.setattr(LabellingPredictor, "refuses", lambda self, text: judged.append(text) or refuses(self, text))
    (tmp_path / "rows.txt").write_text("\n".join(TEXTS))
    assert cli("predict", asked, tmp_path / "rows.txt").code == 0
    assert judged == TEXTS
    ostinato.load(asked).predict(TEXTS)
    assert judged == TEXTS * 2


def test_an_empty_token_is_told_with_its_place(cli: Command, tagger: Path, tmp_path: Path) -> None:
    model = ostinato.load(tagger)
    with pytest.raises(ValueError, match=r"text 2 .* has an empty token at place 2 of its list; leave it out"):
        model.predict([["Ada"], ["Ada", "", "Rome"]])
    with pytest.raises(ValueError, match=r"text 1 .* has a int at place 2 of its list; each must be a str"):
        model.predict([["Ada", 3]])  # type: ignore[list-item]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"words": ["Ada"]}) + "\n" + json.dumps({"words": ["", "goes"]}) + "\n")
    said = cli("predict", tagger, path)
    assert said.code == 2 and said.out.startswith("token\ttag\tconfidence\nAda\t")
    assert said.err == f"ostinato: {path}, line 2: the text has an empty token at place 1 of its list; leave it out\n"


def test_what_cannot_be_read_is_told(cli: Command, asked: Path, tagger: Path, tmp_path: Path) -> None:
    def refused(*words: object) -> str:
        said = cli("predict", *words)
        assert (said.code, said.out) == (2, ""), said
        assert said.err.count("\n") == 1
        return said.err

    rows = tmp_path / "rows.csv"
    rows.write_text("id,texts\n1,who\n2,when\n")
    assert "gone.txt" in refused(asked, tmp_path / "gone.txt")
    assert f"{rows}, line 2: no column is called 'text'; did you mean texts?" in refused(asked, rows)
    assert "no column is called 'body'" in refused(asked, rows, "--column", "body")
    assert [row["text"] for row in table(cli("predict", asked, rows, "--column", "texts").out)] == ["who", "when"]
    assert "no format is called 'cvs'; did you mean csv?" in refused(asked, rows, "--format", "cvs")
    (tmp_path / "noise.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\xff\xfe" * 99)
    assert f"{tmp_path / 'noise.txt'}, line 1: " in refused(asked, tmp_path / "noise.txt")
    (tmp_path / "long.txt").write_bytes(b"who " * 2_500_000)
    assert "line 1: the line is longer than 1,048,576 bytes" in refused(asked, tmp_path / "long.txt")
    assert "no run folder is called" in refused(tmp_path / "norun", rows)
    (tmp_path / "empty.txt").write_bytes(b"")
    assert cli("predict", asked, tmp_path / "empty.txt") == (0, "", "")
    with pytest.raises(ValueError, match=r"takes a list of texts, and got one text; write predict\(\[text\]\)"):
        ostinato.load(asked).predict("who")
    with pytest.raises(ValueError, match=r"text 2 \('\s+'\) has no token; leave it out"):
        ostinato.load(asked).predict(["who", " "])
    for texts in (None, 3, {"who": "did it"}):
        with pytest.raises(ValueError, match=f"takes a list of texts, and got a {type(texts).__name__}"):
            ostinato.load(asked).predict(texts)  # type: ignore[arg-type]
    for n in (0, -1, 2.5, "3", True):
        with pytest.raises(ValueError, match="n_best is how many answers are wanted, a whole number from 1 on, and is"):
            ostinato.load(asked).predict(["who"], n_best=n)  # type: ignore[arg-type]
    assert ostinato.load(asked).predict([]) == []


def test_a_softmax_tagger_says_that_it_has_no_n_best(cli: Command, tmp_path: Path) -> None:
    path = write_conll(tmp_path / "rows.conll", sentences(30))
    plain = ("model.characters.kind=none", "baselines.majority=false", "baselines.hmm=false", "train.max_steps=2")
    changes = options(*LEARNT, *plain, "heads.tags.crf=false", f"data.path={path}")
    assert cli("train", "tagging", "--run", tmp_path / "run", *changes).code == 0
    said = cli("predict", tmp_path / "run", path, "--n-best", 2)
    assert (said.code, said.out) == (2, "")
    assert "n-best sequences of tags need a CRF" in said.err
    assert cli("predict", tmp_path / "run", path).code == 0


def test_standard_input_is_answered_as_it_comes_and_in_constant_memory(asked: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", CODE, "predict", str(asked)]
    pipe = subprocess.PIPE
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdin and process.stdout and process.stderr
        for text in TEXTS:  # the input has not ended: each line is answered before the next one is written
            process.stdin.write(text + "\n")
            process.stdin.flush()
            if text == TEXTS[0]:
                heading = process.stdout.readline()
                assert heading == "label\tconfidence\ttext\n", heading or process.stderr.read()
            assert process.stdout.readline().endswith(f"\t{text}\n")
        process.stdin.close()
        assert process.stdout.read() == ""
        few = int(process.stderr.read().split()[-1])
        assert process.wait() == 0
    many = "".join(f"{TEXTS[i % 3]} {i}\n" for i in range(50_000))
    done = subprocess.run(command, input=many, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.rpartition("\t")[2] for line in lines[1:]] == many.splitlines()
    assert int(done.stderr.split()[-1]) < few + 60_000  # kilobytes


def test_standard_input_without_a_descriptor_is_read(
    cli: Command, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(TEXTS).encode())))
    said = cli("predict", asked)
    assert [row["text"] for row in table(said.out)] == TEXTS
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "who"}\n')))
    assert json.loads(cli("predict", asked, "-", "--format", "jsonl", "--json").out)["text"] == "who"


def test_evaluate_tells_what_it_left_out_and_what_it_counts_as_missed(
    asked: Path, cli: Command, tmp_path: Path
) -> None:
    path = write_tsv(tmp_path / "rows.tsv", [*questions(20, seed=1), ("why did it", "cause")])
    with path.open("a") as file:
        file.write("one field\n")
    said = cli("evaluate", asked, "--skip-bad-rows", "--json", *options(f"data.path={path}"))
    assert said.code == 0 and json.loads(said.out)["test/accuracy"] == pytest.approx(20 / 21)
    told = said.err.replace("\n", "")
    assert f"note: 1 bad row was left out of the test part ({path}, line 23: 2 fields were expected, got 1" in told
    assert "note: 1 answer of label in the test part that training never saw counts as missed (cause)" in told


def test_a_reader_that_has_enough_is_no_failure(asked: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("who did it, and where, and when was that\n" * 4000)  # more than a pipe holds
    command = [sys.executable, "-c", CODE, "predict", str(asked), str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"label\t")
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait() == 0 and error.startswith(b"peak "), error
