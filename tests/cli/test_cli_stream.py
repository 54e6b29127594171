"""`ostinato stream`: figures as evaluation gives them, at any cut of the stream. Oracle: `score`, on the whole text."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ostinato.kernels.cpu.runtime.cpu_features import has_avx512_bf16
from ostinato.models import score, score_documents
from ostinato.tasks.language import load
from tiny import NO_BASELINES, SMALL, Command, Said, options, sentences


def piped(cli: Command, monkeypatch: pytest.MonkeyPatch, text: bytes, *words: object) -> Said:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    return cli("stream", *words)


def rows(said: Said) -> list[dict[str, str]]:
    heading, *lines = said.out.splitlines()
    return [dict(zip(heading.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_lines_cost_what_evaluation_says(cli: Command, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = sentences(20, seed=7)
    found = rows(piped(cli, monkeypatch, text.encode(), trained))
    assert [row["text"] for row in found] == text.splitlines()
    assert all(row["unknown"] == "0" for row in found)
    bits = sum(float(row["bits_per_char"]) * (len(row["text"]) + 1) for row in found)
    model, _, tokenizer, _ = load(trained)
    ids = tokenizer.encode("\n" + text)
    want = float(score(model, torch.from_numpy(ids)).sum()) / math.log(2)
    assert bits == pytest.approx(want, rel=1e-4)
    assert sum(int(row["tokens"]) for row in found) == len(ids) - 1


def test_a_model_of_documents_begins_each_line_anew(
    cli: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    small = (*SMALL, *NO_BASELINES, "data.rows=documents", "train.max_steps=10")
    assert cli("train", "language", "--text", text, "--run", run, *options(*small)).code == 0
    lines = sentences(3, seed=5)
    found = rows(piped(cli, monkeypatch, lines.encode(), run))
    model, _, tokenizer, _ = load(run)
    ids = torch.from_numpy(tokenizer.encode("\n" + lines))
    want = float(score_documents(model, ids, int(ids[0])).sum()) / math.log(2)
    bits = sum(float(row["bits_per_char"]) * (len(row["text"]) + 1) for row in found)
    assert bits == pytest.approx(want, rel=1e-4)
    again = rows(piped(cli, monkeypatch, lines.encode() * 2, run))
    assert again[:3] == again[3:]


def test_tokens_and_their_guesses(cli: Command, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = piped(cli, monkeypatch, b"the big cat\n", trained, "--tokens", "--top", 2, "--json")
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [row["token"] for row in found] == ["the", "big", "cat", "<eos>"]
    for row in found:
        assert [len(row["guesses"]), len(row["guesses"][0])] == [2, 2]
        assert row["guesses"][0][1] >= row["guesses"][1][1] > 0
        for name, p in row["guesses"]:
            if name == row["token"]:
                assert row["bits"] == pytest.approx(-math.log2(p), rel=1e-6)


def test_a_stream_cut_in_two_goes_on(
    cli: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = sentences(6, seed=3).encode()
    half = text.index(b"\n", len(text) // 2) + 1
    whole = rows(piped(cli, monkeypatch, text, trained))
    state = tmp_path / "state.safetensors"
    parts = [rows(piped(cli, monkeypatch, part, trained, "--state", state)) for part in (text[:half], text[half:])]
    assert parts[0] + parts[1] == whole


def test_odd_bytes_and_lines(cli: Command, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"the \xff cat\r\n\nthe\tbig " + b"cat " * 40_000 + "字".encode()
    said = piped(cli, monkeypatch, text, trained)
    found = rows(said)
    assert said.code == 0
    assert [found[0]["text"], found[0]["unknown"], found[1]["text"]] == ["the \ufffd cat", "1", ""]
    assert found[2]["text"].startswith("the\\tbig cat")
    assert len(found) == 5  # 160 kB in three pieces
    assert found[-1]["text"].endswith("字")


def test_rounded_weights_cost_little(
    cli: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, state = sentences(6, seed=3).encode(), tmp_path / "state.safetensors"
    rounded = ("--weights", "bfloat16", "--state", state)
    if not has_avx512_bf16():
        said = piped(cli, monkeypatch, text, trained, *rounded)
        assert (said.code, said.out) == (2, "") and "AVX512-BF16" in said.err
        return
    want, found = (rows(piped(cli, monkeypatch, text, trained, *words)) for words in ((), rounded))
    pairs = [(float(a["bits_per_char"]), float(b["bits_per_char"])) for a, b in zip(found, want, strict=True)]
    assert all(a == pytest.approx(b, abs=0.05) for a, b in pairs) and any(a != b for a, b in pairs)
    said = piped(cli, monkeypatch, text, trained, "--state", state)
    assert said.code == 2 and "was read with weights of bfloat16" in said.err


def test_no_other_weights_are_there(cli: Command, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = piped(cli, monkeypatch, b"the\n", trained, "--weights", "int8")
    assert (said.code, said.out) == (2, "") and "weights must be None" in said.err and "'int8'" in said.err


def test_nothing_comes_of_nothing(cli: Command, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert piped(cli, monkeypatch, b"", trained) == Said(0, "", "")


@pytest.mark.parametrize("state", ["pickle", "other"])
def test_a_state_that_does_not_fit(
    cli: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    path = trained / "model.safetensors"
    if state == "pickle":
        path = tmp_path / "state.pt"
        path.write_bytes(b"\x80\x04 no")
    before = path.read_bytes()
    said = piped(cli, monkeypatch, b"the\n", trained, "--state", path)
    assert said.code == 2
    assert said.err.startswith("ostinato: ")
    assert ("pickle" if state == "pickle" else "not a saved session") in said.err
    assert path.read_bytes() == before


def test_answers_come_while_the_stream_is_open(trained: Path) -> None:
    command = [sys.executable, "-m", "ostinato", "stream", str(trained)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"the big cat\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"bits_per_char")
        assert process.stdout.readline().endswith(b"\tthe big cat\n")
        process.stdin.close()
        assert process.wait() == 0
