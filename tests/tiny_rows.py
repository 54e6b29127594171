"""Rows of a small language for classification, tagging and both at once: a dozen words say it all."""

import random
from pathlib import Path

# A run of a second: all of it is learnt by heart.
LEARNT = (
    "data.batch=8", "data.min_count=1", "model.width=12", "model.hidden=12", "model.bidirectional=true",
    "train.epochs=12", "train.log_steps=5", "train.optimiser.lr=0.03", "train.schedule.name=constant",
    "baselines.words=false",
)  # fmt: skip
PEOPLE, PLACES = ("Ada", "Alan", "Grace Hopper"), ("Paris", "Rome", "New York")
ASKED = {"who": "person", "where": "place", "when": "time"}


def questions(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label): the first word decides."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        word = draw.choice(list(ASKED))
        tail = " ".join(draw.choice(["did", "it", "run", "the", "big", "dog"]) for _ in range(draw.randint(1, 7)))
        rows.append((f"{word} {tail}", ASKED[word]))
    return rows


def sentences(count: int, seed: int = 0) -> list[tuple[list[str], list[str], str]]:
    """(words, BIO tags, intent): somebody goes or calls somewhere."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        intent = draw.choice(["goes", "calls"])
        words, tags = [], []
        for text, label in ((draw.choice(PEOPLE), "PER"), (intent, ""), (draw.choice(PLACES), "LOC")):
            parts = text.split()
            words += parts
            tags += [f"B-{label}", *[f"I-{label}"] * (len(parts) - 1)] if label else ["O"]
        rows.append((words, tags, intent))
    return rows


def write_tsv(path: Path, rows: list[tuple[str, str]]) -> Path:
    """A file with the columns text and label."""
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    return path


def write_conll(path: Path, rows: list[tuple[list[str], list[str], str]]) -> Path:
    """A token and its tag a line."""
    blocks = ("".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True)) for words, tags, _ in rows)
    path.write_text("\n".join(blocks))
    return path


def write_parallel(folder: Path, rows: list[tuple[list[str], list[str], str]]) -> Path:
    """seq.in, seq.out and label in the folder train."""
    inner = folder / "train"
    inner.mkdir(parents=True)
    (inner / "seq.in").write_text("".join(" ".join(words) + "\n" for words, _, _ in rows))
    (inner / "seq.out").write_text("".join(" ".join(tags) + "\n" for _, tags, _ in rows))
    (inner / "label").write_text("".join(f"{intent}\n" for _, _, intent in rows))
    return folder
