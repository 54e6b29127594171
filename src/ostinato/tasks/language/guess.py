"""The word that comes next: a trained language model as something that answers."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ...data.buckets import pad
from ...data.tokens import Tokenizer
from ...layers import last
from ...models import LanguageModel
from ..predictor import Input, Predictor
from .writing import beginning


class LanguagePredictor(Predictor):
    """For each text the token that most likely follows it: {"next", "confidence"}. To write on: `generate`.

    Words never seen are read as `<unk>`, which is never the answer.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    def reads(self) -> str:
        return "text"

    def refuses(self, text: Input) -> str:
        return ""

    @torch.no_grad()
    def answers(self, texts: Sequence[Input], n_best: int) -> list[dict[str, Any]]:
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        x, lengths = pad([torch.tensor(beginning(self.tokenizer, text)) for text in joined])
        device = self.model.embedding.weight.device
        logits = last(self.model(x.to(device), None, lengths.to(device))[0], lengths.to(device)).double()
        if self.tokenizer.unknown is not None:
            logits[:, self.tokenizer.unknown] = -torch.inf
        sure, ids = logits.softmax(-1).topk(min(max(1, n_best), logits.shape[1]), dim=-1)
        answers = []
        for row, chances in zip(ids.tolist(), sure.tolist(), strict=True):
            names = [self.tokenizer.itos[i] for i in row]
            ranked = [{"next": name, "confidence": p} for name, p in zip(names, chances, strict=True)]
            answers.append({**ranked[0], "n_best": ranked} if n_best > 1 else ranked[0])
        return answers

    def written(self, source: Input, answer: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        row = {"next": answer["next"], "confidence": answer["confidence"]}
        if "n_best" in answer:
            row["n_best"] = [(one["next"], one["confidence"]) for one in answer["n_best"]]
        yield {**row, "text": source if isinstance(source, str) else " ".join(source)}
