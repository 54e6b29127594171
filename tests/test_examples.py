"""The examples run, on small files of the same format as the data they are for."""

import gzip
import json
import random
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from runpy import run_path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ostinato import data

SCRIPT = Path(__file__).parents[1] / "examples" / "imdb_sentiment.py"
GOOD, BAD = ["wonderful", "superb", "moving", "brilliant"], ["dreadful", "boring", "clumsy", "tedious"]
PLAIN = ["the", "film", "of", "a", "man", "and", "his", "dog", "was", "shown", "in", "an", "old", "hall"]
COUNTS = {"train": 500, "test": 100}


def review(label: str, chance: random.Random) -> str:
    """3 to 16 words, of which one or two say what the label is."""
    words = chance.choices(PLAIN, k=chance.randint(2, 14))
    for _ in range(chance.randint(1, 2)):
        words.insert(chance.randint(0, len(words)), chance.choice(GOOD if label == "pos" else BAD))
    return " ".join(words).capitalize() + ".<br /><br />The end."


def parts() -> dict[str, list[tuple[str, str]]]:
    chance = random.Random(0)
    labels = {part: ["neg", "pos"] * (count // 2) for part, count in COUNTS.items()}
    return {part: [(label, review(label, chance)) for label in said] for part, said in labels.items()}


def as_folders(folder: Path) -> Path:
    """As aclImdb is unpacked, with the files that lie around in it."""
    (folder / "README").write_text("Large Movie Review Dataset\n")
    (folder / "imdb.vocab").write_text("the\nand\n")
    for part, rows in parts().items():
        for number, (label, text) in enumerate(rows):
            (folder / part / label).mkdir(parents=True, exist_ok=True)
            (folder / part / label / f"{number}_{9 if label == 'pos' else 2}.txt").write_text(text)
        (folder / part / "labeledBow.feat").write_text("9 0:9 1:1\n")
    (folder / "train" / "unsup").mkdir()
    (folder / "train" / "unsup" / "0_0.txt").write_text("A film that nobody judged.")
    return folder


def as_jsonl(folder: Path) -> Path:
    for part, rows in parts().items():
        lines = [
            json.dumps({"label": int(label == "pos"), "rating": 5, "id": number, "text": text})
            for number, (label, text) in enumerate(rows)
        ]
        (folder / f"{part}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_file_location("imdb_sentiment", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("write", [as_folders, as_jsonl])
def test_the_example_learns_from_either_layout(
    script: ModuleType, tmp_path: Path, write: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the test reviews are of either label: chance is 50 %."""
    saved = tmp_path / "saved.safetensors"
    words = [write(tmp_path), "--hidden", 16, "--epochs", 10, "--weights", saved]
    reached = script.main([str(word) for word in words])
    said = capsys.readouterr().out
    assert reached >= 0.85
    assert f"test accuracy {reached:.2%}" in said
    assert "450 train, 50 valid, 100 test reviews" in said
    assert set(load_file(saved)) >= {"embedding.weight", "fc.weight"}
    assert "superb" in data.Vocabulary.from_json(saved.with_suffix(".words.json").read_text(encoding="utf-8"))


def test_the_example_is_a_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [as_jsonl(tmp_path), "--hidden", 4, "--epochs", 1, "--longest", 5, "--weights", tmp_path / "saved"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
    run_path(str(SCRIPT), run_name="__main__")
    said = capsys.readouterr().out
    assert "epoch 1: loss" in said and "test accuracy" in said


def test_a_vectors_file_is_copied_into_the_embedding(script: ModuleType, tmp_path: Path) -> None:
    """Oracle: the rows that were written. Vectors that stay in the vocabulary are the lecture's trap."""
    rows = {word: torch.randn(7) for word in [*GOOD, *BAD, "the"]}
    file = tmp_path / "vectors.txt"
    file.write_text("".join(f"{word} {' '.join(map(repr, row.tolist()))}\n" for word, row in rows.items()))
    _, words, _ = script.read(as_folders(tmp_path))
    model = script.Sentiment(script.embedding(words, file), hidden=4)
    weight = model.embedding.weight
    assert weight.requires_grad and weight.shape == (len(words), 7)
    for word, row in rows.items():
        assert torch.equal(weight[words.index(word)], row), word
    assert torch.equal(weight[words.index("The")], rows["the"])
    assert not weight[words.pad].any()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_unsorted_reviews_are_judged_as_each_one_alone(script: ModuleType, layers: int, bidirectional: bool) -> None:
    """Oracle: the same review in a batch of its own, without padding."""
    torch.manual_seed(0)
    model = script.Sentiment(torch.randn(50, 6), 8, layers, bidirectional).double().eval()
    rows = [torch.randint(1, 50, (length,)) for length in (5, 40, 1, 17)]
    text, lengths = data.pad(rows)
    # Zeros past the end might be read without a trace.
    text = text.masked_fill(torch.arange(40) >= lengths[:, None], 7)
    with torch.no_grad():
        together = model(text, lengths)
        alone = torch.cat([model(row[None], torch.tensor([len(row)])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_padding_is_never_learnt(script: ModuleType) -> None:
    model = script.Sentiment(torch.randn(50, 6).index_fill(0, torch.tensor([0]), 0), 8)
    text, lengths = data.pad([torch.randint(1, 50, (length,)) for length in (3, 9)])
    model(text, lengths).sum().backward()
    gradient: Tensor = model.embedding.weight.grad
    assert gradient[text[1]].any() and not gradient[0].any()


def test_all_seeds_are_set(script: ModuleType, tmp_path: Path) -> None:
    words = [str(as_jsonl(tmp_path)), "--hidden", "4", "--epochs", "1", "--weights"]
    saved = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    reached = [script.main([*words, str(path)]) for path in saved]
    assert reached[0] == reached[1]
    assert saved[0].read_bytes() == saved[1].read_bytes()
