"""Products whose factors are rounded to bfloat16: what the processor has for them."""

import functools

import llvmlite.binding as llvm


@functools.cache
def native_bfloat16() -> bool:
    """Whether this machine multiplies pairs of bfloat16 in one instruction (AVX512-BF16)."""
    return bool(llvm.get_host_cpu_features().get("avx512bf16"))
