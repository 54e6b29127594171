"""Losses against torch's own where those are right, and the lecture's wrong numbers refused (features A6, S2.14)."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ostinato.train.losses import cross_entropy, kl, mse, nll


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(7, (3, 5), generator=torch.Generator().manual_seed(1))


def test_cross_entropy_and_nll_agree_with_torch(logits: Tensor, ids: Tensor) -> None:
    want = F.cross_entropy(logits.flatten(0, 1), ids.flatten())
    torch.testing.assert_close(cross_entropy(logits, ids), want)
    torch.testing.assert_close(nll(logits.log_softmax(-1), ids), want)
    torch.testing.assert_close(cross_entropy(logits[:, 0], ids[:, 0]), F.cross_entropy(logits[:, 0], ids[:, 0]))


def test_padding_is_not_counted(logits: Tensor, ids: Tensor) -> None:
    lengths = torch.tensor([5, 0, 2])
    rows = [F.cross_entropy(logits[b, :n], ids[b, :n], reduction="sum") for b, n in enumerate(lengths.tolist())]
    torch.testing.assert_close(cross_entropy(logits, ids, lengths), sum(rows) / 7)
    wild = logits.clone()
    wild[1], wild[2, 2:] = 1e9, -1e9
    torch.testing.assert_close(cross_entropy(wild, ids, lengths), sum(rows) / 7)
    assert float(mse(logits, logits, lengths)) == 0


def test_nll_of_probabilities_is_refused(logits: Tensor, ids: Tensor) -> None:
    # torch's nll_loss on softmax gives -0.218 in the lecture where the cross-entropy is 1.543.
    with pytest.raises(ValueError, match="nll wants log-probabilities"):
        nll(logits.softmax(-1), ids)
    with pytest.raises(ValueError, match="nll wants log-probabilities"):
        nll(logits, ids)


def test_the_divergence_of_a_distribution_from_itself_is_zero(logits: Tensor) -> None:
    p, q = logits.log_softmax(-1), logits.flip(-1).log_softmax(-1)
    assert float(kl(p, p)) == pytest.approx(0, abs=1e-15)
    want = F.kl_div(p, q, reduction="none", log_target=True).sum(-1).mean()
    torch.testing.assert_close(kl(p, q), want)
    with pytest.raises(ValueError, match="kl wants log-probabilities"):
        kl(p.exp(), p.exp())


def test_mse_does_not_broadcast(logits: Tensor) -> None:
    torch.testing.assert_close(mse(logits, logits * 2), F.mse_loss(logits, logits * 2))
    with pytest.raises(ValueError, match="equal shapes"):
        mse(logits, logits[:, :, :1])
