"""Files of a small language and its translation, and the options of a run of seconds on them."""

import random
from pathlib import Path

TINY = (
    "data.format=parallel", "data.source=de", "data.target=en", "data.batch=8", "data.max_size=300",
    "model.width=16", "model.encoder.hidden=12", "model.decoder.hidden=16", "search.beam=3",
    "model.initial.embedding=normal(0.5)",
)  # fmt: skip
WORDS = {"der": "the", "Hund": "dog", "Vogel": "bird", "Kater": "cat", "schläft": "sleeps", "singt": "sings",
         "kleine": "small", "graue": "grey", "heute": "today", "nie": "never", "und": "and"}  # fmt: skip


def sentence(draw: random.Random) -> tuple[str, str]:
    """German and English, word by word; the adverb comes first in English, and the sentence may go on."""
    clauses = []
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        who = ["der", *draw.sample(["kleine", "graue"], draw.randint(0, 2)), draw.choice(["Hund", "Vogel", "Kater"])]
        clauses.append((who, draw.choice(["schläft", "singt"]), draw.choice(["heute", "nie"])))
    german = " und ".join(" ".join([*who, verb, when]) for who, verb, when in clauses)
    english = " and ".join(" ".join(WORDS[w] for w in (when, *who, verb)) for who, verb, when in clauses)
    return f"{german[:1].upper()}{german[1:]}.", f"{english[:1].upper()}{english[1:]}."


def parallel(folder: Path, **counts: int) -> Path:
    """Files train.de, train.en and so on, of so many pairs each."""
    draw = random.Random(0)
    folder.mkdir(exist_ok=True)
    for part, count in counts.items():
        pairs = [sentence(draw) for _ in range(count)]
        for side, lines in zip(("de", "en"), zip(*pairs, strict=True), strict=True):
            (folder / f"{part}.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder
