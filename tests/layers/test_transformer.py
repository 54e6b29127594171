"""Transformer encoder. Oracles: torch.nn's own encoder layer with these weights; the laws of a Layer."""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ostinato import testing
from ostinato.layers import TransformerEncoder
from ostinato.registry import UnknownNameError

LAWS = [law for law in testing.LAWS if law not in testing.STREAMING]


def twin(part):
    """torch's layer with the weights of ours."""
    width = part.out.out_features
    made = nn.TransformerEncoderLayer(
        width, part.heads, part.hidden[0].out_features, dropout=0.0, batch_first=True, norm_first=True
    ).double()
    pairs = [
        (made.self_attn.in_proj_weight, part.queries_keys_values.weight),
        (made.self_attn.in_proj_bias, part.queries_keys_values.bias),
    ]
    modules = [
        (made.self_attn.out_proj, part.out), (made.linear1, part.hidden[0]), (made.linear2, part.hidden[3]),
        (made.norm1, part.before_attention), (made.norm2, part.before_hidden),
    ]  # fmt: skip
    for theirs, ours in modules:
        pairs += [(theirs.weight, ours.weight), (theirs.bias, ours.bias)]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    return made


def positions(steps, width):
    return torch.tensor(
        [
            [(math.cos if i % 2 else math.sin)(t / 10000 ** ((i // 2 * 2) / width)) for i in range(width)]
            for t in range(steps)
        ],
        dtype=torch.float64,
    )


def test_it_computes_what_torchs_encoder_does():
    part = TransformerEncoder(5, 8, layers=2, heads=2).double()
    for p in part.parameters():
        nn.init.normal_(p, std=0.5)
    x, lengths = torch.randn(3, 7, 5, dtype=torch.float64), torch.tensor([7, 4, 1])
    y = part.project(x) * math.sqrt(8) + positions(7, 8)
    hidden = torch.arange(7) >= lengths[:, None]
    for layer in part.parts:
        y = twin(layer)(y, src_key_padding_mask=hidden)
    want = part.norm(y).masked_fill(hidden[..., None], 0)
    torch.testing.assert_close(part(x, None, lengths)[0], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("places", ["sinusoidal", "learned"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, places):
    case = testing.case(lambda: TransformerEncoder(5, 8, heads=2, dropout=0.2, positions=places), 5)
    # What it is told to need for second derivatives.
    with sdpa_kernel(SDPBackend.MATH) if law is testing.law_torch_func else nullcontext():
        law(case)


def test_positions_tell_one_order_from_another():
    part, x = TransformerEncoder(5, 8), torch.randn(1, 6, 5)
    assert (part(x.flip(1))[0].flip(1) - part(x)[0]).abs().max() > 0.01


def test_what_it_cannot_do_is_told():
    x = torch.randn(2, 7, 5)
    with pytest.raises(ValueError, match="4 positions are learned and the sequences have 7 steps"):
        TransformerEncoder(5, 8, positions="learned", longest=4)(x)
    with pytest.raises(UnknownNameError, match="no positions are called 'learnt'; did you mean learned"):
        TransformerEncoder(5, 8, positions="learnt")
    with pytest.raises(ValueError, match="9 features do not go into 4 heads"):
        TransformerEncoder(5, 9)
