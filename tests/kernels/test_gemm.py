"""Products by the tile are matrix products. Oracle: torch.matmul in float64."""

import subprocess
import sys

import pytest
import torch
from kept import home, with_lanes

from ostinato.kernels.cpu.gemm import panels
from ostinato.kernels.cpu.gemm.host import linear, linear_jobs, outer, outer_jobs, scratch_size
from ostinato.kernels.cpu.gemm.packing import pack, packed_size, product
from ostinato.kernels.cpu.runtime import compile_cache, jobs
from ostinato.kernels.cpu.runtime.job_words import unpack
from ostinato.kernels.cpu.runtime.jobs import c_function, in_turn, spans
from ostinato.kernels.cpu.simd.memory_ops import at, load1, store1
from ostinato.kernels.cpu.simd.width import lanes

DTYPES = {"float32": torch.float32, "float64": torch.float64}
TOLERANCE = {"float32": 3e-6, "float64": 1e-14}  # of the largest result
SIZES = [(1, 1, 1), (7, 1, 33), (1, 33, 7), (33, 100, 1), (100, 7, 100), (13, 130, 33), (97, 64, 1100), (200, 65, 193)]


@pytest.fixture(params=["host", "1"])
def count(request, monkeypatch):
    yield from with_lanes(request.param, monkeypatch)


@pytest.fixture(params=list(DTYPES))
def dtype(request):
    return request.param


def close(got, want, dtype):
    error = (got.double() - want).abs().max().item() / want.abs().max().item()
    assert error < TOLERANCE[dtype], error


def guarded(*shape, dtype):
    """A tensor of NaN inside a larger one of 7s, and whether these are still there."""
    n = torch.Size(shape).numel()
    around = torch.full((n + 512,), 7.0, dtype=dtype)
    inside = around[256 : 256 + n].fill_(torch.nan).view(shape)
    return inside, lambda: bool((around[:256] == 7).all() and (around[256 + n :] == 7).all())


@pytest.mark.parametrize(("M", "N", "K"), SIZES)
def test_linear_is_a_product_and_writes_nothing_else(M, N, K, dtype, count):
    a, w, bias = (torch.randn(*s, dtype=DTYPES[dtype]) for s in ((M, K), (K, N), (N,)))
    out, whole = guarded(M, N, dtype=DTYPES[dtype])
    assert linear(a, w, bias, out=out) is out and whole()
    close(out, a.double() @ w.double() + bias.double(), dtype)
    turned = linear(a.view(M, 1, K), w.t().contiguous().t())
    assert turned.shape == (M, 1, N)
    close(turned[:, 0], a.double() @ w.double(), dtype)


def test_a_matrix_is_packed_from_any_strides(dtype, count):
    # Columns that are a part of a larger matrix; every second column; columns in memory, every second row of them.
    for w in (torch.randn(33, 200)[:, 50:150], torch.randn(33, 200)[:, ::2], torch.randn(100, 66).t()[::2]):
        w = w.to(DTYPES[dtype])
        assert torch.equal(pack(w), pack(w.contiguous()))
        assert pack(w).shape == (packed_size(33, 100, dtype),) and pack(w).isfinite().all()


@pytest.mark.parametrize(("M", "N", "K"), SIZES)
def test_outer_sums_the_steps_and_writes_nothing_else(M, N, K, dtype, count):
    a, b = torch.randn(1, K, M, dtype=DTYPES[dtype]), torch.randn(1, K, N, dtype=DTYPES[dtype])
    (out, whole), (total, whole_too) = guarded(M, N, dtype=DTYPES[dtype]), guarded(M, dtype=DTYPES[dtype])
    scratch = torch.full((1, scratch_size(N, dtype)), torch.nan, dtype=DTYPES[dtype])
    in_turn(outer_jobs(a, b, None, out, total, scratch))
    assert whole() and whole_too()
    close(out, a[0].double().t() @ b[0].double(), dtype)
    close(total, a[0].double().sum(0), dtype)


@pytest.mark.parametrize(("B", "T"), [(1, 1), (3, 1), (1, 5), (7, 63)])
def test_outer_takes_the_step_before(B, T, dtype, count):
    a, b, first = (torch.randn(*s, dtype=DTYPES[dtype]) for s in ((B, T, 33), (B, T, 17), (B, 17)))
    late = torch.cat([first[:, None], b[:, :-1]], 1).double()
    close(outer(a, b, first)[0], torch.einsum("btd,btn->dn", a.double(), late), dtype)


def test_rows_may_be_a_part_of_wider_ones(dtype):
    a, b, w = (torch.randn(4, 5, 40, dtype=DTYPES[dtype]) for _ in range(3))
    close(linear(a[..., 7:20], w[0, :, :13].t()), a[..., 7:20].double() @ w[0, :, :13].t().double(), dtype)
    out, total = outer(a[..., 7:20], b[..., :9])
    close(out, a[..., 7:20].flatten(0, 1).double().t() @ b[..., :9].flatten(0, 1).double(), dtype)
    close(total, a[..., 7:20].double().sum((0, 1)), dtype)


