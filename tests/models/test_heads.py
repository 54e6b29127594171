"""Heads. Oracles: torch's losses, sums by hand, and every sequence of tags one by one."""

import math
from itertools import pairwise, product

import pytest
import torch
from torch.nn import functional as F

from ostinato.data.tags import transitions
from ostinato.layers import CRF, Pool
from ostinato.models.heads import ClassHead, LabelsHead, TagHead

TAGS = ["B-X", "I-X", "O"]
LENGTHS = torch.tensor([3, 1, 2])


def steps(width: int = 4) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 3, width, dtype=torch.float64)


def crf_head() -> TagHead:
    torch.manual_seed(1)
    return TagHead(4, 3, CRF(3, transitions(TAGS, "BIO")), length=2.0).double()


def test_the_loss_of_classes_is_the_mean_over_rows_of_their_weighted_surprise() -> None:
    weights = torch.tensor([0.5, 2.0, 3.0])
    head = ClassHead(Pool("max", 4), 3, weights=weights).double()
    scores, target = torch.randn(3, 3, dtype=torch.float64), torch.tensor([2, 0, 2])
    nats = -scores.log_softmax(-1)[torch.arange(3), target]
    wanted = (3.0 * nats[0] + 0.5 * nats[1] + 3.0 * nats[2]) / 3
    assert head.loss(scores, target, LENGTHS).item() == pytest.approx(wanted.item(), abs=1e-12)


def test_smoothing_gives_its_share_to_all_classes_alike() -> None:
    head = ClassHead(Pool("max", 4), 3, smoothing=0.3).double()
    scores, target = torch.randn(3, 3, dtype=torch.float64), torch.tensor([2, 0, 1])
    wanted = torch.full((3, 3), 0.1, dtype=torch.float64) + 0.7 * F.one_hot(target, 3).double()
    nats = -(wanted * scores.log_softmax(-1)).sum(-1).mean()
    assert head.loss(scores, target, LENGTHS).item() == pytest.approx(nats.item(), abs=1e-12)


def test_the_loss_of_labels_is_a_sum_of_coins() -> None:
    head = LabelsHead(Pool("max", 4), 2, weights=torch.tensor([2.0, 1.0])).double()
    scores, target = torch.randn(3, 2, dtype=torch.float64), torch.tensor([[1, 0], [0, 0], [1, 1]])
    p = scores.sigmoid()
    weight = torch.where(target == 1, torch.tensor([2.0, 1.0]), torch.ones(2))
    nats = -(weight * torch.where(target == 1, p, 1 - p).log()).sum(-1).mean()
    assert head.loss(scores, target, LENGTHS).item() == pytest.approx(nats.item(), abs=1e-12)


def test_labels_apply_from_a_half_on() -> None:
    head = LabelsHead(Pool("max", 4), 3)
    (found,) = head.decide(torch.tensor([[0.1, -0.1, 3.0]]), LENGTHS[:1])
    assert found.ids == [0, 2]
    assert found.confidence == pytest.approx([0.52498, 0.95257], abs=1e-5)
    (ranked,) = head.nbest(torch.tensor([[0.1, -0.1, 3.0]]), LENGTHS[:1], 2)
    assert [answer.ids for answer in ranked] == [[2], [0]]


@pytest.mark.parametrize("crf", [False, True])
def test_a_row_counts_as_a_sum_over_its_steps(crf: bool) -> None:
    head = crf_head() if crf else TagHead(4, 3, length=2.0).double()
    scores, target = head(steps(), LENGTHS), torch.tensor([[0, 1, 2], [2, 0, 0], [0, 0, 1]])
    each = [
        head.loss(scores[i : i + 1, :n], target[i : i + 1, :n], LENGTHS[i : i + 1]).item()
        for i, n in enumerate(LENGTHS.tolist())
    ]
    assert head.loss(scores, target, LENGTHS).item() == pytest.approx(sum(each) / 3, abs=1e-12)
    if not crf:
        nats = -scores.log_softmax(-1)
        by_hand = (nats[0, 0, 0] + nats[0, 1, 1] + nats[0, 2, 2] + nats[1, 0, 2] + nats[2, 0, 0] + nats[2, 1, 0]) / 6
        assert sum(each) / 3 == pytest.approx(by_hand.item(), abs=1e-12)


