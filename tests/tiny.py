"""What the tests of training share: a text of a small language, and the options of a run of a second on it."""

import random
from collections.abc import Callable
from typing import NamedTuple

# 45 batches an epoch on 200 lines.
SMALL = (
    "model.hidden=16", "data.batch=4", "data.steps=8", "data.min_count=1", "train.epochs=2", "train.log_steps=1",
    "train.schedule.warmup_steps=5", "baselines.ngram_order=2", "samples.tokens=8",
)  # fmt: skip
NO_BASELINES = ("baselines.unigram=false", "baselines.ngram_order=0", "baselines.feedforward_epochs=0")


class Said(NamedTuple):
    """What one call of the command line left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


def sentences(count: int, seed: int = 0) -> str:
    """Lines of a small language: who does it decides what is done."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        who, what = draw.choice([("cat", "sleeps"), ("dog", "runs"), ("bird", "sings")])
        where = draw.choice(["in the house", "on the hill", "by the old river"])
        lines.append(f"the {draw.choice(['big', 'small', 'grey'])} {who} {what} {where} .\n")
    return "".join(lines)


def options(*pairs: str) -> list[str]:
    """`-o` before each."""
    return [word for pair in pairs for word in ("-o", pair)]