@pytest.mark.parametrize("jobs", [2, 3, 50])
def test_the_number_of_jobs_changes_no_bit(jobs, dtype):
    a, b, w = (torch.randn(*s, dtype=DTYPES[dtype]) for s in ((3, 67, 150), (3, 67, 90), (150, 700)))

    def backwards(todo):
        assert len(todo) <= jobs
        in_turn(todo[::-1])

    assert torch.equal(linear(a, w, run=backwards, count=jobs), linear(a, w))
    for one, many in zip(outer(a, b), outer(a, b, run=backwards, count=jobs), strict=True):
        assert torch.equal(one, many)
    assert torch.equal(pack(w, backwards, jobs), pack(w))
    packed, out = pack(w), torch.empty(201, 700, dtype=DTYPES[dtype])
    assert len(linear_jobs(a.view(201, 150), packed, None, out, jobs)) == min(
        jobs, len(spans(201, jobs, lanes(dtype).tile.rows))
    )


def test_nothing_times_nothing_is_zero(dtype):
    out, total = outer(torch.empty(0, 5, 3, dtype=DTYPES[dtype]), torch.empty(0, 5, 2, dtype=DTYPES[dtype]))
    assert not out.any() and not total.any() and out.shape == (3, 2)
    assert linear(torch.empty(0, 5, dtype=DTYPES[dtype]), torch.ones(5, 2, dtype=DTYPES[dtype])).shape == (0, 2)


def _by_address(words):
    M, N, K, lda, ldc, f, a, w, c = unpack(words, 6, 3)
    panels.call_product(f, M, N, K, a, lda, w, c, ldc)


def test_a_kernel_calls_the_product_by_its_address(dtype, count):
    M, N, K = 25, 70, 40
    a, w = torch.randn(M, 64, dtype=DTYPES[dtype]), torch.randn(K, N, dtype=DTYPES[dtype])
    room = torch.full((M, 100), 7.0, dtype=DTYPES[dtype])
    packed = pack(w)
    words = M, N, K, 64, 100, product(dtype), a.data_ptr(), packed.data_ptr(), room.data_ptr()
    in_turn([(c_function("test_gemm._by_address", dtype, package=""), words)])
    close(room[:, :N], a[:, :K].double() @ w.double(), dtype)
    whole = -(-N // lanes(dtype).count) * lanes(dtype).count
    assert (room[:, whole:] == 7).all()


def _double(words):
    n, x = unpack(words, 1, 1)
    for i in range(n):
        store1(x, i, load1(at(x, i), 0) * 2)


@pytest.mark.usefixtures(home.__name__)
def test_kernels_compile_where_nothing_can_be_kept(dtype, home):
    home.parent.write_text("a file where the folder should be")
    x = torch.arange(5, dtype=DTYPES[dtype])
    with pytest.warns(RuntimeWarning, match="each process compiles its kernels anew"):
        in_turn([(c_function("test_gemm._double", dtype, package=""), (5, x.data_ptr()))])
    assert x.tolist() == [0, 2, 4, 6, 8]


LOAD = """
import sys
from ostinato.kernels.cpu.runtime import compile_cache, jobs
from ostinato.kernels.cpu.simd.width import lanes
print(jobs._compiled("gemm.panels.pack", lanes("float32"), "p", compile_cache.PACKAGE).kept, "numba" in sys.modules)
"""


@pytest.mark.usefixtures(home.__name__)
def test_another_process_finds_the_machine_code(home):
    assert not jobs._compiled.__wrapped__("gemm.panels.pack", lanes("float32"), "p", compile_cache.PACKAGE).kept
    found = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True False" and list(home.glob("pack-*.o"))


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("lengths", [[7, 0, 3, 1], [0, 0, 0, 0], [7, 7, 7, 7]])
def test_past_the_lengths_nothing_counts(lengths, late, dtype, count):
    torch.manual_seed(0)
    a, b, w = (torch.randn(s, dtype=DTYPES[dtype]) for s in ((4, 7, 33), (4, 7, 20), (33, 18)))
    first, n = torch.randn(4, 20, dtype=DTYPES[dtype]), torch.tensor(lengths)
    inside = (torch.arange(7) < n[:, None])[..., None]
    before = torch.cat([first[:, None], b[:, :-1]], dim=1) if late else b
    real = torch.where(inside, a, 0).double()
    got, total = outer(torch.where(inside, a, torch.nan), b, first if late else None, lengths=n.to(DTYPES[dtype]))
    if any(lengths):
        close(got, torch.einsum("btd,btn->dn", real, before.double()), dtype)
        close(total, real.sum((0, 1)), dtype)
        y = linear(torch.where(inside, a, torch.nan), w, lengths=n.to(DTYPES[dtype]))
        close(y, real @ w.double(), dtype)
        assert not y[~inside[..., 0]].any()
    else:
        assert not got.any() and not total.any()
