"""Products of factors rounded to bfloat16. Oracle: the same factors rounded by torch, multiplied in float64."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from kept import with_lanes

from ostinato.kernels.cpu.executor import executor
from ostinato.kernels.cpu.gemm.host import linear, outer, outer_jobs, scratch_size
from ostinato.kernels.cpu.gemm.packing import pack, packed_size, product
from ostinato.kernels.cpu.gemm.panels import call_exact
from ostinato.kernels.cpu.runtime.cpu_features import has_avx512_bf16
from ostinato.kernels.cpu.runtime.job_words import unpack
from ostinato.kernels.cpu.runtime.jobs import c_function, in_turn
from ostinato.kernels.cpu.simd.width import lanes
from ostinato.kernels.scan.program import Launch, Options

KIND = "bfloat16"
NUMBERS = (1, 2, 7, 16, 33, 100, 193)
INF, NAN = float("inf"), float("nan")


@pytest.fixture(params=["host", "1", "4", "8"])
def count(request, monkeypatch):
    yield from with_lanes(request.param, monkeypatch)


def rounded(x):
    return x.bfloat16().double()


def close(got, want, tolerance=2e-6):
    """Within a part of the largest."""
    error = (got.double() - want).abs().max().item() / want.abs().max().item()
    assert error < tolerance, error


def guarded(*shape):
    """A tensor of NaN inside a larger one of 7s, and whether these are still there."""
    n = torch.Size(shape).numel()
    around = torch.full((n + 512,), 7.0)
    inside = around[256 : 256 + n].fill_(NAN).view(shape)
    return inside, lambda: bool((around[:256] == 7).all() and (around[256 + n :] == 7).all())


@pytest.mark.parametrize("K", [*NUMBERS, 1100])
def test_linear_is_the_product_of_rounded_factors_and_writes_nothing_else(K, count):
    for M, N in itertools.product(NUMBERS, NUMBERS):
        a, w, bias = torch.randn(M, K), torch.randn(K, N), torch.randn(N)
        out, whole = guarded(M, N)
        assert linear(a, w, bias, out=out, kind=KIND) is out and whole()
        close(out, rounded(a) @ rounded(w) + bias.double())


@pytest.mark.parametrize("K", [*NUMBERS, 500])
def test_outer_sums_rounded_steps_and_the_total_is_not_rounded(K, count):
    for M, N in itertools.product((1, 7, 33, 100), (1, 16, 193)):
        a, b = torch.randn(1, K, M), torch.randn(1, K, N)
        (out, whole), (total, whole_too) = guarded(M, N), guarded(M)
        scratch = torch.full((1, scratch_size(N, KIND)), NAN)
        in_turn(outer_jobs(a, b, None, out, total, scratch, KIND))
        assert whole() and whole_too()
        close(out, rounded(a[0]).t() @ rounded(b[0]))
        assert torch.equal(total, outer(a, b)[1])


@pytest.mark.parametrize(("B", "T"), [(1, 1), (3, 1), (1, 5), (7, 63)])
def test_outer_takes_the_step_before(B, T, count):
    a, b, first = (torch.randn(*s) for s in ((B, T, 33), (B, T, 17), (B, 17)))
    late = torch.cat([first[:, None], b[:, :-1]], 1)
    close(outer(a, b, first, kind=KIND)[0], torch.einsum("btd,btn->dn", rounded(a), rounded(late)))


@pytest.mark.parametrize("K", [1, 2, 33])
def test_a_matrix_is_packed_from_any_strides(K, count):
    wide, turned = torch.randn(K, 200), torch.randn(100, 2 * K)
    for w in (wide[:, 50:150], wide[:, ::2], turned.t()[::2], turned.t()[:K]):
        packed = pack(w, kind=KIND)
        assert packed.shape == (packed_size(K, 100, KIND),) == (packed_size(-(-K // 2), 100, "float32"),)
        # As bits: two small numbers in one place may look like a NaN.
        assert torch.equal(packed.view(torch.int32), pack(w.contiguous(), kind=KIND).view(torch.int32))


def _exact(words):
    M, N, K, rs, ks, ldc, plus, f, a, w, c = unpack(words, 8, 3)
    call_exact(f, M, N, K, a, rs, ks, w, c, ldc, plus)


@pytest.mark.parametrize("plus", [0, 1])
@pytest.mark.parametrize("K", [1, 40, 601])
def test_the_factor_on_the_left_may_have_any_strides(K, plus, count):
    base, w = torch.randn(25, K, 3), torch.randn(K, 70)
    packed = pack(w, kind=KIND)
    for M, (rs, ks) in itertools.product((1, 2, 25), ((K, 1), (1, 25), (3 * K, 3))):
        a = base.as_strided((M, K), (rs, ks))
        around = torch.full((M + 2, 80), 7.0)
        c = around[1:-1, 5:75].normal_()
        want = rounded(a) @ rounded(w) + plus * c.double()
        words = M, 70, K, rs, ks, 80, plus, product(KIND), a.data_ptr(), packed.data_ptr(), c.data_ptr()
        in_turn([(c_function("test_gemm_bf16._exact", "float32", package=""), words)])
        close(c, want)
        c.fill_(7)
        assert (around == 7).all()


def test_numbers_are_rounded_as_torch_does_it(count):
    bits = torch.randint(-(2**31), 2**31, (4000,)).to(torch.int32)
    ties = torch.tensor([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0x7F7F7FFF], dtype=torch.int32)
    special = torch.tensor([INF, -INF, NAN, 0.0, 1.0])
    # NaNs that are told from infinity by their lower half alone, or by all bits that rounding could carry over.
    nans = torch.tensor([0x7F800001, -0x7FFFFF, 0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)
    x = torch.cat([bits.view(torch.float32), ties.view(torch.float32), special, nans])
    # A machine's instruction may take what is smaller than all normal numbers as zero.
    x = torch.where(x.abs() < 1e-37, 0.5, x)
    one = torch.ones(1, 1)
    for got in (linear(x[:, None], one, kind=KIND)[:, 0], linear(one, x[None], kind=KIND)[0]):
        assert torch.equal(got.isnan(), x.isnan())
        assert torch.equal(got.nan_to_num(0.25), x.bfloat16().float().nan_to_num(0.25))


@pytest.mark.parametrize("bad", [INF, -INF, NAN, 3.4e38])
def test_what_is_not_finite_reaches_its_row_or_column_and_no_other(bad, count):
    for M, K in ((1, 7), (9, 7), (9, 8)):
        a, w = torch.rand(M, K) + 0.5, torch.rand(K, 33) + 0.5
        a[0, -1] = w[-1, 20] = bad
        got, want = linear(a, w, kind=KIND), (rounded(a) @ rounded(w)).float()
        assert torch.equal(got.isnan(), want.isnan()) and torch.equal(got.isinf(), want.isinf())
        assert torch.equal(got[want.isinf()], want[want.isinf()])
        if M > 1:
            rest = torch.arange(33) != 20
            close(got[1:, rest], want[1:, rest].double())


@pytest.mark.parametrize("jobs", [2, 3, 50])
def test_the_number_of_jobs_changes_no_bit(jobs):
    a, b, w = torch.randn(3, 67, 150), torch.randn(3, 67, 90), torch.randn(150, 700)

    def backwards(todo):
        in_turn(todo[::-1])

    assert torch.equal(linear(a, w, run=backwards, count=jobs, kind=KIND), linear(a, w, kind=KIND))
    many = outer(a, b, run=backwards, count=jobs, kind=KIND)
    assert all(map(torch.equal, many, outer(a, b, kind=KIND)))
    words = pack(w, backwards, jobs, KIND).view(torch.int32)
    assert torch.equal(words, pack(w, kind=KIND).view(torch.int32))


@pytest.mark.parametrize("kind", ["float32", "float64", KIND])
def test_a_row_alone_has_the_bits_that_it_has_among_others(kind, count):
    # Wide: so that one row passes several panels together, and some are left.
    dtype = torch.float64 if kind == "float64" else torch.float32
    a, w = torch.randn(25, 1100, dtype=dtype), torch.randn(1100, 610, dtype=dtype)
    together = linear(a, w, kind=kind)
    assert all(torch.equal(linear(row[None], w, kind=kind)[0], want) for row, want in zip(a, together, strict=True))


def test_nothing_times_nothing_is_zero():
    out, total = outer(torch.empty(0, 5, 3), torch.empty(0, 5, 2), kind=KIND)
    assert not out.any() and not total.any() and out.shape == (3, 2)
    assert linear(torch.empty(0, 5), torch.ones(5, 2), kind=KIND).shape == (0, 2)


SOURCE = """
def halves(T, b0, b1, block, multiply, S, lengths, resets, a, w, c):
    call_product(multiply, b1 - b0, 48, 33, ptr(a + 132 * b0), 33, ptr(w), ptr(c + 192 * b0), 48)
