"""Parameters by shape: every number counted once, none depending on the length."""

import pytest
from torch import nn

from ostinato.cells import LSTM, Elman
from ostinato.models import Embedder
from ostinato.report import parameter_table, total_parameters


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.cell = LSTM(3, 3)
        self.head = nn.Linear(3, 7)
        self.head.weight = self.embedding.weight


def test_a_tied_weight_is_one_row_that_names_its_second_place() -> None:
    rows = {row.name: row for row in parameter_table(Tied())}
    assert "head.weight" not in rows
    assert rows["embedding.weight"].shape == (7, 3)
    assert "shared with head.weight" in rows["embedding.weight"].role
    # 7·3 embedding; 4·(3·3 + 3·3 + 3) LSTM with one bias; 7 bias of the head
    assert sum(row.numbers for row in rows.values()) == total_parameters(Tied()) == 21 + 84 + 7


@pytest.mark.parametrize(
    ("model", "total"),
    [(Elman(4, 3), 24), (LSTM(4, 3), 96), (nn.LSTM(4, 3), 108)],  # by hand: d = 4, h = 3; torch's has two biases
)
def test_totals_are_those_counted_by_hand(model: nn.Module, total: int) -> None:
    assert sum(row.numbers for row in parameter_table(model)) == total_parameters(model) == total


@pytest.mark.parametrize("model", [LSTM(4, 3), nn.LSTM(4, 3)])
def test_roles_tell_input_from_recurrent_weights(model: nn.Module) -> None:
    roles = {row.shape: row.role for row in parameter_table(model)}
    assert roles[(12, 4)] == "input to gates"
    assert roles[(12, 3)] == "state to gates, the same at every step"


def test_a_frozen_parameter_says_so() -> None:
    model = nn.Embedding(3, 2).requires_grad_(False)
    assert parameter_table(model)[0].role == "one row a token; frozen"


def test_a_table_of_pairs_is_told_from_that_of_tokens() -> None:
    roles = {row.name: row.role for row in parameter_table(Embedder(9, 2, pairs=5))}
    assert roles == {"words.weight": "one row a token", "pairs.weight": "one row a hashed pair of tokens"}
