"""Vectors of numbers: `width` says how many the machine holds, all else is what kernels are written with.

That needs Numba, and is imported only where a kernel is not yet kept.
"""
