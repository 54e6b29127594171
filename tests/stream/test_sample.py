"""Sampling: which tokens may be drawn, how often, and when it ends."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from ostinato.cells import cells
from ostinato.layers import Stack
from ostinato.models import LanguageModel
from ostinato.stream import Sampling, generate

LOGITS = torch.tensor([2.0, -1.0, 0.5, 3.0, 0.5, -4.0])
P = LOGITS.double().softmax(0)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(9, 6, Stack(cells["lstm"](6, 8), cells["gru"](8, 8)), 8).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_()
    return made


def next_logits(model: LanguageModel, ids: list[int]) -> Tensor:
    """The whole text read anew: what streaming must equal."""
    with torch.no_grad():
        return model(torch.tensor([ids]))[0][0, -1]


def test_greedy_is_the_argmax(model: LanguageModel) -> None:
    assert Sampling(temperature=0).distribution(LOGITS).tolist() == [0, 0, 0, 1, 0, 0]
    seen = set()
    for start in range(5):
        ids = [start]
        for token in generate(model, ids[:], 4, Sampling(temperature=0)):
            assert token == int(next_logits(model, ids).argmax())
            ids.append(token)
            seen.add(token)
    assert len(seen) > 1


def test_temperature_one_is_the_models_own_distribution() -> None:
    torch.testing.assert_close(Sampling().distribution(LOGITS), P, rtol=1e-14, atol=0)


@pytest.mark.parametrize("temperature", [0.3, 0.8, 2.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    want = torch.exp(LOGITS.double() / temperature)
    got = Sampling(temperature=temperature).distribution(LOGITS)
    torch.testing.assert_close(got, want / want.sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [1e-3, 1e-12, 5e-324])
def test_near_zero_it_is_greedy_and_does_not_overflow(temperature: float) -> None:
    for logits in (LOGITS, LOGITS * 1e4):
        got = Sampling(temperature=temperature, forbidden=(0,)).distribution(logits)
        torch.testing.assert_close(got, torch.tensor([0, 0, 0, 1, 0, 0]).double(), atol=1e-12, rtol=0)


def test_very_hot_it_is_uniform() -> None:
    got = Sampling(temperature=1e300, forbidden=(2,)).distribution(LOGITS)
    torch.testing.assert_close(got, torch.tensor([1, 1, 0, 1, 1, 1]).double() / 5)


@pytest.mark.parametrize(("k", "kept"), [(1, {3}), (2, {3, 0}), (3, {3, 0, 2}), (4, {3, 0, 2, 4}), (6, set(range(6)))])
def test_top_k_keeps_exactly_the_k_likeliest(k: int, kept: set[int]) -> None:
    got = Sampling(top_k=k).distribution(LOGITS)
    assert set(got.nonzero().flatten().tolist()) == kept
    index = sorted(kept)
    torch.testing.assert_close(got[index], P[index] / P[index].sum(), rtol=1e-12, atol=0)
    assert torch.equal(Sampling(top_k=1000).distribution(LOGITS), Sampling().distribution(LOGITS))


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    order = P.argsort(descending=True, stable=True).tolist()
    sums = [math.fsum(P[order[: n + 1]].tolist()) for n in range(6)]
    for n in range(5):
        for p in (sums[n] - 1e-9, sums[n] - (P[order[n]] / 2).item()):
            got = Sampling(top_p=p).distribution(LOGITS)
            assert set(got.nonzero().flatten().tolist()) == set(order[: n + 1])
            assert float(got.sum()) == pytest.approx(1)
    assert Sampling(top_p=1e-9).distribution(LOGITS).tolist() == [0, 0, 0, 1, 0, 0]


def test_top_k_and_top_p_hold_together() -> None:
    assert set(Sampling(top_k=4, top_p=0.7).distribution(LOGITS).nonzero().flatten().tolist()) == {3, 0}
    assert set(Sampling(top_k=1, top_p=0.99).distribution(LOGITS).nonzero().flatten().tolist()) == {3}


class Fixed(torch.nn.Module):
    """A model that always gives the same logits."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(LOGITS)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[()]]:
        return self.logits.expand(*x.shape, -1), ()

    def step(self, x: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        return self.logits.expand(len(x), -1), ()


def test_tokens_come_as_often_as_softmax_says() -> None:
    count = 6000
    seen = Counter(generate(Fixed(), [0], count, Sampling(seed=5)))  # type: ignore[arg-type]
    chi2 = sum((seen[i] - count * p) ** 2 / (count * p) for i, p in enumerate(P.tolist()))
    assert chi2 < 20.5  # of 5 degrees of freedom: one run in a thousand is above


def test_what_is_forbidden_is_never_drawn() -> None:
    seen = Counter(generate(Fixed(), [0], 500, Sampling(temperature=2.0, forbidden=(3, 0))))  # type: ignore[arg-type]
    assert set(seen) == {1, 2, 4, 5}
    assert int(Sampling(temperature=0, forbidden=(3,)).distribution(LOGITS).argmax()) == 0
    assert Sampling(top_k=2, forbidden=(3,)).distribution(LOGITS).nonzero().flatten().tolist() == [0, 2]


def test_same_seed_same_text(model: LanguageModel) -> None:
    def text(seed: int) -> list[int]:
        return list(generate(model, [1], 40, Sampling(temperature=3.0, seed=seed)))

    torch.manual_seed(1)
    first = text(7)
    torch.manual_seed(2)  # the generator is its own
    assert text(7) == first
    assert text(8) != first


def test_streaming_reads_what_it_wrote(model: LanguageModel) -> None:
    ids, sampling = [4, 2, 2], Sampling(temperature=1.5, seed=3)
    generator = torch.Generator().manual_seed(3)
    for token in list(generate(model, ids, 15, sampling)):
        want = sampling.distribution(next_logits(model, ids))
        assert token == int(torch.multinomial(want, 1, generator=generator))
        ids.append(token)


def test_it_ends_after_the_stop_sequence_or_the_count(model: LanguageModel) -> None:
    sampling = Sampling(temperature=3.0, seed=1)
    whole = list(generate(model, [1], 60, sampling))
    assert len(whole) == 60
    stop = whole[20:22]
    end = next(n for n in range(2, 61) if whole[n - 2 : n] == stop)
    assert list(generate(model, [1], 60, sampling, stop)) == whole[:end]
    assert list(generate(model, [1], 0, sampling)) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"temperature": -0.1}, "temperature must be 0 (greedy) or more, and finite, and is -0.1"),
        ({"temperature": math.nan}, "temperature must be 0 (greedy) or more, and finite, and is nan"),
        ({"temperature": math.inf}, "temperature must be 0 (greedy) or more, and finite, and is inf"),
        ({"top_k": -1}, "top-k must be 0 (all tokens) or more and is -1"),
        ({"top_p": 0.0}, "top-p must be above 0 and at most 1 and is 0.0"),
        ({"top_p": 1.5}, "top-p must be above 0 and at most 1 and is 1.5"),
        ({"top_p": math.nan}, "top-p must be above 0 and at most 1 and is nan"),
        ({"seed": -1}, "seed must be 0 or more and below 2**64 and is -1"),
        ({"seed": 2**64}, f"seed must be 0 or more and below 2**64 and is {2**64}"),
    ],
)
def test_values_out_of_range_are_told_in_a_sentence(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Sampling(**values)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_an_empty_prompt_is_told(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="the prompt is empty"):
        next(generate(model, [], 3, Sampling()))


def test_the_largest_seed_works(model: LanguageModel) -> None:
    assert len(list(generate(model, [1], 2, Sampling(seed=2**64 - 1)))) == 2
