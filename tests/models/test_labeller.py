"""The whole labelling model. Oracle: each row alone. Sums of losses by hand."""

from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato.cells import GRU, LSTM
from ostinato.data.tags import transitions
from ostinato.layers import CRF, TCN, Bidirectional, Pool, Stack, TransformerEncoder
from ostinato.layers.pool import KINDS
from ostinato.models import CharacterConvolution, CharacterReader, Embedder, Labeller
from ostinato.models.heads import ClassHead, LabelsHead, TagHead
from ostinato.models.labeller import saliency
from ostinato.tasks.labelling.task import answered

WORDS, LETTERS, TAGS = 12, 6, ["B-X", "I-X", "B-Y", "I-Y", "O"]
SPELLING = {
    "words": lambda: None,
    "read": lambda: CharacterReader(LETTERS, 3, 2, LSTM),
    "convolved": lambda: CharacterConvolution(LETTERS, 3, 4),
}
BODIES = {
    "one direction": (lambda d: LSTM(d, 6), 1),
    "two directions": (lambda d: Bidirectional(LSTM(d, 3), LSTM(d, 3)), 2),
    "two deep": (lambda d: Stack(Bidirectional(GRU(d, 3), GRU(d, 3)), Bidirectional(GRU(6, 3), GRU(6, 3))), 2),
    "tcn": (lambda d: TCN(d, [6, 6], causal=False), 1),
    "transformer": (lambda d: TransformerEncoder(d, 6, 1, heads=2), 1),
}


@cache
def labeller(spelling: str, body: str, learned: bool = False) -> Labeller:
    """All kinds of heads over one encoder."""
    torch.manual_seed(0)
    embedder = Embedder(WORDS, 5, characters=SPELLING[spelling]())
    make, directions = BODIES[body]
    heads = {f"class_{kind}": ClassHead(Pool(kind, 6, directions), 3) for kind in KINDS}
    heads |= {
        "labels": LabelsHead(Pool("max", 6, directions), 4),
        "tags": TagHead(6, 5),
        "chain": TagHead(6, 5, CRF(5, transitions(TAGS, "BIO"))),
        "free": TagHead(6, 5, CRF(5)),
    }
    model = Labeller(embedder, make(embedder.d_out), heads, {"labels": 3.0}, learned).double().eval()
    # So wide apart that a wrong row would show in every answer.
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.Embedding):
                part.weight[0] = 0  # padding
    return model


@st.composite
def ragged(draw: st.DrawFn, spelt: bool) -> list[torch.Tensor]:
    """One to six rows of one to nine words, of one to five letters each where they are spelt."""
    sizes = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    rows = []
    for words, width in sizes:
        ids = torch.randint(1, WORDS, (words, 1), generator=generator)
        letters = torch.randint(1, LETTERS, (words, width), generator=generator)
        written = torch.randint(1, width + 1, (words, 1), generator=generator)
        letters = letters.masked_fill(torch.arange(width) >= written, 0)
        rows.append(torch.cat([ids, letters], dim=1) if spelt else ids.squeeze(1))
    return rows


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("spelling", SPELLING)
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
def test_each_row_gets_what_it_gets_alone(spelling: str, body: str, data: st.DataObject) -> None:
    model = labeller(spelling, body)
    rows = data.draw(ragged(spelling != "words"))
    together = answered(model, rows, batch=4)
    for row, found in zip(rows, together, strict=True):
        (alone,) = answered(model, [row], batch=1)
        assert found.keys() == alone.keys() == set(model.heads)
        for name, decision in alone.items():
            assert found[name].ids == decision.ids
            assert found[name].confidence == pytest.approx(decision.confidence, abs=1e-10)


@pytest.mark.parametrize("spelling", SPELLING)
@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
def test_the_order_of_rows_and_what_pads_them_change_nothing(spelling: str, data: st.DataObject) -> None:
    model = labeller(spelling, "two directions")
    rows = data.draw(ragged(spelling != "words"))
    order = data.draw(st.permutations(range(len(rows))))
    found, moved = answered(model, rows, 4), answered(model, [rows[i] for i in order], 4)
    for place, i in enumerate(order):
        for name in found[i]:
            assert moved[place][name].ids == found[i][name].ids
            assert moved[place][name].confidence == pytest.approx(found[i][name].confidence, abs=1e-10)


@pytest.mark.parametrize("spelling", SPELLING)
def test_garbage_in_the_padding_changes_no_score(spelling: str) -> None:
    model = labeller(spelling, "two deep")
    shape = (3, 7) if spelling == "words" else (3, 7, 4)
    clean, lengths = torch.randint(1, LETTERS, shape), torch.tensor([7, 1, 4])
    spoilt = clean.clone()
    spoilt[1, 1:], spoilt[2, 4:] = 99, -5  # ids that there are none of
    with torch.no_grad():
        wanted, found = model(clean, lengths), model(spoilt, lengths)
    for name in ("class_max", "class_last", "class_attention", "labels"):
        assert torch.equal(wanted[name], found[name])
    assert torch.equal(wanted["tags"][2, :4], found["tags"][2, :4])


