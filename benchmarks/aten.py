"""Training of our LSTM, GRU and Elman cells through the backend `aten` against torch.nn's own modules."""

from collections.abc import Iterator, Sequence

from ostinato import kernels

from .contest import CONVENTION, Asked, means
from .tables import Row
from .torch_peer import MODULES
from .training import SHAPES, against_torch

TITLE = "Training step (forward + backward) of a layer with I = H, float32: the backend aten against torch.nn"
GOAL = 0.95  # what stands around torch's kernels may cost a twentieth


def rows(asked: Asked) -> Iterator[Row]:
    for name in MODULES:
        for shape in filter(asked.wants, SHAPES[:6]):
            with kernels.backend("aten"):
                yield from against_torch(name, shape, asked)


def summary(table: Sequence[Row]) -> str:
    goals = {(name, "torch.nn"): GOAL for name in MODULES}
    return "\n".join([*means(table, goals), CONVENTION])
