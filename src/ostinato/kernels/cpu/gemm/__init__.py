"""Matrix products: `host`, `packing` and `column_parallel` lay out jobs, the others are what the jobs do.

These need Numba, and are imported only where a kernel is not yet kept.
"""
