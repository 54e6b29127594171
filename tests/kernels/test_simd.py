"""Vectors in emitted kernels compute what torch computes. Oracle: torch on the same numbers, in float64."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from kept import with_lanes
from numba import njit
from torch import Tensor

from ostinato.kernels.cpu.simd.names import kernel
from ostinato.kernels.cpu.simd.width import lanes
from ostinato.kernels.ir.ops import POINTWISE

DTYPES = {"float32": torch.float32, "float64": torch.float64}
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "neg": torch.neg, "exp": torch.exp, "log": torch.log, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "relu": torch.relu, "abs": torch.abs, "sqrt": torch.sqrt, "erf": torch.erf, "sign": torch.sign,
    "expm1": torch.expm1, "sin": torch.sin, "cos": torch.cos, "atan": torch.atan, "floor": torch.floor,
    "round": torch.round, "pow": torch.pow, "log2": torch.log2, "log10": torch.log10, "erfc": torch.erfc,
    "fmod": torch.fmod, "copysign": torch.copysign,
    "maximum": torch.maximum, "minimum": torch.minimum, "gt": torch.gt, "ge": torch.ge, "lt": torch.lt, "le": torch.le,
    "eq": torch.eq, "ne": torch.ne, "where": lambda c, x, y: torch.where(c != 0, x, y),
}  # fmt: skip
ARITY = {name: POINTWISE[name] for name in FUNCTIONS}
UNARY = [name for name, n in ARITY.items() if n == 1]
INF, NAN = float("inf"), float("nan")


@functools.cache
def compiled(dtype: str, count: int, body: str, args: str) -> Any:
    """A Numba function of integers whose body is written as emitted source is."""
    scope = {**kernel(dtype, count), "njit": njit}
    pointers = "".join(f"    {a} = ptr({a})\n" for a in args.split(", ") if a.islower())
    source = f"@njit(nogil=True)\ndef f({args}):\n{pointers}" + "".join(f"    {line}\n" for line in body.splitlines())
    exec(source.replace("LANES", str(count)), scope)
    return scope["f"]


def call(dtype: str, body: str, args: str, **given: Any) -> None:
    """Runs a body. A tensor is given as its address: the name of a pointer is in small letters."""
    values = [given[a].data_ptr() if isinstance(given[a], Tensor) else given[a] for a in args.split(", ")]
    compiled(dtype, lanes(dtype).count, body, args)(*values)


def pointwise(name: str, *xs: Tensor) -> Tensor:
    dtype, out = str(xs[0].dtype).removeprefix("torch."), torch.full_like(xs[0], 7)
    # All functions of as many arguments in one compilation.
    same = [n for n, arity in ARITY.items() if arity == len(xs)]
    names = "xyz"[: len(xs)]
    loads = "; ".join(f"{v} = load_n({v}_, j, N - j)" for v in names)
    lines = ["for j in range(0, N, LANES):", f"    {loads}"]
    for i, other in enumerate(same):
        lines.append(f"    if WHICH == {i}: store_n(out_, j, v_{other}({', '.join(names)}), N - j)")
    given = dict(zip((f"{v}_" for v in names), xs, strict=True))
    args = ", ".join([*given, "out_", "N", "WHICH"])
    call(dtype, "\n".join(lines), args, **given, out_=out, N=out.numel(), WHICH=same.index(name))
    return out


@pytest.fixture(params=["host", "1", "4"])
def count(request, monkeypatch):
    yield from with_lanes(request.param, monkeypatch)


@pytest.fixture(params=list(DTYPES))
def dtype(request):
    return request.param


def grid(name: str, wide: bool) -> Tensor:
    """Dense over what the function distinguishes, in float64."""
    low, high = {"exp": (-103, 88), "sigmoid": (-87, 87), "sin": (-1e4, 1e4), "cos": (-1e4, 1e4)}.get(name, (-20, 20))
    if wide:
        low, high = {"exp": (-744, 709), "sigmoid": (-700, 700)}.get(name, (low, high))
    linear = torch.linspace(low, high, 200_001, dtype=torch.float64)
    small = torch.logspace(-300 if wide else -37, 1, 100_001, dtype=torch.float64)
    if name == "log":
        return torch.cat([small, torch.linspace(0.5, 2, 100_001, dtype=torch.float64), 1e30 * small])
    return torch.cat([linear, small, -small])


@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "sigmoid", "log", "erf", "sin", "cos", "atan"])
def test_functions_are_right_to_the_last_places(name, dtype):
    x = grid(name, dtype == "float64").to(DTYPES[dtype])
    got, want = pointwise(name, x).double(), FUNCTIONS[name](x.double())
    if dtype == "float64":
        error, most = (got - want).abs() / want.abs().clamp(min=2.0**-1022), 1e-15
    else:
        near = want.float().abs().clamp(min=2.0**-126)
        place = torch.nextafter(near, torch.tensor(INF)).double() - near.double()
        error, most = (got - want).abs() / place, 4.0
    worst = int(error.argmax())
    assert error[worst] <= most, f"{name}({x[worst].item()}) = {got[worst].item()}: {error[worst].item():.3g} off"


SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 1e-42, -1e-42, 3.4e38, -3.4e38, 89.0, -104.0, 0.5, -2.5]


@pytest.mark.parametrize("name", ARITY)
def test_special_values_come_out_as_torchs(name, dtype, count):
    arity = ARITY[name]
    xs = torch.cartesian_prod(*[torch.tensor(SPECIAL, dtype=DTYPES[dtype])] * arity).reshape(-1, arity).unbind(1)
    # An angle of more than 1e9 is said to lose its places.
    xs = [torch.where(x.abs() > 1e9, 1.0, x) if name in ("sin", "cos") and arity == 1 else x for x in xs]
    xs = [x.contiguous() for x in xs]
    want = FUNCTIONS[name](*(x.double() for x in xs)).to(DTYPES[dtype])
    # Denormal results of sigmoid may be 0, as they are in torch.
    torch.testing.assert_close(pointwise(name, *xs), want, rtol=1e-6, atol=1e-37, equal_nan=True)


def test_overflow_and_underflow_come_where_they_should(dtype):
    x = torch.tensor(
        [88.7, 88.73, -87.0, -103.9, -104.1] if dtype == "float32" else [709.7, 709.8, -708, -745.1, -745.2]
    )
    got = pointwise("exp", x.to(DTYPES[dtype])).tolist()
    assert got[0] < INF == got[1] and got[2] > got[3] > 0 == got[4]
    tail = pointwise("sigmoid", -x[:3].to(DTYPES[dtype]).abs())
    torch.testing.assert_close(tail[2], torch.sigmoid(-x[2].abs().double()).to(DTYPES[dtype]), rtol=1e-6, atol=0)


def test_functions_keep_the_sign_of_zero(dtype, count):
    zeros = torch.tensor([0.0, -0.0], dtype=DTYPES[dtype])
    for name in ("tanh", "erf", "sqrt", "sin", "atan", "expm1", "floor", "round"):
        assert torch.equal(pointwise(name, zeros).signbit(), zeros.signbit()), name


def test_every_pointwise_operation_is_written(dtype):
    written = {name.removeprefix("v_") for name in kernel(dtype, lanes(dtype).count) if name.startswith("v_")}
    assert written == set(POINTWISE) - {"add", "sub", "mul", "div"} == set(ARITY)


def test_vectors_meet_vectors_and_numbers(dtype, count):
    x, y = torch.randn(2, 37, dtype=DTYPES[dtype]).unbind()
    out = torch.empty(4, 37, dtype=DTYPES[dtype])
    body = """for j in range(0, 37, LANES):
    n = 37 - j; v = load_n(x, j, n); w = load_n(y, j, n)
    store_n(out, j, v * w + 2, n)
    store_n(at(out, 37), j, 1 - v / 0.5, n)
    store_n(out, 74 + j, -v - w * num(0.25), n)
    store_n(out, 111 + j, v_where(v_gt(v, 0.0), v_maximum(0.5, w), 3), n)"""
    call(dtype, body, "x, y, out", x=x, y=y, out=out)
    mixed = torch.where(x > 0, y.clamp(min=0.5), 3.0)
    torch.testing.assert_close(out, torch.stack([x * y + 2, 1 - x / 0.5, -x - y * 0.25, mixed]))


@pytest.mark.parametrize("n", [-1, 0, 1, 3, 15, 16, 1000])
def test_only_the_lanes_in_range_are_touched(n, dtype, count):
    lane = lanes(dtype).count
    x = torch.arange(1.0, lane + 1, dtype=DTYPES[dtype])
    loaded, stored, kept = (torch.full((lane,), NAN, dtype=DTYPES[dtype]) for _ in range(3))
    body = """store(loaded, 0, load_n(x, 0, N))
