"""Random steps of a recurrence, run by a derived kernel and by the reference loop; what differs is made small.

program.py: what a step and a call are, and their source. operations.py: the vocabulary. grammar.py: how they are drawn.
compare.py: the outcome of one. smaller.py: the smallest with that outcome. workers.py: many, each within a time limit.
"""
