"""The private symbols of torch are named in src/ostinato/_torch.py alone, and each does what is said there."""

import ast
from pathlib import Path

import pytest
import torch
from torch import fx, nn
from torch.autograd import forward_ad

from ostinato import _torch

ROOT = Path(__file__).parents[1] / "src" / "ostinato"
FILES = sorted(p for p in ROOT.rglob("*.py") if p.name != "_torch.py")
ALLOWED = {
    "_fields": "of Python's named tuples",
    "_replace": "of Python's named tuples",
    "_asdict": "of Python's named tuples",
    "_softmax_backward_data": "an operation of ATen",
    "_log_softmax_backward_data": "an operation of ATen",
    "_should_skip_dynamo": "a method that a dispatch mode of ours overrides",
}


def private(name):
    return name.startswith("_") and not name.endswith("__")


def own_names(trees):
    """Private names that this package itself gives: to functions, classes, attributes and slots."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.attr if isinstance(node, ast.Attribute) else node.id


def of_torch(node):
    """Whether `torch` is what a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "torch"


def named(tree, own):
    """What a file names of torch, or of any object, that is private and not this package's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            paths = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            paths = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Attribute) and private(node.attr) and (node.attr not in own or of_torch(node)):
            yield node.attr
            continue
        else:
            continue
        for path in paths:
            if path.split(".")[0] == "torch" and any(map(private, path.split("."))):
                yield path


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
OWN = {name for name in own_names(TREES.values()) if private(name)} | set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_names_one(path):
    assert list(named(TREES[path], OWN)) == []


def test_a_private_name_is_found():
    text = "import torch\nfrom torch.utils import _pytree\nx = torch._C._get_tracing_state()\ny = x._version"
    assert {"torch.utils._pytree", "_C", "_get_tracing_state", "_version"} == set(named(ast.parse(text), OWN))


def test_transforms():
    seen = []

    def watch(x):
        seen.append((_torch.in_transform(), _torch.is_wrapped(x)))
        return x

    watch(torch.ones(2))
    torch.func.vmap(watch)(torch.ones(2))
    assert seen == [(False, False), (True, True)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_jit_trace():
    seen = []

    def watch(x):
        seen.append(_torch.in_jit_trace())
        return x + 1

    assert not _torch.in_jit_trace()
    torch.jit.trace(watch, torch.ones(2), check_trace=False)
    assert seen == [True]


class Counts(_torch.TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


class Own(torch.Tensor):
    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


def test_dispatch():
    with Counts() as mode:
        assert _torch.in_dispatch_mode()
        torch.ones(2) + 1
    assert mode.calls == 2 and not _torch.in_dispatch_mode()
    own = torch.Tensor._make_subclass(Own, torch.ones(2))
    assert [_torch.dispatches(t) for t in (torch.ones(2), nn.Parameter(torch.ones(2)), own)] == [False, False, True]


def test_forward_mode():
    assert not _torch.in_forward_mode()
    with forward_ad.dual_level():
        assert _torch.in_forward_mode()


def test_operations():
    aten = torch.ops.aten
    assert _torch.decomposition(aten.tanh.default) is None
    decomposed = _torch.decomposition(aten.matmul.default)
    x = torch.randn(3, 3)
    torch.testing.assert_close(decomposed(x, x), x @ x)
    assert _torch.schema(aten.add_.Tensor).is_mutable and not _torch.schema(aten.add.Tensor).is_mutable
    for after_autograd in (True, False):
        table = _torch.decompositions(["silu"], after_autograd)
        torch.testing.assert_close(table[aten.silu.default](x), nn.functional.silu(x))
        assert aten.mm.default not in table
    assert _torch.node_name(fx.Graph(), "add") == "add"


def test_memory():
    x = torch.ones(4, device="meta")
    assert _torch.storage_id(x) == _torch.storage_id(x[1:]) != _torch.storage_id(torch.ones(4, device="meta"))
    y = torch.ones(4)
    before = _torch.writes(y)
    y[1:].zero_()
    assert _torch.writes(y) == before + 1


def test_modules():
    part = nn.Linear(2, 2)
    model = nn.Module()
    model.a, model.b, model.c = part, part, None
    model.register_buffer("none", None)
    assert _torch.child_modules(model) == {"a": part, "b": part} and _torch.buffer(model, "none") is None


def test_processor():
    assert _torch.multiplies_bfloat16() in (True, False)


def test_trees():
    tree = {"a": (1, 2), "b": [3]}
    leaves, spec = _torch.pytree.tree_flatten(tree)
    assert leaves == [1, 2, 3] and _torch.pytree.tree_unflatten(leaves, spec) == tree


def test_what_dynamo_does_not_look_into():
    opaque = _torch.nonstrict_trace(lambda x: x.sin() if "".join(["a"]) else x)
    x = torch.ones(2)
    got = torch.compile(lambda x: opaque(x) + 1, backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(got, x.sin() + 1)


def test_onednn_says_whether_it_has_bfloat16():
    """Oracle: torch's own LSTM under autocast, which raises where it has none."""
    x, lstm = torch.randn(4, 9, 16), nn.LSTM(16, 32, batch_first=True)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            lstm(x)
        runs = True
    except RuntimeError:
        runs = False
    assert runs == _torch.onednn_has_bfloat16()
