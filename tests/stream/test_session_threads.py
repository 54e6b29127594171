"""Sessions are made while other threads use the model; nothing of the model is touched. Oracle: one thread."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from test_session import deep, whole, words
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ostinato.kernels import REFERENCE, backend
from ostinato.layers import Pointwise, Stack
from ostinato.recurrent import Recurrent
from ostinato.stream import Session
from ostinato.twin import twin


def contents(model: nn.Module) -> dict[str, tuple[int, Tensor]]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: (id(t), t.detach().clone()) for name, t in named}


def test_threads_use_the_model_and_make_sessions_of_it() -> None:
    torch.manual_seed(0)
    model = deep().eval()
    x = torch.randn(1, 7, 6)
    want, before, interval = whole(model, x), contents(model), sys.getswitchinterval()
    Session(model).push(x[0])  # the kernel is compiled

    def use(k: int) -> bool:
        if k % 2:
            return all(torch.allclose(Session(model).push(x[0]), want[0], rtol=1e-4, atol=2e-6) for _ in range(3))
        with torch.no_grad(), backend(REFERENCE):
            return all(torch.equal(model(x)[0], want) for _ in range(40))

    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(use, range(8)))
    finally:
        sys.setswitchinterval(interval)
    after = contents(model)
    assert before.keys() == after.keys()
    for name, (number, values) in after.items():
        assert number == before[name][0] and torch.equal(values, before[name][1])


class Shift(nn.Module):
    """What a user's module may hold: a cache, a method bound to itself, a hook, a part in a list, a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = parametrizations.weight_norm(nn.Linear(5, 5))
        self.register_buffer("shift", torch.ones(5))
        self.plain = torch.ones(3)
        self.seen: dict[str, Any] = {}
        self.parts, self.act = [self.linear], partial(self._act, scale=2.0)
        self.register_forward_pre_hook(lambda module, given: (given[0] * 2,))

    def _act(self, x: Tensor, scale: float) -> Tensor:
        return torch.tanh(x + self.get_buffer("shift")) * scale

    def forward(self, x: Tensor) -> Tensor:
        self.seen["x"] = x
        return self.act(self.parts[0](x))


def test_a_twin_shares_tensors_and_nothing_else() -> None:
    model = Shift()
    other = twin(model)
    assert {id(t) for t in model.parameters()} == {id(t) for t in other.parameters()}
    assert other.shift is model.shift and other.plain is model.plain
    assert other.linear is not model.linear and other.parts[0] is other.linear
    assert other.act.func.__self__ is other
    x = torch.randn(2, 5)
    assert torch.equal(model(x), other(x)) and other.seen is not model.seen
    other.shift = torch.zeros(5)
    assert model.shift.sum() == 5 and not torch.equal(model(x), other(x))


def test_what_a_users_module_holds_is_compiled_and_left_as_it_is() -> None:
    torch.manual_seed(0)
    module = Shift()
    model: Recurrent[Any] = Stack(Pointwise(module)).eval()
    x = torch.randn(4, 5)
    before = contents(model)
    session = Session(model)
    got = session.push(x)
    assert session.explain().startswith("numba") and module.seen == {}
    assert all(id_ == before[name][0] for name, (id_, _) in contents(model).items())
    torch.testing.assert_close(got, whole(model, x[None])[0], rtol=1e-4, atol=2e-6)


def test_weights_that_are_tied_stay_tied() -> None:
    model = words(tied=True).eval()
    other = twin(model)
    assert len(list(model.parameters())) == len(list(other.parameters()))
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in other.named_parameters()]


def test_parts_of_torch_that_list_their_weights_keep_their_lists() -> None:
    lstm = nn.LSTM(3, 4)
    other = twin(lstm)
    given = {name: torch.zeros_like(p) for name, p in lstm.named_parameters()}
    listed = list(lstm._flat_weights)
    torch.func.functional_call(other, given, (torch.ones(2, 3),))
    assert all(a is b for a, b in zip(lstm._flat_weights, listed, strict=True))
