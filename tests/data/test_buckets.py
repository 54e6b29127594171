"""Oracles: the sizes that went in, and torch's pad_packed_sequence for padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from ostinato.data import bucketed, pad, padding_share

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=200)


@settings(deadline=None)
@given(SIZES, st.integers(1, 16), st.one_of(st.none(), st.integers(1, 300)), st.sampled_from([1, 3, 50]))
def test_every_row_comes_once_and_no_batch_is_too_large(
    sizes: list[int], batch: int, max_tokens: int | None, sort: int
) -> None:
    batches = bucketed(sizes, batch, seed=3, max_tokens=max_tokens, sort=sort)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(sizes)))
    for rows in batches:
        cells = len(rows) * max(sizes[row] for row in rows.tolist())
        assert len(rows) <= batch
        assert max_tokens is None or cells <= max_tokens or len(rows) == 1


def test_the_seed_alone_decides_and_sorting_saves_padding() -> None:
    sizes = torch.randint(1, 80, (2000,), generator=torch.Generator().manual_seed(0))
    one, two, other = (bucketed(sizes, 32, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert padding_share(one, sizes) < 0.05 < 0.4 < padding_share(bucketed(sizes, 32, seed=1, sort=1), sizes)


def test_the_padding_share_is_that_of_the_padded_batches() -> None:
    rows = [torch.ones(size) for size in (3, 1, 2, 2)]
    batches = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    padded = [pad([rows[index] for index in batch.tolist()])[0] for batch in batches]
    zeros = sum(int((cells == 0).sum()) for cells in padded)
    assert padding_share(batches, [3, 1, 2, 2]) == pytest.approx(zeros / sum(cells.numel() for cells in padded))
    assert padding_share([], [1]) == 0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.booleans())
def test_padding_is_torchs(sizes: list[int], deep: bool) -> None:
    rows = [torch.randn(size, 3) if deep else torch.randn(size) for size in sizes]
    expected, lengths = pad_packed_sequence(
        pack_sequence(rows, enforce_sorted=False), batch_first=True, padding_value=-7.0
    )
    cells, found = pad(rows, -7)
    assert torch.equal(cells, expected)
    assert torch.equal(found, lengths)
    assert found.dtype == torch.int64


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bucketed([], 2, seed=0), "at least one row"),
        (lambda: bucketed([1], 0, seed=0), "batch and sort must be 1 or more, got 0"),
        (lambda: bucketed([1], 1, seed=0, sort=0), "batch and sort must be 1 or more"),
        (lambda: bucketed([1], 1, seed=0, max_tokens=0), "max_tokens must be 1 or more, got 0"),
        (lambda: pad([]), "at least one row"),
        (lambda: pad([torch.ones(1), torch.ones(1, dtype=torch.int64)]), "of one dtype"),
        (lambda: pad([torch.ones(1, 2), torch.ones(1, 3)]), "equal further axes were expected"),
    ],
)
def test_what_does_not_fit_is_refused(call, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
