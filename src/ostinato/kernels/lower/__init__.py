"""Lowering: the traced operations of a step become a small graph of rows, forward and backward."""
