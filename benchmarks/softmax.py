"""Linear layer, softmax and cross-entropy in one (kernels/torch/softmax) against F.cross_entropy(F.linear(...))."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ostinato.kernels.loss import linear_cross_entropy

from .contest import CONVENTION, Asked, distance
from .machine import resident
from .tables import Row
from .timing import race
from .torch_peer import lowered

TITLE = "Softmax layer with cross-entropy (forward + backward): ostinato in blocks against torch.nn.functional"
SHAPES = ((700, 256, 10_000), (1120, 256, 10_000), (700, 200, 10_000))  # N, H, V
# Relative to the largest value. bfloat16 has 8 bits: about 4e-3 a product; for the loss itself it averages out.
TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}
Shape = tuple[int, int, int]


def rows(asked: Asked) -> Iterator[Row]:
    for dtype in TOLERANCE:
        for shape in filter(asked.wants, SHAPES):
            yield _row(shape, dtype, asked.seconds)


def _row(shape: Shape, dtype: str, seconds: float) -> Row:
    given = inputs(shape)
    exact = step(theirs, [t.double() if t.is_floating_point() else t for t in given], "float32")
    errors = [distance(step(run, given, dtype), exact) for run in (ours, theirs)]
    row = {"N x H x V": "x".join(map(str, shape)), "products": dtype,
           "error/float64": f"{errors[0]:.0e}", "torch/float64": f"{errors[1]:.0e}"}  # fmt: skip
    timed = ("ours ms", "torch ms", "speed-up", "spread", "rounds", "ours MB", "torch MB")
    if not errors[0] <= TOLERANCE[dtype]:
        return row | dict.fromkeys(timed, "-") | {"rounds": "WRONG"}
    won = race({run.__name__: partial(step, run, given, dtype) for run in (ours, theirs)}, seconds)
    ratio, spread = won.speed_up("ours", "theirs")
    peaks = [_peak(name, shape, dtype) for name in ("ours", "theirs")]
    times = [f"{won.median(name):.1f}" for name in won.times]
    figures = (*times, f"{ratio:.3f}", f"±{spread:.3f}", str(won.rounds), *peaks)
    return row | dict(zip(timed, figures, strict=True))


def inputs(shape: Shape) -> list[Tensor]:
    """h, weight, bias, targets, as at the start of a training."""
    n, d_hidden, vocabulary = shape
    torch.manual_seed(0)
    weight = torch.empty(vocabulary, d_hidden).uniform_(-0.1, 0.1)
    return [torch.randn(n, d_hidden), weight, torch.zeros(vocabulary), torch.randint(vocabulary, (n,))]


def ours(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, dtype: str) -> Tensor:
    return linear_cross_entropy(h, weight, bias, targets, bfloat16=dtype == "bfloat16")


def theirs(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, dtype: str) -> Tensor:
    """The usual two calls; for bfloat16 under autocast, as torch's own recipes do."""
    with lowered(dtype):
        return F.cross_entropy(F.linear(h, weight, bias), targets)


def step(run: Callable[..., Tensor], given: Sequence[Tensor], dtype: str) -> list[Tensor]:
    """The loss and its gradients with respect to h, weight and bias."""
    *floats, targets = given
    leaves = [t.detach().requires_grad_() for t in floats]
    loss = run(*leaves, targets, dtype)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def _peak(name: str, shape: Shape, dtype: str) -> str:
    """Megabytes at the worst moment of one step above what the inputs hold, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.softmax", name, json.dumps(shape), dtype, str(torch.get_num_threads())]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    return done.stdout.strip() if done.returncode == 0 else "-"


def _peak_here(name: str, shape: Shape, dtype: str) -> None:
    # Loads the libraries' code for these products, on matrices too small to count.
    small = [torch.randn(16, 16), torch.randn(2048, 16), torch.zeros(2048), torch.zeros(16, dtype=torch.int64)]
    run = ours if name == "ours" else theirs
    step(run, small, dtype)
    given = inputs(shape)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the peak so far
    before = resident()
    step(run, given, dtype)
    print(f"{(resident('VmHWM') - before) / 1024:.0f}")


def summary(table: Sequence[Row]) -> str:
    return f"{CONVENTION}\n" + (
        "MB: peak memory of one step above its inputs, gradients included, measured in a process of its own (Linux; "
        "- elsewhere). The bfloat16 rows compare with torch under autocast."
    )


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    _peak_here(sys.argv[1], tuple(json.loads(sys.argv[2])), sys.argv[3])
