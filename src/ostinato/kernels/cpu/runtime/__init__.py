"""What runs kernels: their cache, threads and memory.

Only `numba_compiler` and `job_words` need Numba; they are imported where a kernel is not yet kept.
"""
