"""Conditional random fields: oracles are pytorch-crf for the loss, python-crfsuite for a trained model, enumeration."""

import itertools
import math

import pycrfsuite
import pytest
import torch
import torchcrf

from ostinato import backend
from ostinato.data.tags import Allowed, BrokenTags, check, transitions
from ostinato.layers import CRF

BIOES = ["O", "B-X", "I-X", "E-X", "S-X"]
LENGTHS = torch.tensor([6, 1, 4, 3])


def made(tags=4, allowed=None, dtype=torch.float64):
    torch.manual_seed(0)
    crf = CRF(tags, allowed).to(dtype)
    with torch.no_grad():
        for p in crf.parameters():
            p.normal_()
    return crf


def twin(crf):
    peer = torchcrf.CRF(len(crf.start), batch_first=True).to(crf.start.dtype)
    state = {"start_transitions": crf.start, "transitions": crf.between, "end_transitions": crf.end}
    peer.load_state_dict({name: p.detach() for name, p in state.items()})
    return peer


def given(tags=4, dtype=torch.float64):
    source = torch.Generator().manual_seed(1)
    emissions = torch.randn(4, 6, tags, generator=source, dtype=dtype)
    return emissions, torch.randint(tags, (4, 6), generator=source)


@pytest.mark.parametrize("name", ["reference", "numba"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_loss_and_gradients_are_those_of_pytorch_crf(name, dtype, atol):
    crf, (emissions, tags) = made(dtype=dtype), given(dtype=dtype)
    peer, mask = twin(crf), torch.arange(6) < LENGTHS[:, None]
    e1, e2 = emissions.clone().requires_grad_(), emissions.clone().requires_grad_()
    with backend(name):
        loss = crf.loss(e1, tags, LENGTHS)
        loss.backward()
    want = -peer(e2, tags, mask, reduction="mean")
    want.backward()
    theirs = [peer.start_transitions.grad, peer.transitions.grad, peer.end_transitions.grad]
    torch.testing.assert_close(loss, want, rtol=0, atol=atol)
    for mine, right in zip([e1.grad, crf.start.grad, crf.between.grad, crf.end.grad], [e2.grad, *theirs], strict=True):
        torch.testing.assert_close(mine, right, rtol=0, atol=atol)
    token = -peer(emissions, tags, mask, reduction="token_mean")
    torch.testing.assert_close(crf.loss(emissions, tags, LENGTHS, per="token"), token, rtol=0, atol=atol)
    assert crf.decode(emissions, LENGTHS) == peer.decode(emissions, mask)


def test_a_model_of_crfsuite_decodes_the_same(tmp_path):
    # Every token has one attribute, its word; so the emissions are a table of weights.
    source = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, (n,), generator=source).tolist() for n in (4, 6, 3, 7, 5, 8) * 4]
    tags = [[str((w * 2 + i % 2) % 3) for i, w in enumerate(row)] for row in rows]
    trainer = pycrfsuite.Trainer(verbose=False)
    trainer.set_params({"feature.possible_states": True, "feature.possible_transitions": True, "c2": 0.1})
    for row, labels in zip(rows, tags, strict=True):
        trainer.append([{f"w{w}": 1.0} for w in row], labels)
    trainer.train(str(tmp_path / "model"))
    tagger = pycrfsuite.Tagger()
    tagger.open(str(tmp_path / "model"))
    info = tagger.info()
    names = [str(i) for i in range(3)]
    crf = CRF(3).double()
    with torch.no_grad():
        crf.start.zero_()
        crf.end.zero_()
        crf.between.copy_(torch.tensor([[info.transitions[i, j] for j in names] for i in names]))
    table = torch.tensor([[info.state_features[f"w{w}", i] for i in names] for w in range(5)], dtype=torch.float64)
    for row in rows:
        emissions = table[torch.tensor(row)][None]
        tagger.set([{f"w{w}": 1.0} for w in row])
        best = crf.decode(emissions)[0]
        assert [names[i] for i in best] == tagger.tag()
        assert crf(emissions, torch.tensor([best])).exp().item() == pytest.approx(
            tagger.probability([names[i] for i in best]), abs=1e-5
        )
        want = [[tagger.marginal(i, t) for i in names] for t in range(len(row))]
        torch.testing.assert_close(crf.marginals(emissions)[0], torch.tensor(want).double(), rtol=0, atol=1e-5)


