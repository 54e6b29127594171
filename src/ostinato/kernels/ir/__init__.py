"""What the passes hand to each other: the graph of a step, the arrays of a scan, the loops over them."""
