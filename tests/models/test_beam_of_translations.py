"""Beam search through an encoder-decoder. Oracles: each sentence alone, the chosen words read again."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from ostinato.cells import cells
from ostinato.layers import Bidirectional
from ostinato.models import Seq2Seq, decoder_width
from ostinato.stream import Hypothesis

START, END = 0, 1


class Case(NamedTuple):
    model: Seq2Seq
    source: Tensor
    lengths: Tensor


def translator(attention: str = "general", feeding: bool = True) -> Case:
    torch.manual_seed(1)
    gru: Any = cells["gru"]
    encoder = Bidirectional(gru(5, 6), gru(5, 6))
    body = gru(decoder_width(5, 12, feeding=feeding), 6)
    model = Seq2Seq(9, 9, 5, encoder, 12, body, 6, attention, feeding).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    return Case(model, torch.randint(2, 9, (4, 7)), torch.tensor([7, 1, 4, 2]))


def translated(case: Case, **options: Any) -> list[list[Hypothesis]]:
    return case.model.translate(case.source, case.lengths, start=START, end=END, **options)


@pytest.mark.parametrize("feeding", [True, False])
def test_a_translation_does_not_depend_on_its_batch(feeding: bool) -> None:
    case = translator(feeding=feeding)
    whole = translated(case, beam=4, n_best=4)
    for b, length in enumerate(case.lengths.tolist()):
        alone = translated(
            Case(case.model, case.source[b : b + 1, :length], case.lengths[b : b + 1]), beam=4, n_best=4
        )[0]
        assert [h.ids for h in whole[b]] == [h.ids for h in alone]
        for one, other in zip(whole[b], alone, strict=True):
            assert one.attention is not None
            assert other.attention is not None
            torch.testing.assert_close(one.attention[:, :length], other.attention)
            assert (one.attention[:, length:] == 0).all()


def test_attention_is_that_of_the_words_own_way() -> None:
    # Oracle: the chosen words read again, without any search.
    case = translator()
    for b, found in enumerate(translated(case, beam=5, n_best=5)):
        for h in found:
            ids = torch.tensor([START, *h.ids, *[END] * h.ended])
            row = slice(b, b + 1)
            with torch.no_grad():
                state, looks = case.model.encode(case.source[row], case.lengths[row]), []
                for word in ids[:-1]:
                    _, state = case.model.decoder.step(word[None], state)
                    looks.append(state.weights[0])
            assert h.attention is not None
            torch.testing.assert_close(h.attention, torch.stack(looks))


def test_without_attention_there_is_none_to_give() -> None:
    assert all(h.attention is None for found in translated(translator("none")) for h in found)


def test_a_translation_is_at_most_as_long_as_its_source_allows() -> None:
    case = translator()
    for found, length in zip(translated(case, ratio=2.0, extra=1), case.lengths.tolist(), strict=True):
        assert len(found[0].ids) + found[0].ended <= 2 * length + 1