def test_only_valid_sequences_have_a_share_and_are_decoded():
    crf = made(5, transitions(BIOES, "BIOES"))
    emissions, lengths = 3 * given(5)[0], torch.tensor([4, 1, 0, 3])
    rows = crf.nbest(emissions, 500, lengths)
    for b, n in enumerate(lengths.tolist()):
        valid = []
        for path in itertools.product(range(5), repeat=n):
            try:
                check([BIOES[i] for i in path], "BIOES")
            except BrokenTags:
                continue
            valid.append(list(path))
        assert sorted(one.tags for one in rows[b]) == sorted(valid)
        assert sum(math.exp(one.log_probability) for one in rows[b]) == pytest.approx(1, abs=1e-12)
        chances = [one.log_probability for one in rows[b]]
        assert chances == sorted(chances, reverse=True)
        gold = torch.zeros(1, 6, dtype=torch.int64)
        for one in rows[b][:3]:
            gold[0, :n] = torch.tensor(one.tags)
            got = crf(emissions[b : b + 1], gold, lengths[b : b + 1]).item()
            assert got == pytest.approx(one.log_probability, abs=1e-12)
    assert crf.decode(emissions, lengths) == [row[0].tags for row in rows]


def test_gradients_at_a_mask_are_finite_and_none_is_forbidden():
    crf = made(5, transitions(BIOES, "BIOES"), torch.float32)
    emissions = (50 * given(5, torch.float32)[0]).requires_grad_()
    crf.loss(emissions, torch.tensor([[1, 2, 2, 3, 0, 4]] * 4), LENGTHS.new_tensor([6, 6, 4, 0])).backward()
    assert emissions.grad.isfinite().all() and not emissions.grad[3].any()
    assert not crf.between.grad[~crf.allowed.between].any() and crf.between.grad.isfinite().all()


def test_garbage_in_padding_changes_nothing():
    crf, (emissions, tags) = made(), given()
    dirty, wrong = emissions.clone(), tags.clone()
    past = torch.arange(6) >= LENGTHS[:, None]
    dirty[past], wrong[past] = math.nan, -100
    dirty.requires_grad_()
    clean = crf(emissions, tags, LENGTHS)
    got = crf(dirty, wrong, LENGTHS)
    assert torch.equal(got, clean)
    got.sum().backward()
    assert not dirty.grad[past].any()
    assert torch.equal(crf.marginals(dirty, LENGTHS), crf.marginals(emissions, LENGTHS))
    assert crf.decode(dirty, LENGTHS) == crf.decode(emissions, LENGTHS)


def test_a_saved_mask_comes_back():
    crf = made(5, transitions(BIOES, "BIOES"))
    again = CRF(5).double()
    emissions, _ = given(5)
    again.decode(emissions)
    again.load_state_dict(crf.state_dict())
    assert again.nbest(emissions, 3) == crf.nbest(emissions, 3)


def test_a_crf_learns_what_emissions_cannot_say():
    # The tag of a step is the parity of the steps so far: only the transitions know.
    crf = CRF(2)
    optimiser = torch.optim.Adam(crf.parameters(), lr=0.2)
    tags = (torch.arange(7) % 2).expand(3, 7)
    for _ in range(60):
        optimiser.zero_grad()
        loss = crf.loss(torch.zeros(3, 7, 2), tags)
        loss.backward()
        optimiser.step()
    assert loss < 0.1 and crf.decode(torch.zeros(1, 5, 2)) == [[0, 1, 0, 1, 0]]