def test_garbage_past_the_end_reaches_no_loss_and_no_gradient() -> None:
    for head in (crf_head(), TagHead(4, 3).double()):
        y = steps()
        y[1, 1:], y[2, 2:] = torch.nan, torch.inf
        target = torch.tensor([[0, 1, 2], [2, 99, 99], [0, 1, 99]]).clamp(max=2)
        loss = head.loss(head(y, LENGTHS), target, LENGTHS)
        loss.backward()
        assert math.isfinite(loss.item())


def test_n_best_sequences_are_the_likeliest_of_all_and_carry_their_probability() -> None:
    head = crf_head()
    assert head.crf is not None
    head.requires_grad_(False)
    scores = head(steps(), LENGTHS)
    for row, n in enumerate(LENGTHS.tolist()):
        worth = {}
        for tags in product(range(3), repeat=n):
            allowed = tags[0] != 1 and all(b != 1 or a != 2 for a, b in pairwise(tags))
            if allowed:
                emitted = sum(scores[row, t, tag] for t, tag in enumerate(tags))
                moved = sum(head.crf.between[a, b] for a, b in pairwise(tags))
                worth[tags] = float(head.crf.start[tags[0]] + emitted + moved + head.crf.end[tags[-1]])
        total = sum(map(math.exp, worth.values()))
        wanted = sorted(((math.exp(w) / total, list(tags)) for tags, w in worth.items()), reverse=True)[:4]
        found = head.nbest(scores, LENGTHS, 4)[row]
        assert [answer.ids for answer in found] == [tags for _, tags in wanted]
        assert [answer.confidence for answer in found] == [pytest.approx([p] * n, abs=1e-10) for p, _ in wanted]
        assert head.decide(scores, LENGTHS)[row].ids == wanted[0][1]


def test_the_probabilities_of_all_classes_and_of_all_tags_sum_to_one() -> None:
    head = ClassHead(Pool("mean", 4), 5).double()
    for row in head.nbest(head(steps(), LENGTHS), LENGTHS, 99):
        assert len(row) == 5
        assert sum(answer.confidence[0] for answer in row) == pytest.approx(1, abs=1e-12)
    tagger = crf_head()
    for row, n in zip(tagger.nbest(tagger(steps(), LENGTHS), LENGTHS, 27), LENGTHS.tolist(), strict=True):
        assert sum(answer.confidence[0] for answer in row) == pytest.approx(1, abs=1e-10)
        assert all(len(answer.ids) == n for answer in row)


def test_a_softmax_tagger_has_no_best_sequences() -> None:
    head = TagHead(4, 3).double()
    with pytest.raises(ValueError, match=r"need a CRF, and this head tags each step by itself; train with crf = true"):
        head.nbest(head(steps(), LENGTHS), LENGTHS, 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_losses_are_told_in_float32_at_least(dtype: torch.dtype) -> None:
    wanted = torch.promote_types(dtype, torch.float32)
    one, many = torch.tensor([1, 0, 2]), torch.ones(3, 3, dtype=torch.int64)
    weights = torch.ones(3)
    for head, target, width in (
        (ClassHead(Pool("max", 4), 3, weights=weights), one, 2),
        (LabelsHead(Pool("max", 4), 3, weights=weights), many, 2),
        (TagHead(4, 3), many, 3),
        (TagHead(4, 3, CRF(3)), many, 3),
    ):
        head.to(wanted)
        scores = torch.randn(3, *[3] * (width - 1)).to(dtype)
        assert head.loss(scores, target, LENGTHS).dtype == wanted
        assert len(head.decide(scores, LENGTHS)) == 3