def targets(model: Labeller, rows: int, steps: int) -> dict[str, torch.Tensor]:
    made = {name: torch.randint(0, 3, (rows,)) for name in model.heads if name.startswith("class")}
    made |= {name: torch.full((rows, steps), 4) for name in ("tags", "chain", "free")}
    return {**made, "labels": torch.randint(0, 2, (rows, 4))}


def test_the_loss_is_the_weighted_sum_of_the_heads() -> None:
    model = labeller("words", "one direction")
    x, lengths = torch.randint(1, WORDS, (3, 5)), torch.tensor([5, 2, 1])
    wanted = targets(model, 3, 5)
    each = model.losses(x, wanted, lengths)
    total = torch.stack([loss * (3.0 if name == "labels" else 1.0) for name, loss in each.items()]).sum()
    assert model.loss(x, wanted, lengths).item() == pytest.approx(float(total.detach()), abs=1e-12)


def test_learned_weights_are_those_of_the_paper() -> None:
    """exp(-s) L + s: its minimum over s is where exp(s) = L."""
    model = labeller("words", "one direction", learned=True)
    assert model.heads.log_variance is not None
    x, lengths = torch.randint(1, WORDS, (3, 5)), torch.tensor([5, 2, 1])
    wanted = targets(model, 3, 5)
    each = model.losses(x, wanted, lengths)
    with torch.no_grad():
        model.heads.log_variance.copy_(torch.stack([each[name].log() for name in model.heads]))
    model.zero_grad()
    loss = model.loss(x, wanted, lengths)
    loss.backward()
    by_hand = sum(1 + each[name].log().item() for name in each)
    assert loss.item() == pytest.approx(by_hand, abs=1e-10)
    assert model.heads.log_variance.grad is not None
    assert model.heads.log_variance.grad.abs().max() < 1e-10


def test_a_batch_is_as_good_as_its_rows() -> None:
    """Losses are means over rows: so shares of a batch, weighted by their rows, add up to it."""
    model = labeller("words", "two directions")
    x, lengths = torch.randint(1, WORDS, (5, 6)), torch.tensor([6, 3, 1, 2, 5])
    wanted = targets(model, 5, 6)
    whole = model.loss(x, wanted, lengths).item()
    parts = 0.0
    for rank in range(2):
        own = {name: target[rank::2] for name, target in wanted.items()}
        parts += model.loss(x[rank::2], own, lengths[rank::2]).item() * len(lengths[rank::2]) / 5
    assert parts == pytest.approx(whole, abs=1e-10)


def test_saliency_is_zero_past_the_end_and_leaves_no_gradient() -> None:
    model = labeller("words", "two directions")
    model.zero_grad()
    x, lengths = torch.randint(1, WORDS, (3, 6)), torch.tensor([6, 3, 1])
    found = saliency(model, x, lengths, "class_mean", torch.tensor([0, 1, 2]))
    assert found.shape == (3, 6)
    assert found[1, 3:].eq(0).all()
    assert found[1, :3].ne(0).all()
    assert all(p.grad is None for p in model.parameters())


def test_an_adversarial_step_goes_where_the_loss_grows() -> None:
    """Oracle: Miyato et al. 2017 by hand, r = ε ‖v‖ g / ‖g‖ a row, on the model's own parts; and L(v + r) > L(v)."""
    torch.manual_seed(0)
    heads = {"label": ClassHead(Pool("max_mean", 6), 3)}
    model = Labeller(Embedder(20, 5), GRU(5, 6), heads, adversarial=0.01).double()
    x, lengths = torch.randint(2, 20, (4, 7)), torch.tensor([7, 3, 0, 5])
    targets = {"label": torch.tensor([0, 1, 2, 1])}
    got = model.loss(x, targets, lengths)
    v = model.embedder(x, lengths)
    clean = model.head("label").loss(model.judge(v, lengths)["label"], targets["label"], lengths)
    (g,) = torch.autograd.grad(clean, v, retain_graph=True)
    moved = v.clone()
    for row in (0, 1, 3):  # the row of length 0 has nowhere to go
        moved[row] = v[row] + 0.01 * v[row].norm().detach() * g[row] / g[row].norm()
    worse = model.head("label").loss(model.judge(moved, lengths)["label"], targets["label"], lengths)
    assert worse.item() > clean.item()
    torch.testing.assert_close(got, (clean + worse) / 2)
    mine = torch.autograd.grad(got, list(model.parameters()))
    true = torch.autograd.grad((clean + worse) / 2, list(model.parameters()))
    for a, b in zip(mine, true, strict=True):
        torch.testing.assert_close(a, b)
    model.eval()
    assert model.loss(x, targets, lengths).item() == clean.item()
