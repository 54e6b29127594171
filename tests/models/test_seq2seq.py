"""The encoder-decoder through the whole model. Oracles: each row alone, one step at a time, torch.nn."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import tree
from ostinato.cells import cells
from ostinato.layers import Bidirectional, Dropout, Stack
from ostinato.models import Seq2Seq, decoder_width
from ostinato.testing import check_recurrent

V, W, H = 13, 6, 8
KINDS = {
    "dot": ("dot", False, False),
    "general": ("general", False, False),
    "additive": ("additive", False, False),
    "dot, fed": ("dot", True, False),
    "general, fed": ("general", True, False),
    "additive, fed": ("additive", True, False),
    "fixed": ("none", False, False),
    "fixed, context": ("none", False, True),
    "fixed, fed, context": ("none", True, True),
}
Make = Callable[..., Seq2Seq]


def make(kind: str, cell: str = "lstm", layers: int = 1, bidirectional: bool = True, **options: Any) -> Seq2Seq:
    """A small model in float64 whose weights are large enough to matter."""
    torch.manual_seed(0)
    attention, feeding, context = KINDS[kind]
    merge = "sum" if attention == "dot" else "concat"
    d_encoder = 2 * H if bidirectional and merge == "concat" else H
    made: Any = cells[cell]

    def level(d_in: int) -> Any:
        return Bidirectional(made(d_in, H), made(d_in, H), merge) if bidirectional else made(d_in, H)

    encoder = Stack(*(level(W if n == 0 else d_encoder) for n in range(layers)))
    width = decoder_width(W, d_encoder, feeding=feeding, context=context)
    body = Stack(*(made(width if n == 0 else H, H) for n in range(layers)))
    model = Seq2Seq(V, V, W, encoder, d_encoder, body, H, attention, feeding, context, **options).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.4)
    return model


def ragged(batch: int = 5, steps: int = 6, shortest: int = 1) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(batch)
    lengths = torch.randint(shortest, steps + 1, (batch,), generator=draw)
    lengths[0], lengths[-1] = shortest, steps
    return torch.randint(V, (batch, steps), generator=draw), lengths


@pytest.mark.parametrize("cell", ["lstm", "gru", "ran", "fastgrnn"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_ragged_batch_gives_each_row_what_it_gets_alone(kind: str, cell: str) -> None:
    model = make(kind, cell, layers=2)
    (source, s_lengths), (target, t_lengths) = ragged(), ragged(steps=7)
    logits = model(source, target, s_lengths, t_lengths)
    for b, (s, t) in enumerate(zip(s_lengths.tolist(), t_lengths.tolist(), strict=True)):
        alone = model(source[b : b + 1, :s], target[b : b + 1, :t])
        torch.testing.assert_close(logits[b : b + 1, :t], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_ragged_batch_is_the_sum_of_its_rows(kind: str) -> None:
    model = make(kind, layers=2)
    (source, s_lengths), (target, t_lengths) = ragged(), ragged(steps=7, shortest=2)
    weights = list(model.parameters())

    def slopes(loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)

    words = t_lengths - 1
    got = slopes(model.loss(source, target, s_lengths, t_lengths) * words.sum())
    want = [torch.zeros_like(w) for w in weights]
    for b, (s, t) in enumerate(zip(s_lengths.tolist(), t_lengths.tolist(), strict=True)):
        alone = slopes(model.loss(source[b : b + 1, :s], target[b : b + 1, :t]) * words[b])
        want = [w + a for w, a in zip(want, alone, strict=True)]
    torch.testing.assert_close(list(got), want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_step_is_scan_is_chunks(kind: str) -> None:
    model = make(kind, layers=2)
    (source, lengths), (target, _) = ragged(), ragged(steps=7)
    start = model.encode(source, lengths)
    whole, end = model.decoder(target, start)
    state, steps = start, []
    for t in range(7):
        y, state = model.decoder.step(target[:, t], state)
        steps.append(y)
    torch.testing.assert_close(
        (torch.stack(steps, 1), tree.leaves(state)), (whole, tree.leaves(end)), rtol=0, atol=1e-12
    )
    first, state = model.decoder(target[:, :3], start)
    second, state = model.decoder(target[:, 3:], state)
    torch.testing.assert_close(
        (torch.cat([first, second], 1), tree.leaves(state)), (whole, tree.leaves(end)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_after_a_ragged_target_is_that_of_each_row_alone(kind: str) -> None:
    model = make(kind)
    (source, lengths), (target, _) = ragged(), ragged(steps=7)
    start, t_lengths = model.encode(source, lengths), torch.tensor([7, 0, 3, 1, 5])
    _, end = model.decoder(target, start, t_lengths)
    for b, t in enumerate(t_lengths.tolist()):
        row = torch.tensor([b])
        alone = tree.select(start, row)
        if t:
            _, alone = model.decoder(target[b : b + 1, :t], alone)
        torch.testing.assert_close(tree.leaves(tree.select(end, row)), tree.leaves(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["additive", "general, fed", "fixed, context"])
def test_a_decoder_keeps_the_laws_of_every_recurrent_part(kind: str) -> None:
    check_recurrent(lambda: make(kind).decoder, d_in=1, ids=V)


@pytest.mark.parametrize("kind", ["general, fed", "general"])
def test_attention_is_a_distribution_over_the_real_source_words(kind: str) -> None:
    model = make(kind)
    (source, lengths), (target, _) = ragged(), ragged()
    state = model.encode(source, lengths)
    for t in range(6):
        _, state = model.decoder.step(target[:, t], state)
        past = torch.arange(6) >= lengths[:, None]
        assert (state.weights[past] == 0).all()
        torch.testing.assert_close(state.weights.sum(1), torch.ones(5).double())
        assert state.weights[lengths > 1].max() < 1  # it does choose


def test_the_context_comes_from_the_source_and_matters() -> None:
    # Same decoder state and same words: only the source differs.
    for kind in ("general", "general, fed", "fixed, context"):
        model = make(kind)
        one, other = (model.encode(torch.tensor([ids])) for ids in ([1, 2, 3], [4, 5, 6]))
        swapped = one._replace(memory=other.memory)
        y, z = (model.decoder.step(torch.tensor([7]), s)[0] for s in (one, swapped))
        assert float((y - z).detach().abs().max()) > 1e-2


def torch_logits(model: Seq2Seq, source: Tensor, target: Tensor) -> Tensor:
    """The same model with general attention and input feeding, by torch's LSTM and LSTMCell."""
    w, decoder = dict(model.named_parameters()), model.decoder

    def load(part: nn.Module, pairs: dict[str, str]) -> nn.Module:
        part.load_state_dict(
            {own: w[name].detach() if name else torch.zeros(4 * H).double() for own, name in pairs.items()}
        )
        return part

    encoder = nn.LSTM(W, H, batch_first=True, bidirectional=True).double()
    names: dict[str, str] = {}
    for end, side in (("", "rightward"), ("_reverse", "leftward")):
        path = f"encoder.parts.0.{side}."
        names |= {f"weight_ih_l0{end}": path + "w_in.weight", f"weight_hh_l0{end}": path + "w_rec"}
        names |= {f"bias_ih_l0{end}": path + "w_in.bias", f"bias_hh_l0{end}": ""}
    load(encoder, names)
    path = "decoder.body.parts.0."
    cell = load(
        nn.LSTMCell(2 * W, H).double(),
        {"weight_ih": path + "w_in.weight", "weight_hh": path + "w_rec", "bias_ih": path + "w_in.bias", "bias_hh": ""},
    )
    memory, ends = encoder(F.embedding(source, model.embedding.weight))
    h, c = (
        torch.tanh(F.linear(torch.cat([end[0], end[1]], 1), w[f"bridge.maps.{i}.weight"], w[f"bridge.maps.{i}.bias"]))
        for i, end in enumerate(ends)
    )
    keys = memory @ w["decoder.attention.w_memory.weight"].T
    fed, outs = torch.zeros(len(source), W).double(), []
    for t in range(target.shape[1]):
        h, c = cell(torch.cat([F.embedding(target[:, t], decoder.embedding.weight), fed], 1), (h, c))
        weights = torch.einsum("bsk,bk->bs", keys, h).softmax(1)
        context = torch.einsum("bs,bsm->bm", weights, memory)
        fed = torch.tanh(F.linear(torch.cat([context, h], 1), decoder.join.weight, decoder.join.bias))
        outs.append(F.linear(fed, decoder.head.weight, decoder.head.bias))
    return torch.stack(outs, 1)


