"""Kernels written by hand.

What a `*_device` module holds becomes machine code; it is imported only where that is not yet kept.
"""
