"""Cells whose state is a matrix, by the kernel that is derived, against the loop that defines them and mambapy."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ostinato import kernels, tree

from . import peers
from .contest import CONVENTION, Asked, Contender, contest, label, means
from .machine import resident
from .tables import Row
from .timing import Race
from .torch_peer import chosen

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))  # the steps are those that the tests prove
from matrix_steps import CASES, Given, Sizes  # noqa: E402

TITLE = "Cells with a matrix as state: training, inference and memory of what is derived, against loop and mambapy"
BATCH, STEPS = 4, 256
S6 = Sizes(k=16, v=512)  # 512 channels of 16 numbers each
HEADS, SMALL = Sizes(k=64, v=64, heads=4), Sizes(k=16, v=16, heads=4)
LONG = (1, 4096)  # B, T of the row on memory
SHAPE = "T x B x heads x K x V"
LOOP, US, MB = "reference loop", "us a token and head", "peak MB, ours of peer"
INFERENCE, BACKWARD = "gated_delta inference, 1 thread", "gated_delta backward, 1 thread"
TOLERANCE = 1e-4
FASTER = {**{(name, LOOP): 100.0 for name in CASES}, ("s6", peers.MAMBA): 8.0}
MICROSECONDS = {INFERENCE: 1.5, BACKWARD: 5.0}
SHARE = 0.1  # of mambapy's peak memory
# Leaves of the drive and weights; gives y.
Read = Callable[[Given], Tensor]


def rows(asked: Asked) -> Iterator[Row]:
    others = peers.installed(peers.MAMBA)
    for name in CASES:
        for sizes in (S6,) if name == "s6" else (HEADS, SMALL):
            if _wanted(asked, name, sizes):
                yield from _training(name, sizes, asked, others if name == "s6" else ())
    if _wanted(asked, "gated_delta", HEADS):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from _one_thread(asked)
        finally:
            torch.set_num_threads(threads)
    if _wanted(asked, "s6", S6) and others:
        yield _memory()


def _wanted(asked: Asked, name: str, sizes: Sizes) -> bool:
    return asked.wants(name) or asked.wants(_shape(sizes))


def _shape(sizes: Sizes, batch: int = BATCH, steps: int = STEPS) -> tuple[int, ...]:
    return (steps, batch, sizes.heads, sizes.k, sizes.v)


def given_of(name: str, sizes: Sizes, batch: int = BATCH, steps: int = STEPS) -> tuple[Given, Tensor]:
    """What the scan of a cell reads, from a state of zeros, and the slope of its output."""
    torch.manual_seed(0)
    given = CASES[name].make(batch, steps, sizes, torch.float32)
    given = given._replace(state=tree.map(torch.zeros_like, given.state))
    return given, torch.randn_like(given.drive.x if hasattr(given.drive, "x") else given.drive.v)


def by(name: str, backend: str | None = None) -> Read:
    """The scan by the backend that is chosen, or by the one named."""

    def read(given: Given) -> Tensor:
        return CASES[name].recurrence.scan(given.drive, given.state, *given.weights)[0]

    def forced(given: Given) -> Tensor:
        assert backend is not None
        with kernels.backend(backend):
            return read(given)

    return read if backend is None else forced


def by_mambapy(given: Given) -> Tensor:
    """S6 by its parallel scan. The method reads nothing of the block that it belongs to."""
    from mambapy.mamba import MambaBlock

    a_log, skip = given.weights
    x, delta, b, c = given.drive
    return MambaBlock.selective_scan(None, x, delta, -a_log.exp(), b, c, skip)


def train(read: Read, given: Given, slope: Tensor) -> Sequence[Tensor]:
    """y and the gradients of the drive and of the weights."""
    learns = [t.detach().requires_grad_() for t in (*given.drive, *given.weights)]
    drive, weights = learns[: len(given.drive)], learns[len(given.drive) :]
    y = read(Given(type(given.drive)(*drive), given.state, tuple(weights)))
    return [y.detach(), *torch.autograd.grad(y, learns, slope)]


def forward(read: Read, given: Given) -> Sequence[Tensor]:
    """The forward pass of a training step."""
    learns = [t.detach().requires_grad_() for t in (*given.drive, *given.weights)]
    drive, weights = learns[: len(given.drive)], learns[len(given.drive) :]
    return [read(Given(type(given.drive)(*drive), given.state, tuple(weights)))]


def infer(read: Read, given: Given) -> Sequence[Tensor]:
    with torch.no_grad():
        return [read(given)]


def _training(name: str, sizes: Sizes, asked: Asked, others: Sequence[str] = ()) -> Iterator[Row]:
    given, slope = given_of(name, sizes)
    exact = partial(train, by(name, kernels.REFERENCE), tree.map(Tensor.double, given), slope.double())
    against = [_contender(LOOP, partial(train, by(name, kernels.REFERENCE), given, slope))]
    against += [_contender(peer, partial(train, by_mambapy, given, slope)) for peer in others]
    ours = _contender("ours", partial(train, by(name), given, slope))
    yield from _rows(name, name, sizes, given, ours, against, exact, asked, lambda won: {US: "-", MB: "-"})


def _one_thread(asked: Asked) -> Iterator[Row]:
    name = "gated_delta"
    given, slope = given_of(name, HEADS)
    double, loop = tree.map(Tensor.double, given), by(name, kernels.REFERENCE)
    of_each = 1e3 / (BATCH * STEPS * HEADS.heads)
    yield from _rows(
        INFERENCE, name, HEADS, given, _contender("ours", partial(infer, by(name), given)),
        [_contender(LOOP, partial(infer, loop, given))], partial(infer, loop, double), asked,
        lambda won: {US: f"{won.median('ours') * of_each:.3g}", MB: "-"},
    )  # fmt: skip
    # The two passes cannot be timed apart in a loop: what a step takes less its forward pass, from the same rounds.
    first = _contender("forward", partial(forward, by(name), given))
    yield from _rows(
        BACKWARD, name, HEADS, given, _contender("ours", partial(train, by(name), given, slope)),
        [_contender(LOOP, partial(train, loop, given, slope))], partial(train, loop, double, slope.double()), asked,
        lambda won: {US: f"{(won.median('ours') - won.median('forward')) * of_each:.3g}", MB: "-"}, [first],
    )  # fmt: skip


def _rows(
    title: str, name: str, sizes: Sizes, given: Given, ours: Contender, against: Sequence[Contender],
    exact: Callable[[], Sequence[Tensor]], asked: Asked, more: Callable[[Race], Row], beside: Sequence[Contender] = (),
) -> Iterator[Row]:  # fmt: skip
    explained = CASES[name].recurrence.explain(given.drive, given.state, *given.weights)
    path, head = chosen(explained), {"cell": title, SHAPE: label(_shape(sizes))}
    if path == kernels.REFERENCE:
        yield head | {"peer": "-"} | _blank(f"refused: {explained.splitlines()[0]}")
        return
    yield from contest(head, ours, against, exact(), asked.seconds, tolerance=TOLERANCE, path=path, beside=beside,
                       more=more)  # fmt: skip


def _contender(name: str, run: Callable[[], Sequence[Tensor]]) -> Contender:
    return Contender(name, run, run)


def _memory() -> Row:
    given, _ = given_of("s6", S6, *LONG)
    explained = CASES["s6"].recurrence.explain(given.drive, given.state, *given.weights)
    path, head = chosen(explained), {"cell": "s6 memory", SHAPE: label(_shape(S6, *LONG)), "peer": peers.MAMBA}
    if path == kernels.REFERENCE:
        return head | _blank(f"refused: {explained.splitlines()[0]}")
    # Twice: the second process reads the kernel that the first one compiled, and no compiler's memory is at hand.
    peak = {who: [_peak_of(who) for _ in range(2)][-1] for who in ("ours", peers.MAMBA)}
    return head | _blank(path) | {MB: f"{peak['ours']} of {peak[peers.MAMBA]}"}


def _blank(path: str) -> dict[str, str]:
    columns = ("error ours", "error peer", "ours ms", "peer ms", "speed-up", "spread", "rounds")
    return dict.fromkeys(columns, "-") | {"path": path, US: "-", MB: "-"}


def _peak_of(who: str) -> str:
    command = [sys.executable, "-m", "benchmarks.matrix", who, str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else "-"


def _peak_here(who: str) -> None:
    read = by("s6") if who == "ours" else by_mambapy
    train(read, *given_of("s6", S6, 1, 16))  # loads the code; it counts as little as the inputs
    given, slope = given_of("s6", S6, *LONG)
    # Not ru_maxrss, which a process inherits from the one that started it.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the peak so far
    before = resident()
    train(read, given, slope)
    print(f"{(resident('VmHWM') - before) / 1024:.0f}")


def summary(table: Sequence[Row]) -> str:
    lines = means(table, FASTER, best_too=False)
    for row in table:
        if row[US] != "-":
            goal, took = MICROSECONDS[row["cell"]], float(row[US])
            lines.append(f"{row['cell']}: {took:g} us a token and head; goal {goal:g}: {_met(took <= goal)}")
        if row[MB] != "-" and "-" not in (sizes := row[MB].split(" of ")):
            share = float(sizes[0]) / float(sizes[1])
            lines.append(f"{row['cell']}: {share:.3f} of {row['peer']}'s peak; goal {SHARE:g}: {_met(share <= SHARE)}")
    note = (
        "Errors are those of y and the gradients of drive and weights against the loop in float64; mambapy reads the "
        "same numbers. Backward is a step of training less its forward pass. MB: the peak of one step of "
        "training above its inputs, gradients included, in a process of its own (Linux; - elsewhere)."
    )
    return "\n".join([*lines, CONVENTION, note])


def _met(reached: bool) -> str:
    return "met" if reached else "missed"


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    _peak_here(sys.argv[1])
