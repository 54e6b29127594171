"""What this processor has for bfloat16. There are two questions: of our own kernels, and of torch's products."""

import functools

from ...._torch import multiplies_bfloat16


@functools.cache
def has_avx512_bf16() -> bool:
    """Whether one instruction multiplies pairs of bfloat16 (AVX512-BF16), which our own products are written with."""
    import llvmlite.binding as llvm  # late: whoever asks about torch alone does without it

    return bool(llvm.get_host_cpu_features().get("avx512bf16"))


@functools.cache
def has_bfloat16_matmul() -> bool:
    """Whether torch's matrix products of bfloat16 run in hardware (AMX or AVX512-BF16)."""
    return multiplies_bfloat16()
