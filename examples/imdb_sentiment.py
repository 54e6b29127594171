"""Is a film review good or bad? A script for torchtext.legacy, ported: docs/coming-from-torchtext.md goes through it.

    python examples/imdb_sentiment.py aclImdb --vectors glove.6B.100d.txt

PATH is the unpacked aclImdb (train/pos/0_9.txt and so on), or a folder with train.jsonl.gz and test.jsonl.gz that hold
one {"label": ..., "text": ...} a line.
"""

# ruff: noqa: T201 - a script may print

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import Layer, data
from ostinato.cells import LSTM
from ostinato.data.splitting import split_words
from ostinato.layers import Bidirectional, Dropout, Pool, Stack

SEED = 1234
WORDS = 25_000
BATCH = 64


class Reviews(NamedTuple):
    """Rows of word ids and what they say."""

    ids: list[Tensor]  # int64 [T], one a review
    labels: Tensor  # float32 [N], 0 or 1

    def batches(self, seed: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """ids [B, T], lengths [B] and labels [B] of every review once, those of like length together."""
        for rows in data.bucketed([len(row) for row in self.ids], BATCH, seed=seed):
            text, lengths = data.pad([self.ids[row] for row in rows])
            yield text.to(device), lengths.to(device), self.labels[rows].to(device)


class Sentiment(nn.Module):
    """ids [B, T] and lengths [B] -> [B]: above 0 is the second label."""

    def __init__(
        self, embedding: Tensor, hidden: int, layers: int = 2, bidirectional: bool = True, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embedding, freeze=False, padding_idx=0)
        directions = 2 if bidirectional else 1
        parts: list[Layer] = []
        for d_in in [embedding.shape[1]] + [directions * hidden] * (layers - 1):
            cell = LSTM(d_in, hidden)
            parts += [Bidirectional(cell, LSTM(d_in, hidden)) if bidirectional else cell, Dropout(dropout)]
        self.rnn = Stack(*parts[:-1])  # dropout between the layers, not behind the last one
        self.pool = Pool("last", directions * hidden, directions)
        self.fc = nn.Linear(self.pool.d_out, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.dropout(self.embedding(text))
        output, _ = self.rnn(embedded, lengths=lengths)
        hidden = self.dropout(self.pool(output, lengths))
        return self.fc(hidden).squeeze(1)


def tokenize(text: str) -> list[str]:
    return split_words(text.replace("<br />", " "))


def read(path: Path, longest: int = 0) -> tuple[dict[str, Reviews], data.Vocabulary, data.Vocabulary]:
    """Train, valid and test, the words and the labels. Of each review the last `longest` words are read; 0: all."""
    tables = data.read_dataset(data.Layout(path, columns=["label", "text"], stratify="label", seed=SEED))
    tokens = {part: [tokenize(text)[-longest:] for text in table.texts("text")] for part, table in tables.items()}
    words = data.Vocabulary.build(tokens["train"], max_size=WORDS + 2)  # <pad> and <unk> are counted too
    labels = data.Vocabulary.labels(tables["train"].texts("label"))
    if len(labels) != 2:
        raise SystemExit(f"{path}: two labels were expected, such as neg and pos, got {', '.join(labels.itos)}")
    reviews = {
        part: Reviews(
            [torch.from_numpy(words.encode(row)) for row in tokens[part]],
            torch.from_numpy(labels.encode(table.texts("label"))).float(),
        )
        for part, table in tables.items()
    }
    return reviews, words, labels


def embedding(words: data.Vocabulary, vectors: Path | None, width: int = 100) -> Tensor:
    """Where the embedding starts, [V, D]: from a file of vectors, else small random numbers; zero for padding."""
    if vectors is None:
        weight = 0.1 * torch.randn(len(words), width)
    else:
        found = data.read_vectors(vectors, words.itos)
        weight, coverage = data.embedding_from(found, words.itos, generator=torch.Generator().manual_seed(SEED))
        print(f"{coverage.found} of {coverage.total} words have a vector; without: {' '.join(coverage.missing)} ...")
    weight[0] = 0
    return weight


def learn(model: Sentiment, optimiser: torch.optim.Optimizer, reviews: Reviews, seed: int) -> float:
    """One pass over the reviews; the mean loss."""
    model.train()
    total = seen = 0.0
    for text, lengths, labels in reviews.batches(seed, model.fc.weight.device):
        loss = F.binary_cross_entropy_with_logits(model(text, lengths), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        total, seen = total + len(labels) * loss.item(), seen + len(labels)
        print(f"\r  {seen:,.0f} of {len(reviews.ids):,} reviews, loss {total / seen:.3f}", end="", file=sys.stderr)
    print("\r", end="", file=sys.stderr)
    return total / seen


@torch.no_grad()
def accuracy(model: Sentiment, reviews: Reviews) -> float:
    """The share of reviews whose label the model says."""
    model.eval()
    right = 0
    for text, lengths, labels in reviews.batches(SEED, model.fc.weight.device):
        right += int(((model(text, lengths) > 0) == (labels > 0)).sum())
    return right / len(reviews.ids)


def main(argv: list[str] | None = None) -> float:
    """Trains, keeps the weights that are best on the validation part, and gives the test accuracy of these."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--vectors", type=Path, help="GloVe, word2vec or fastText .vec file")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256, help="units of each direction")
    parser.add_argument("--longest", type=int, default=0, help="read so many words, the last of a review; 0: all")
    parser.add_argument("--weights", type=Path, default=Path("sentiment.safetensors"), help="where they are saved")
    args = parser.parse_args(argv)

    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reviews, words, labels = read(args.path, args.longest)
    counts = ", ".join(f"{len(part.ids):,} {name}" for name, part in reviews.items())
    print(f"{counts} reviews; {len(words):,} words; labels {' '.join(labels.itos)}; {device}")
    model = Sentiment(embedding(words, args.vectors), args.hidden).to(device)
    optimiser = torch.optim.Adam(model.parameters())

    best = -1.0
    for epoch in range(1, args.epochs + 1):
        start = perf_counter()
        loss = learn(model, optimiser, reviews["train"], SEED + epoch)
        valid = accuracy(model, reviews["valid"])
        print(f"epoch {epoch}: loss {loss:.3f}, valid accuracy {valid:.1%}, {perf_counter() - start:.0f} s", flush=True)
        if valid > best:
            best = valid
            save_file(model.state_dict(), args.weights)
    args.weights.with_suffix(".words.json").write_text(words.to_json(), encoding="utf-8")

    model.load_state_dict(load_file(args.weights))
    test = accuracy(model, reviews["test"])
    print(f"test accuracy {test:.2%}; weights in {args.weights}")
    return test


if __name__ == "__main__":
    main()
