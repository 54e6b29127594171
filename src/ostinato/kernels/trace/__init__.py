"""Tracing: a step written in plain PyTorch, and its vector-Jacobian product, as one graph of ATen operations."""
