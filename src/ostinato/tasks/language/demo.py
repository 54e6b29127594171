"""The demo: a language model of the Python documentation, then lecture S4's 我 爱 自然 语言 处理.

Both need no download: the first text comes with every Python, the second stands here.
"""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...cells import cells
from ...layers import Pointwise, Stack
from ...models import LanguageModel
from ...storage import atomic_write

# After 语言 four words are equally likely for whoever sees 语言 alone; the words before it decide.
SENTENCES = (
    ("我", "爱", "自然", "语言", "处理"),
    ("他", "学", "编程", "语言", "设计"),
    ("她", "教", "外国", "语言", "文学"),
    ("我们", "读", "机器", "语言", "手册"),
)


def python_topics(folder: Path) -> Path:
    """The documentation topics of the running Python as one text file in `folder`."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return atomic_write(folder / "python-topics.txt", "\n".join(topics[name].strip() for name in sorted(topics)) + "\n")


def next_word(seed: int = 0, updates: int = 200) -> dict[str, Any]:
    """Learns the four sentences with memory (an Elman net) and without (a feed-forward net on the current word).

    Returns:
        prompt, wanted, chance, and for each net its probabilities of the word after 我 爱 自然 语言 and how often it
        names the right last word over the four sentences.
    """
    words = sorted({w for s in SENTENCES for w in s})
    ids = torch.tensor([[words.index(w) for w in s] for s in SENTENCES])
    nets: dict[str, Any] = {}
    for name in ("recurrent net", "memory-less net"):
        torch.manual_seed(seed)
        width = 16
        part = cells["elman"](width, width) if name == "recurrent net" else Pointwise(
            nn.Sequential(nn.Linear(width, width), nn.Tanh()))  # fmt: skip
        model = LanguageModel(len(words), width, Stack(part), width, softmax="float32")
        optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
        for _ in range(updates):
            optimiser.zero_grad()
            loss, _ = model.loss(ids[:, :-1], ids[:, 1:], None)
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            last = F.softmax(model(ids[:, :-1])[0][:, -1], dim=-1)  # [4, V] after 语言
        endings = {s[-1]: float(last[0, words.index(s[-1])]) for s in SENTENCES}
        right = int((last.argmax(-1) == ids[:, -1]).sum())
        nets[name] = {"probabilities": endings, "right": right, "of": len(SENTENCES)}
    return {"prompt": list(SENTENCES[0][:-1]), "wanted": SENTENCES[0][-1], "chance": 1 / len(SENTENCES), "nets": nets}


def endings(toy: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """What `next_word` found as the rows of a table, and its title."""
    rows = [
        {"net": name, **{f"p({w})": round(p, 3) for w, p in net["probabilities"].items()},
         "right": f"{net['right']} of {net['of']}"}
        for name, net in toy["nets"].items()
    ]  # fmt: skip
    return rows, f"after {' '.join(toy['prompt'])} comes {toy['wanted']}; chance is {toy['chance']:.2f}"
