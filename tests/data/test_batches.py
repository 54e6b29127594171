"""Oracle: the text itself. Its ids are 0, 1, 2, ..., so that a token tells its place."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.data import TokenBatch, documents, stream_count, streams
from ostinato.data.batches import IGNORED

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 120), st.integers(0, 5))


def same(one: list[TokenBatch], other: list[TokenBatch]) -> bool:
    def equal(a: object, b: object) -> bool:
        return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b

    pairs = [(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)]
    return all(equal(a, b) for a, b in pairs)


@settings(deadline=None)
@given(SIZES)
def test_the_rows_of_all_batches_are_the_text(sizes: tuple[int, int, int, int]) -> None:
    batch, steps, more, offset = sizes
    n = offset + batch + 1 + more
    batches = list(streams(torch.arange(n), batch, steps, offset=offset))
    inputs = torch.cat([piece.inputs for piece in batches], 1)
    targets = torch.cat([piece.targets for piece in batches], 1)
    read = inputs.numel()
    assert torch.equal(inputs.flatten(), torch.arange(offset, offset + read))
    assert torch.equal(targets, inputs + 1)
    assert n - offset - 1 - batch < read <= n - offset - 1
    assert [piece.first for piece in batches] == [True] + [False] * (len(batches) - 1)
    assert len(batches) == stream_count(n, batch, steps, offset)
    widths = [piece.inputs.shape[1] for piece in batches]
    assert set(widths[:-1]) <= {steps}
    assert 1 <= widths[-1] <= steps
    assert all(piece.inputs.dtype == piece.targets.dtype == torch.int64 for piece in batches)
    assert all(piece.lengths is None and piece.resets is None for piece in batches)


@settings(deadline=None)
@given(SIZES)
def test_to_start_at_a_batch_is_to_skip_the_ones_before(sizes: tuple[int, int, int, int]) -> None:
    batch, steps, more, offset = sizes
    ids = torch.arange(offset + batch + 1 + more)
    whole = list(streams(ids, batch, steps, offset=offset))
    for start in range(len(whole) + 1):
        assert same(list(streams(ids, batch, steps, offset=offset, start=start)), whole[start:])


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_the_rows_of_all_ranks_are_the_batch(world: int) -> None:
    ids = torch.arange(200)
    whole = list(streams(ids, 6, 7))
    parts = [list(streams(ids, 6, 7, rank=rank, world=world)) for rank in range(world)]
    for index, batch in enumerate(whole):
        assert torch.equal(torch.cat([part[index].inputs for part in parts]), batch.inputs)
        assert torch.equal(torch.cat([part[index].targets for part in parts]), batch.targets)
        assert {part[index].first for part in parts} == {batch.first}


def test_a_text_too_short_says_what_is_needed() -> None:
    with pytest.raises(
        ValueError, match="20 streams need at least 21 tokens, but the text has 12; take a smaller batch"
    ):
        streams(torch.arange(12), 20, 5)
    with pytest.raises(ValueError, match="at least 5 tokens behind the offset 3, but the text has 4"):
        streams(torch.arange(7), 4, 5, offset=3)
    with pytest.raises(ValueError, match="need at least 3 tokens"):
        stream_count(2, 2, 5)
    assert len(list(streams(torch.arange(21), 20, 5))) == 1


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"batch": 0}, "batch and steps must be 1 or more"),
        ({"steps": 0}, "batch and steps must be 1 or more"),
        ({"offset": -1}, "offset 0 or more"),
        ({"start": 99}, "start must lie from 0 to 5, the number of batches, got 99"),
        ({"start": -1}, "start must lie from 0 to 5"),
        ({"rank": 2, "world": 2}, "rank must lie from 0 to world - 1, got rank 2 of world 2"),
        ({"world": 3}, "batch must be divisible by world, got 4 rows for 3 processes"),
        ({"ids": torch.arange(100.0)}, r"token ids must be int64 \[N\], got torch.float32 \[100\]"),
        ({"ids": torch.arange(100).view(10, 10)}, r"got torch.int64 \[10, 10\]"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_at_once(choice: dict, sentence: str) -> None:
    call = {"ids": torch.arange(100), "batch": 4, "steps": 5} | choice
    with pytest.raises(ValueError, match=sentence):
        streams(**call)


def library(count: int, seed: int = 0) -> list[torch.Tensor]:
    """Documents of 2 to 40 tokens; all tokens are different, so that a row tells its document."""
    sizes = torch.randint(2, 41, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return list(torch.arange(1, 1 + sum(sizes)).split(sizes))


def rows(batches: list[TokenBatch]) -> list[list[int]]:
    """The documents that the batches hold; checks padding on the way."""
    found = []
    for batch in batches:
        assert batch.lengths is not None
        assert batch.first is True
        assert batch.inputs.shape == batch.targets.shape
        for inputs, targets, length in zip(batch.inputs, batch.targets, batch.lengths.tolist(), strict=True):
            assert (inputs[length:] == 0).all()
            assert (targets[length:] == IGNORED).all()
            if length:
                assert torch.equal(inputs[1:length], targets[: length - 1])
                found.append([*inputs[:length].tolist(), int(targets[length - 1])])
    return found


@pytest.mark.parametrize("sort", [1, 3, 50])
def test_every_document_comes_once(sort: int) -> None:
    docs = library(103)
    batches = list(documents(docs, 8, seed=1, sort=sort))
    assert sorted(rows(batches)) == [doc.tolist() for doc in docs]
    assert len(batches) == 13
    assert all(len(batch.inputs) <= 8 for batch in batches)


def test_the_seed_alone_decides_the_order() -> None:
    docs = library(103)
    one = list(documents(docs, 8, seed=1))
    torch.manual_seed(99)
    assert same(list(documents(docs, 8, seed=1)), one)
    assert rows(list(documents(docs, 8, seed=2))) != rows(one)


def test_documents_start_at_any_batch() -> None:
    docs = library(50)
    whole = list(documents(docs, 8, seed=3))
    for start in range(len(whole) + 1):
        assert same(list(documents(docs, 8, seed=3, start=start)), whole[start:])


def test_sorting_saves_padding() -> None:
    docs = library(800)
    tokens = sum(len(doc) - 1 for doc in docs)
    cells = {sort: sum(b.inputs.numel() for b in documents(docs, 8, seed=4, sort=sort)) for sort in (1, 50)}
    assert cells[50] < 1.1 * tokens < 1.5 * tokens < cells[1]


@pytest.mark.parametrize("count", [64, 67, 65])
def test_all_ranks_together_read_every_document(count: int) -> None:
    docs = library(count)
    whole = list(documents(docs, 8, seed=5))
    parts = [list(documents(docs, 8, seed=5, rank=rank, world=4)) for rank in range(4)]
    assert {len(part) for part in parts} == {len(whole)}
    for index, batch in enumerate(whole):
        pieces = [part[index] for part in parts]
        assert len({piece.inputs.shape for piece in pieces}) == 1
        assert torch.equal(torch.cat([piece.inputs for piece in pieces])[: len(batch.inputs)], batch.inputs)
    assert sorted(row for part in parts for row in rows(part)) == [doc.tolist() for doc in docs]


def test_padding_is_not_counted_by_cross_entropy() -> None:
    docs = [torch.tensor([1, 2, 3, 4, 5]), torch.tensor([1, 2])]
    (batch,) = documents(docs, 2, seed=0)
    logits = torch.zeros(2, 4, 8)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    assert abs(loss.item() - 5 * torch.tensor(8.0).log().item()) < 1e-5


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"docs": []}, "at least one document was expected, got none"),
        ({"docs": [torch.arange(3), torch.arange(1)]}, "document 1 has 1 tokens, but an input and its target are two"),
        ({"docs": [torch.zeros(3)]}, r"token ids must be int64 \[N\]"),
        ({"batch": 0}, "batch and sort must be 1 or more"),
        ({"sort": 0}, "batch and sort must be 1 or more"),
        ({"start": 4}, "start must lie from 0 to 3"),
        ({"world": 3}, "batch must be divisible by world"),
        ({"rank": -1}, "rank must lie from 0"),
    ],
)
def test_documents_that_do_not_fit_are_refused_at_once(choice: dict, sentence: str) -> None:
    call = {"docs": library(20), "batch": 8, "seed": 0} | choice
    with pytest.raises(ValueError, match=sentence):
        documents(**call)