def test_it_is_the_model_written_with_torch() -> None:
    model = make("general, fed")
    (source, _), (target, _) = ragged(), ragged(steps=7)
    torch.testing.assert_close(model(source, target), torch_logits(model, source, target), rtol=0, atol=1e-12)


def test_the_loss_is_that_of_its_logits() -> None:
    (source, s_lengths), (target, t_lengths) = ragged(), ragged(steps=7, shortest=2)
    for smoothing in (0.0, 0.1):
        model = make("general, fed", smoothing=smoothing).train()
        logits = model(source, target[:, :-1], s_lengths)
        wanted = target[:, 1:].masked_fill(torch.arange(1, 7) >= t_lengths[:, None], -100)
        want = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), label_smoothing=smoothing)
        torch.testing.assert_close(model.loss(source, target, s_lengths, t_lengths), want)
        plain = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        torch.testing.assert_close(model.eval().loss(source, target, s_lengths, t_lengths), plain)


def test_shared_and_tied_matrices_are_one() -> None:
    model = make("general", shared=True, tied=True)
    assert model.embedding.weight is model.decoder.embedding.weight is model.decoder.head.weight
    model = make("general", shared=False, tied=False)
    assert (
        len({id(p) for p in (model.embedding.weight, model.decoder.embedding.weight, model.decoder.head.weight)}) == 3
    )


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_acts_in_training_only(locked: bool) -> None:
    model = make("general, fed", dropout=0.5, locked=locked)
    (source, lengths), (target, _) = ragged(), ragged()
    quiet = model(source, target, lengths)
    torch.testing.assert_close(quiet, model(source, target, lengths), rtol=0, atol=0)
    model.train()
    assert not torch.equal(model(source, target, lengths), model(source, target, lengths))


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="one vocabulary"):
        Seq2Seq(5, 6, W, cells["gru"](W, H), H, cells["gru"](W, H), H, shared=True)
    with pytest.raises(ValueError, match="embedding's width 6, and d_out is 9"):
        Seq2Seq(5, 6, W, cells["gru"](W, H), H, cells["gru"](W, H), H, d_out=9)
    with pytest.raises(ValueError, match="leave it out where there is attention"):
        Seq2Seq(5, 6, W, cells["gru"](W, H), H, cells["gru"](W, H), H, context=True)
    with pytest.raises(ValueError, match=r"'general', which has a matrix"):
        Seq2Seq(5, 6, W, cells["gru"](W, H), H, cells["gru"](W, 9), 9, "dot")
    with pytest.raises(ValueError, match=r"did you mean additive\?"):
        Seq2Seq(5, 6, W, cells["gru"](W, H), H, cells["gru"](W, H), H, "aditive")
    with pytest.raises(ValueError, match="has none; give it a cell"):
        Seq2Seq(5, 6, W, cells["gru"](W, H), H, Dropout(0.1), H)
    model = Seq2Seq(5, 6, W, cells["gru"](W, H), H, cells["gru"](W, H), H, feeding=True)
    with pytest.raises(ValueError, match=r"must be \[B, T, 6\] for this cell"):  # not width + d_out
        model(torch.tensor([[1]]), torch.tensor([[1]]))