"""


def test_a_machine_rounds_in_all_its_products_and_nowhere_else():
    plain, of = executor(torch.float32), executor(torch.float32, "bfloat16")
    assert of is executor(torch.float32, "bfloat16") and of is not plain
    a, b, w = torch.randn(5, 33), torch.randn(5, 48), torch.randn(33, 48)
    close(of.linear(a, w, None), rounded(a) @ rounded(w))
    out, total = of.outer_and_total(a[None], b[None])
    close(out, rounded(a).t() @ rounded(b))
    close(total, a.double().sum(0))
    program = SimpleNamespace(arrays=("a", "w", "c"), room=8, beside=0, columns={}, apart=False)
    direction = SimpleNamespace(name="halves", source=SOURCE, program=program)
    for host, x, y in ((of, rounded(a), rounded(w)), (plain, a.double(), w.double())):
        arrays = {"a": a, "w": host.packs([w])[0], "c": torch.full((5, 48), NAN)}
        host.launch([Launch(direction, 5, 1, arrays, Options())])
        close(arrays["c"], x @ y)
    assert of.compiled(direction) == plain.compiled(direction)  # one kernel serves both


def test_products_that_are_not_written_are_refused():
    for dtype, products in ((torch.float64, "bfloat16"), (torch.float32, "float16")):
        with pytest.raises(ValueError, match=f"products of {products} are not written for {dtype}; use bfloat16"):
            executor(dtype, products)


def test_the_host_is_known_to_torch_in_the_same_way():
    assert has_avx512_bf16() == torch.cpu._is_avx512_bf16_supported()
    assert lanes(KIND).dtype == "float32" and lanes(KIND).count == lanes("float32").count
