"""From a lowered step to the order of its work: what is kept, where it lies, what comes when. Each pass is pure."""