store_n(stored, 0, load(x, 0), N)
store(kept, 0, keep_n(load(x, 0), N, -5))"""
    call(dtype, body, "x, loaded, stored, kept, N", x=x, loaded=loaded, stored=stored, kept=kept, N=n)
    inside = torch.arange(lane) < n
    assert torch.equal(loaded, torch.where(inside, x, 0.0)) and torch.equal(kept, torch.where(inside, x, -5.0))
    assert torch.equal(stored.isnan(), ~inside) and torch.equal(stored[inside], x[inside])


def test_lanes_become_one_number(dtype, count):
    lane = lanes(dtype).count
    for broken in [None, *range(lane)]:
        x, out = torch.randn(lane, dtype=DTYPES[dtype]), torch.zeros(2, dtype=DTYPES[dtype])
        if broken is not None:
            x[broken] = NAN
        call(dtype, "store1(out, 0, hsum(load(x, 0))); store1(out, 1, hmax(load(x, 0)))", "x, out", x=x, out=out)
        torch.testing.assert_close(out, torch.stack([x.sum(), x.amax()]), equal_nan=True)


def test_rows_are_copied_and_numbers_spread(dtype, count):
    x, out = torch.randn(3, 9, dtype=DTYPES[dtype]), torch.zeros(3, 40, dtype=DTYPES[dtype])
    call(dtype, "copy(3, 7, at(x, 2), 9, out, 40); store(out, 20, spread(load1(x, 8)))", "x, out", x=x, out=out)
    assert torch.equal(out[:, :7], x[:, 2:]) and torch.equal(out[0, 20 : 20 + lanes(dtype).count].unique(), x[0, 8:])
    assert not out[:, 7:20].any() and not out[:, 36:].any()


def test_lanes_are_those_of_the_machine_or_of_the_environment(monkeypatch):
    monkeypatch.delenv("OSTINATO_LANES", raising=False)
    lanes.cache_clear()
    assert lanes("float32").count == 2 * lanes("float64").count and lanes("float32") is lanes("float32")
    monkeypatch.setenv("OSTINATO_LANES", "2")
    lanes.cache_clear()
    assert lanes("float32").count == lanes("float64").count == 2
    for wrong in ("0", "3", "x", "32"):
        monkeypatch.setenv("OSTINATO_LANES", wrong)
        lanes.cache_clear()
        with pytest.raises(ValueError, match=f"OSTINATO_LANES is '{wrong}'; set it to 1, 2, 4, 8 or 16"):
            lanes("float32")
    with pytest.raises(ValueError, match="no vectors of int8 are written; use float32 or float64"):
        lanes("int8")
    lanes.cache_clear()