def test_bad_input_is_told():
    crf, (emissions, tags) = made(5, transitions(BIOES, "BIOES")), given(5)
    with pytest.raises(ValueError, match="row 1 are forbidden: tag 0 at step 2 cannot follow tag 1; mend them"):
        crf.loss(emissions[:2], torch.tensor([[0] * 6, [0, 1, 0, 0, 0, 0]]))
    with pytest.raises(ValueError, match="row 0 are forbidden: tag 2 cannot begin"):
        crf.loss(emissions[:1], torch.tensor([[2] * 6]))
    with pytest.raises(ValueError, match="tag 1 cannot be the last"):
        crf.loss(emissions[:1], torch.tensor([[0, 1, 0, 0, 0, 0]]), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"tags must lie in 0..4, and reach from 0 to 5"):
        crf.loss(emissions[:1], torch.tensor([[0, 0, 0, 0, 0, 5]]))
    with pytest.raises(ValueError, match=r"emissions must be floating \[B, T, 5\]"):
        crf.decode(emissions[..., :4])
    for best in (crf.decode, lambda scores: crf.nbest(scores, 2)):
        with pytest.raises(ValueError, match="emissions hold NaN"):
            best(torch.full_like(emissions, math.nan))
    with pytest.raises(ValueError, match=r"tags must be int64 of shape \(4, 6\)"):
        crf.loss(emissions, tags[:, :5])
    with pytest.raises(ValueError, match=r"lengths must lie in 0..6"):
        crf.decode(emissions, torch.tensor([7, 1, 1, 1]))
    with pytest.raises(ValueError, match="per must be 'sequence' or 'token'"):
        crf.loss(emissions, torch.zeros_like(tags), per="word")
    with pytest.raises(ValueError, match="at least one tag"):
        CRF(0)
    yes = torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"allowed.between must be bool of shape \(2, 2\)"):
        CRF(2, Allowed(yes, yes, yes))
    with pytest.raises(ValueError, match="some tag to begin"):
        CRF(2, Allowed(~yes, yes.expand(2, 2), yes))
    only = CRF(2, Allowed(yes, torch.zeros(2, 2, dtype=torch.bool), yes))
    with pytest.raises(ValueError, match=r"no sequence of 3 tags is allowed \(row 1\)"):
        only.decode(torch.zeros(2, 3, 2), torch.tensor([1, 3]))


FORBIDDEN = {
    "any after any": lambda may: may.between.fill_(False),
    "any after one": lambda may: may.between[0].fill_(False),
    "one after any": lambda may: may.between[:, 0].fill_(False),
    "all but one at the start": lambda may: may.start[1:].fill_(False),
    "all but one at the end": lambda may: may.end[:-1].fill_(False),
    "nothing": lambda may: None,
}


@pytest.mark.parametrize("name", ["reference", "numba"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("what", FORBIDDEN)
def test_rows_shorter_than_the_batch_where_tags_are_forbidden(what, count, name):
    """Oracle: the sum over all allowed paths, in float64, and autograd through it."""
    may = Allowed(*(torch.ones(s, dtype=torch.bool) for s in ((count,), (count, count), (count,))))
    FORBIDDEN[what](may)
    crf, source = made(count, may), torch.Generator().manual_seed(2)
    emissions = torch.randn(5, 4, count, generator=source, dtype=torch.float64)
    rows, sizes, tags = [], [], torch.zeros(5, 4, dtype=torch.int64)
    for row, size in enumerate((1, 0, 2, 3, 4)):
        paths = [p for p in itertools.product(range(count), repeat=size) if check_path(may, p)]
        sizes.append(size if paths else 0)  # CRF.loss refuses a row without a path
        tags[row, : sizes[-1]] = torch.tensor((paths or [()])[-1], dtype=torch.int64)
        rows.append(paths or [()])
    lengths = torch.tensor(sizes)
    e1, e2 = emissions.clone().requires_grad_(), emissions.clone().requires_grad_()
    learnt = [crf.start, crf.between, crf.end]

    def score(row, path):
        total = sum((e2[row, t, k] for t, k in enumerate(path)), start=e2.sum() * 0)
        total = total + sum(crf.between[i, j] for i, j in itertools.pairwise(path))
        return total + crf.start[path[0]] + crf.end[path[-1]] if path else total

    sums = [torch.stack([score(row, p) for p in paths]).logsumexp(0) for row, paths in enumerate(rows)]
    own = [score(row, tags[row, :size].tolist()) for row, size in enumerate(sizes)]
    want = [s - z for s, z in zip(own, sums, strict=True)]
    with backend(name):
        got = crf(e1, tags, lengths)
        marginals = crf.marginals(emissions, lengths)
    torch.testing.assert_close(got, torch.stack(want), rtol=0, atol=1e-10)
    (share,) = torch.autograd.grad(sum(sums), e2, retain_graph=True)
    torch.testing.assert_close(marginals, share, rtol=0, atol=1e-10)
    options = {"allow_unused": True, "materialize_grads": True}
    mine = torch.autograd.grad(-got.sum(), [e1, *learnt], **options)
    theirs = torch.autograd.grad(-sum(want), [e2, *learnt], **options)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def check_path(may, path):
    return not path or bool(
        may.start[path[0]] and may.end[path[-1]] and all(may.between[i, j] for i, j in itertools.pairwise(path))
    )
