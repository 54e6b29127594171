"""Beam search. Oracles: all sequences of a tiny vocabulary, one by one; greedy argmax; each sentence alone."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato.cells import cells
from ostinato.layers import Stack
from ostinato.models import LanguageModel
from ostinato.recurrent import Recurrent
from ostinato.stream import beam_search

START, END = 0, 1
V = 4


def language(vocabulary: int = V, sharpness: float = 3.0, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    made = LanguageModel(vocabulary, 6, Stack(cells["lstm"](6, 8), cells["gru"](8, 8)), 8).double().eval()
    with torch.no_grad():
        for p in made.parameters():
            p.normal_()
        made.head.weight.mul_(sharpness / 8**0.5)
    return made


def starts(model: Recurrent[Any], sentences: int) -> Any:
    """A state of its own for each sentence: each has read another word."""
    with torch.no_grad():
        return model(torch.arange(sentences)[:, None] % 3)[1]


def penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def log_prob(model: Recurrent[Any], state: Any, ids: tuple[int, ...]) -> float:
    """log p of the words, one sequence read as a whole."""
    with torch.no_grad():
        logits, _ = model(torch.tensor([[START, *ids[:-1]]]), state)
    return float(logits[0].log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)].sum())


def everything(
    model: Recurrent[Any], state: Any, limit: int, alpha: float
) -> list[tuple[float, tuple[int, ...], float]]:
    """(score, ids, log p) of every sequence that ends within `limit` words or is cut off there, best first."""
    found = []
    others = [word for word in range(V) if word != END]
    for length in range(1, limit + 1):
        for words in itertools.product(others, repeat=length - 1):
            lasts = range(V) if length == limit else (END,)
            for last in lasts:
                p = log_prob(model, state, (*words, last))
                ids = words if last == END else (*words, last)
                found.append((p / penalty(length, alpha), ids, p))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0, -0.5])
@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_beam_of_all_sequences_finds_the_best_ones(limit: int, alpha: float) -> None:
    for seed in range(3):
        model = language(seed=seed)
        state = starts(model, 1)
        want = everything(model, state, limit, alpha)[:6]
        options = {"beam": V**limit, "n_best": min(6, V**limit), "length_penalty": alpha}
        (got,) = beam_search(model, state, START, END, max_length=limit, **options)
        assert [h.ids for h in got] == [ids for _, ids, _ in want]
        torch.testing.assert_close([h.score for h in got], [score for score, _, _ in want], rtol=1e-10, atol=0)
        torch.testing.assert_close([h.log_prob for h in got], [p for _, _, p in want], rtol=1e-10, atol=0)


def test_beam_one_is_greedy() -> None:
    ended = set()
    for seed in range(8):
        model = language(9, seed=seed)
        state = starts(model, 1)
        ((got,),) = beam_search(model, state, START, END, max_length=12, beam=1)
        ids = [START]
        with torch.no_grad():
            while len(ids) <= 12 and (len(ids) == 1 or ids[-1] != END):
                ids.append(int(model(torch.tensor([ids]), state)[0][0, -1].argmax()))
        ended.add(ids[-1] == END)
        assert got.ended == (ids[-1] == END)
        assert got.ids == tuple(ids[1:-1] if got.ended else ids[1:])
    assert ended == {True, False}


@pytest.mark.parametrize("beam", [1, 3, 7])
def test_a_batch_gives_each_sentence_what_it_gets_alone(beam: int) -> None:
    model = language(9)
    state, limits = starts(model, 3), torch.tensor([9, 2, 5])
    options = {"beam": beam, "n_best": min(beam, 3)}
    together = beam_search(model, state, START, END, max_length=limits, **options)
    for b in range(3):
        row = torch.tensor([b])
        alone = beam_search(model, select(state, row), START, END, max_length=int(limits[b]), **options)[0]
        assert [h.ids for h in together[b]] == [h.ids for h in alone]
        torch.testing.assert_close([h.score for h in together[b]], [h.score for h in alone], rtol=1e-10, atol=0)
        assert all(len(h.ids) + h.ended <= limits[b] for h in alone)


def select(state: Any, rows: Tensor) -> Any:
    return tuple(type(part)(*(leaf[rows] for leaf in part)) for part in state)


def test_scores_are_those_of_the_words() -> None:
    model = language(9)
    state = starts(model, 3)
    for b, found in enumerate(
        beam_search(model, state, START, END, max_length=8, beam=6, n_best=6, length_penalty=0.8)
    ):
        assert len(found) == 6
        assert len({(h.ids, h.ended) for h in found}) == 6
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            ids = (*h.ids, END) if h.ended else h.ids
            assert END not in h.ids
            assert h.log_prob == pytest.approx(log_prob(model, select(state, torch.tensor([b])), ids), rel=1e-10)
            assert h.score == pytest.approx(h.log_prob / penalty(len(ids), 0.8), rel=1e-12)


def test_a_length_penalty_makes_sequences_longer() -> None:
    model = language(9, sharpness=1.0)
    long, short = (
        beam_search(model, starts(model, 3), START, END, max_length=15, beam=8, length_penalty=alpha)
        for alpha in (3, 0)
    )
    assert sum(len(h[0].ids) for h in long) > sum(len(h[0].ids) for h in short)


def test_forbidden_words_are_never_chosen() -> None:
    model = language(9)
    free = beam_search(model, starts(model, 3), START, END, max_length=8, beam=3, n_best=3)
    used = {word for found in free for h in found for word in h.ids}
    banned = max(used)
    found = beam_search(model, starts(model, 3), START, END, max_length=8, beam=3, n_best=3, forbidden=[banned])
    assert banned not in {word for one in found for h in one for word in h.ids}


class Chain(Recurrent[Tensor]):
    """p(next word | this word) from a table [V, V]; counts the rows that it reads."""

    def __init__(self, table: list[list[float]]) -> None:
        super().__init__()
        self.table, self.rows = torch.tensor(table).double().log(), list[int]()

    def initial_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1).double()

    def scan(self, x: Tensor, state: Tensor, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, Tensor]:
        self.rows.append(len(x))
        return self.table[x], state + x[:, -1:]


def test_it_stops_when_nothing_open_can_win() -> None:
    # After the start the end has 0.9: the best other sequence has less than 0.1, however long it goes on.
    model = Chain([[0.0, 0.9, 0.1, 0.0], [0, 1, 0, 0], [0.0, 0.1, 0.0, 0.9], [0.0, 0.1, 0.9, 0.0]])
    ((best,),) = beam_search(model, model.initial_state(1), 0, 1, max_length=50, beam=3, length_penalty=0)
    assert best.ids == ()
    assert best.log_prob == pytest.approx(torch.tensor(0.9).log().item())
    assert model.rows == [1]
    # A large reward for length: what goes on may win, so it is followed to the end.
    ((best,),) = beam_search(model, model.initial_state(1), 0, 1, max_length=50, beam=3, length_penalty=3)
    assert len(best.ids) > 10
    assert len(model.rows) == 51


def test_beams_find_what_greedy_search_misses() -> None:
    # 2 looks best, but what follows it is a guess among two: 0.6 * 0.5 < 0.4 * 1.
    model = Chain([[0, 0, 0.6, 0.4], [0, 1, 0, 0], [0, 0.5, 0.5, 0], [0, 1.0, 0, 0]])
    words = [
        beam_search(model, model.initial_state(1), 0, 1, max_length=9, beam=k, length_penalty=0)[0][0].ids
        for k in (1, 2)
    ]
    assert words[0][0] == 2
    assert words[1] == (3,)


def test_what_does_not_fit_is_told() -> None:
    model = language()
    with pytest.raises(ValueError, match=r"1\.\.beam, and is 6 with a beam of 5"):
        beam_search(model, starts(model, 1), START, END, max_length=3, n_best=6)
    with pytest.raises(ValueError, match="1 or more, and is 0"):
        beam_search(model, starts(model, 2), START, END, max_length=torch.tensor([3, 0]))
    with pytest.raises(ValueError, match="all words are forbidden"):
        beam_search(model, starts(model, 1), START, END, max_length=3, forbidden=range(V))
