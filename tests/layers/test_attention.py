"""Attention. Oracle: the papers' formulas, one query and one row at a time."""

import pytest
import torch
from torch import Tensor

from ostinato.layers import Attention

Q, M, K = 5, 7, 4
SCORES = ["dot", "general", "additive"]


def make(score: str) -> Attention:
    torch.manual_seed(0)
    return Attention(score, M if score == "dot" else Q, M, K if score == "additive" else None).double()


def by_formula(attention: Attention, q: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """(context [M], weights [S]) of one query [Q] and the real outputs [S, M] of a row."""
    w = {name: p.detach() for name, p in attention.named_parameters()}
    if attention.score == "dot":
        scores = torch.stack([q @ m for m in outputs])
    elif attention.score == "general":
        scores = torch.stack([q @ (w["w_memory.weight"] @ m) for m in outputs])
    else:
        there, here, shift = w["w_memory.weight"], w["w_query.weight"], w["w_memory.bias"]
        scores = torch.stack([w["v"] @ (here @ q + there @ m + shift).tanh() for m in outputs])
    weights = scores.exp() / scores.exp().sum()
    return sum(a * m for a, m in zip(weights, outputs, strict=True)), weights  # type: ignore[return-value]


@pytest.mark.parametrize("fill", [1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("score", SCORES)
def test_it_is_the_formula_whatever_fills_the_padding(score: str, fill: float) -> None:
    attention, lengths = make(score), torch.tensor([6, 1, 4])
    query, outputs = torch.randn(3, 2, attention.d_query).double(), torch.randn(3, 6, M).double()
    outputs[torch.arange(6) >= lengths[:, None]] = fill
    context, weights = attention(query, attention.remember(outputs, lengths))
    for b, n in enumerate(lengths.tolist()):
        for t in range(2):
            want, shares = by_formula(attention, query[b, t], outputs[b, :n])
            torch.testing.assert_close((context[b, t], weights[b, t, :n]), (want, shares), rtol=0, atol=1e-13)
            assert (weights[b, t, n:] == 0).all()


@pytest.mark.parametrize("score", SCORES)
def test_all_steps_at_once_are_the_steps(score: str) -> None:
    attention = make(score)
    query, memory = torch.randn(3, 9, attention.d_query).double(), attention.remember(torch.randn(3, 6, M).double())
    whole = attention(query, memory)
    steps = [attention(query[:, t : t + 1], memory) for t in range(9)]
    for n in (0, 1):
        torch.testing.assert_close(torch.cat([s[n] for s in steps], 1), whole[n], rtol=0, atol=1e-13)


@pytest.mark.parametrize("score", SCORES)
def test_a_source_without_words_has_context_zero(score: str) -> None:
    attention = make(score)
    query = torch.randn(2, 3, attention.d_query).double().requires_grad_()
    outputs = torch.full((2, 4, M), float("nan")).double()
    context, weights = attention(query, attention.remember(outputs, torch.tensor([0, 0])))
    assert (context == 0).all()
    context.sum().backward()
    assert query.grad is not None
    assert (query.grad == 0).all()
    assert bool(weights.isfinite().all())


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="take 'general'"):
        Attention("dot", 3, 4)
    with pytest.raises(ValueError, match=r"did you mean general\?"):
        Attention("genral", 3, 4)
    with pytest.raises(ValueError, match="leave it out"):
        Attention("general", 3, 4, d_hidden=5)
    with pytest.raises(ValueError, match=r"must be \[B, S, 4\], and has shape \(2, 3, 5\)"):
        Attention("general", 3, 4).remember(torch.zeros(2, 3, 5))
