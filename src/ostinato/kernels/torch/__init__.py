"""Kernels made of torch operations."""
