"""Linear chains: the oracle is the enumeration of all paths, in float64."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato import backend
from ostinato.recurrences import FORWARD, Chain, best_paths, log_partition, marginals, path_score, reach, viterbi
from ostinato.recurrences.chain import _edged, _in_logs
from ostinato.recurrences.viterbi import _loop

T, K = 5, 3
LENGTHS = torch.tensor([5, 3, 0, 1, 4])


def chain_of(seed=0, tags=K, forbidden=0.0, dtype=torch.float64):
    source = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*shape, generator=source, dtype=dtype) for shape in ((tags,), (tags, tags), (tags,))]
    if forbidden:
        gone = torch.rand(tags, tags, generator=source) < forbidden
        parts[1] = parts[1].masked_fill(gone.fill_diagonal_(False), -math.inf)
    return Chain(*parts, reach=reach(parts[1] > -math.inf))


def scores_of(seed=1, rows=5, steps=T, tags=K, dtype=torch.float64):
    return torch.randn(rows, steps, tags, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def all_paths(scores, chain, length):
    """(path, score) of one row [T, K], the best first."""
    found = []
    for path in itertools.product(range(scores.shape[1]), repeat=length):
        total = sum(float(scores[t, tag]) for t, tag in enumerate(path))
        total += sum(float(chain.between[i, j]) for i, j in itertools.pairwise(path))
        total += float(chain.start[path[0]] + chain.end[path[-1]]) if path else 0.0
        found.append((list(path), total))
    return sorted(found, key=lambda pair: -pair[1])


def summed(scores, chain, length):
    worth = [score for _, score in all_paths(scores, chain, length)]
    return torch.logsumexp(torch.tensor(worth, dtype=torch.float64), 0)


@pytest.mark.parametrize("forbidden", [0.0, 0.4])
@pytest.mark.parametrize("name", ["reference", "numba"])
def test_log_partition_is_the_sum_over_all_paths(name, forbidden):
    chain, scores = chain_of(forbidden=forbidden), scores_of()
    with backend(name):
        got = log_partition(scores, chain, LENGTHS)
    want = torch.stack([summed(row, chain, n) for row, n in zip(scores, LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_the_gradient_is_that_of_the_sum_over_all_paths():
    chain, scores = chain_of(), scores_of().requires_grad_()
    parts = [part.requires_grad_() for part in chain[:3]]
    with backend("numba"):
        got = torch.autograd.grad(log_partition(scores, chain, LENGTHS).sum(), [scores, *parts])
    totals = []
    for row, n in zip(scores, LENGTHS.tolist(), strict=True):
        if n:
            paths = torch.tensor(list(itertools.product(range(K), repeat=n)))
            totals.append(torch.logsumexp(path_score(row[:n].expand(len(paths), n, K), chain, paths), 0))
    want = torch.autograd.grad(sum(totals), [scores, *parts])
    for mine, right in zip(got, want, strict=True):
        torch.testing.assert_close(mine, right, rtol=0, atol=1e-12)


def test_marginals_are_the_shares_of_the_paths():
    chain, scores = chain_of(forbidden=0.4), scores_of()
    got = marginals(scores, chain, LENGTHS)
    for row, mine, n in zip(scores, got, LENGTHS.tolist(), strict=True):
        want, total = torch.zeros(T, K).double(), summed(row, chain, n)
        for path, score in all_paths(row, chain, n):
            for t, tag in enumerate(path):
                want[t, tag] += math.exp(score - total)
        torch.testing.assert_close(mine, want, rtol=0, atol=1e-12)


def test_what_is_forbidden_gets_no_gradient():
    chain = chain_of(forbidden=0.5)
    between = chain.between.clone().requires_grad_()
    log_partition(scores_of(), chain._replace(between=between), LENGTHS).sum().backward()
    gone = chain.between == -math.inf
    assert gone.any() and between.grad.isfinite().all() and not between.grad[gone].any()


@pytest.mark.parametrize("scale", [1.0, 300.0, 3e4])
def test_scores_of_any_size_are_summed_without_loss(scale):
    chain, scores = chain_of(forbidden=0.3), (scale * scores_of()).requires_grad_()
    got = log_partition(scores, chain, LENGTHS)
    want = torch.stack([summed(row, chain, n) for row, n in zip(scores.detach(), LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-9)
    got.sum().backward()
    torch.testing.assert_close(scores.grad.sum(-1), (torch.arange(T) < LENGTHS[:, None]).double())


def test_shares_and_logarithms_give_the_same():
    chain, scores = chain_of(forbidden=0.3), scores_of()
    exact = _in_logs(scores, _edged(chain), LENGTHS)
    torch.testing.assert_close(log_partition(scores, chain, LENGTHS), exact, rtol=0, atol=1e-12)


def test_a_row_without_a_path_has_no_sum():
    never = torch.full((K, K), -math.inf).double()
    chain = Chain(torch.zeros(K).double(), never, torch.zeros(K).double(), reach(never > 0))
    got = log_partition(torch.zeros(2, 2, K), chain, torch.tensor([1, 2]))
    assert got[0] == pytest.approx(math.log(K)) and got[1] < -1e29
    path, worth = viterbi(torch.zeros(2, 2, K), chain, torch.tensor([1, 2]))
    assert worth.tolist() == [0, -math.inf] and path.tolist() == [[0, -1], [-1, -1]]


@pytest.mark.parametrize("forbidden", [0.0, 0.4])
def test_best_paths_are_the_best_of_all(forbidden):
    chain, scores = chain_of(forbidden=forbidden), scores_of()
    got = best_paths(scores, chain, 4, LENGTHS)
    first, worth = viterbi(scores, chain, LENGTHS)
    for b, n in enumerate(LENGTHS.tolist()):
        possible = [(path, score) for path, score in all_paths(scores[b], chain, n) if score > -math.inf]
        for i in range(4):
            if i >= len(possible):
                assert got.scores[b, i] == -math.inf and (got.tags[b, i] == -1).all()
                continue
            assert got.tags[b, i].tolist() == possible[i][0] + [-1] * (T - n)
            assert got.scores[b, i].item() == pytest.approx(possible[i][1])
        assert first[b].tolist() == got.tags[b, 0].tolist() and worth[b].item() == pytest.approx(possible[0][1])


@pytest.mark.parametrize(("rows", "steps", "tags"), [(3, 7, 1), (5, 1, 4), (9, 13, 33), (2, 6, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_compiled_search_is_the_loop(rows, steps, tags, dtype):
    chain, scores = chain_of(2, tags, 0.3, dtype), scores_of(3, rows, steps, tags, dtype)
    lengths = torch.randint(0, steps + 1, (rows,), generator=torch.Generator().manual_seed(0))
    scores[torch.arange(steps) >= lengths[:, None]] = math.nan
    path, worth = viterbi(scores, chain, lengths)
    want = _loop(scores, chain[:3], 1, lengths)
    assert torch.equal(path, want.tags[:, 0])
    torch.testing.assert_close(worth, want.scores[:, 0])


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_a_row_of_a_ragged_batch_gives_what_it_gives_alone(sizes, seed):
    chain, scores = chain_of(seed), scores_of(seed + 1, len(sizes), 6)
    lengths = torch.tensor(sizes)
    scores[torch.arange(6) >= lengths[:, None]] = math.nan
    total, (path, worth) = log_partition(scores, chain, lengths), viterbi(scores, chain, lengths)
    share = marginals(scores, chain, lengths)
    for b, n in enumerate(sizes):
        assert (path[b, n:] == -1).all() and (share[b, n:] == 0).all()
        if n == 0:
            assert total[b] == 0 and worth[b] == 0
            continue
        alone = scores[b : b + 1, :n]
        torch.testing.assert_close(total[b : b + 1], log_partition(alone, chain), rtol=0, atol=1e-13)
        torch.testing.assert_close(share[b : b + 1, :n], marginals(alone, chain), rtol=0, atol=1e-13)
        one, score = viterbi(alone, chain)
        assert torch.equal(path[b, :n], one[0]) and torch.equal(worth[b], score[0])


def test_a_kernel_is_derived_for_the_step():
    scores, between = scores_of().exp(), torch.rand(K, K, dtype=torch.float64)
    start = torch.ones(len(LENGTHS), K, dtype=torch.float64)
    want, last = FORWARD.scan(scores, start, between)
    with backend("numba"):
        got, end = FORWARD.scan(scores, start, between)
    torch.testing.assert_close(got, want, rtol=1e-13, atol=0)
    torch.testing.assert_close(end, last, rtol=1e-13, atol=0)


def test_reach_is_the_number_of_steps_from_any_tag_to_any():
    assert reach(torch.ones(4, 4, dtype=torch.bool)) == 1
    ring = torch.eye(4, dtype=torch.bool) | torch.eye(4, dtype=torch.bool).roll(1, 0)
    assert reach(ring) == 3
    assert reach(torch.eye(3, dtype=torch.bool).roll(1, 0)) is None
    with pytest.raises(ValueError, match="n must be at least 1"):
        best_paths(scores_of(), chain_of(), 0)


def test_a_row_without_a_path_has_no_marginals_and_gives_no_gradient():
    gone = torch.full((K,), -math.inf).double()
    free, zeros = torch.zeros(K, K).double(), torch.zeros(K).double()
    for chain in (Chain(gone, free, zeros), Chain(zeros, free, gone), Chain(zeros, free - math.inf, zeros, 2)):
        scores = scores_of()
        got = marginals(scores, chain, torch.tensor([5, 3, 0, 2, 4]))
        assert not got.any()
