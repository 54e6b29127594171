"""Kernels derived for the CPU: a lowered step becomes Numba source over explicit vectors, forward and backward."""
