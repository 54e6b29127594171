"""The figures of dynamic evaluation: how fast to learn is chosen on the validation part, never on the test part."""

import itertools
import math
from typing import NamedTuple

import torch

from ...models import LanguageModel
from ...models.dynamic import dynamic_score, gradient_rms
from .corpus import Corpus, Text
from .recipe import LanguageRecipe


class Chosen(NamedTuple):
    lr: float
    decay: float
    nats: float  # per token of the validation part's beginning; NaN where there was nothing to choose


def dynamic_figures(
    model: LanguageModel, recipe: LanguageRecipe, corpus: Corpus, text: Text, end: int | None = None
) -> dict[str, float]:
    """`test/dynamic_perplexity` and its kin of a model that learns from `text` as it reads it; {} unless asked for.

    Args:
        corpus: what the model was trained on: gradients of the training part scale the updates, and lr and decay are
            those of the recipe that do best on the first `dynamic.tune_tokens` of the validation part.
        end: as `dynamic_score`.
    """
    asked, device = recipe.dynamic, model.embedding.weight.device
    if not asked.lr:
        return {}
    parts = {name: torch.from_numpy(corpus.splits[name].ids).to(device) for name in ("train", "valid")}
    rms = None
    if asked.update == "rms":
        streams = min(asked.streams, len(parts["train"]) - 1)
        span = {"segment": asked.segment, "streams": streams, "batches": asked.batches, "end": end}
        rms = gradient_rms(model, parts["train"], **span)
    fixed = {"segment": asked.segment, "rms": rms, "epsilon": asked.epsilon, "end": end}
    best = Chosen(asked.lr[0], asked.decay[0], math.nan)
    if len(asked.lr) * len(asked.decay) > 1:
        sample = parts["valid"][: asked.tune_tokens]
        tried = []
        for lr, decay in itertools.product(asked.lr, asked.decay):
            nats = float(dynamic_score(model, sample, lr=lr, decay=decay, **fixed).mean())
            tried.append(Chosen(lr, decay, nats if math.isfinite(nats) else math.inf))
        best = min(tried, key=lambda each: each.nats)
    ids = torch.from_numpy(text.ids).to(device)
    nats = float(dynamic_score(model, ids, lr=best.lr, decay=best.decay, **fixed).mean())
    found = {"dynamic_perplexity": math.exp(min(700.0, nats)), "dynamic_nats_per_token": nats}
    return {f"test/{name}": value for name, value in found.items()} | {
        "dynamic/lr": best.lr,
        "dynamic/decay": best.decay,
    }
