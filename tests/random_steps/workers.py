"""Cases in processes of their own: one that crashes or hangs takes nobody with it."""

import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait

import torch

from .compare import Outcome, compare
from .program import Case

Job = tuple[Case, bool]  # compiled or not


PATIENCE = 10  # times the limit on the clock, for one that waits and computes nothing


def _serve(pipe: Connection, limit: float) -> None:
    """The system ends a process whose time is up, in whatever code it is: a busy machine makes nothing hang."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while (job := pipe.recv()) is not None:
        signal.setitimer(signal.ITIMER_PROF, limit)
        outcome = compare(*job)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send(outcome)


class Worker:
    """A process that takes one case after the other."""

    def __init__(self, limit: float) -> None:
        self.limit, self.job, self.since = limit, None, 0.0
        torch.set_num_threads(1)  # a team of threads would not outlive the fork
        fork = multiprocessing.get_context("fork")  # or each would import torch anew
        self.pipe, theirs = fork.Pipe()
        self.process = fork.Process(target=_serve, args=(theirs, limit), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, job: Job) -> None:
        self.job, self.since = job, time.monotonic()
        self.pipe.send(job)

    def late(self) -> bool:
        return time.monotonic() - self.since > PATIENCE * self.limit

    def outcome(self) -> Outcome:
        """What came back; where the process has died, a crash, or a hang if its time was up."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            if self.process.exitcode == -signal.SIGPROF:
                return Outcome("hang", f"no result after {self.limit:g} s")
            return Outcome("crash", f"the process died, exit code {self.process.exitcode}")

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Workers:
    """So many processes; each case has `limit` seconds of computing."""

    def __init__(self, count: int, limit: float) -> None:
        self.limit, self.free, self.count = limit, list[Worker](), count

    def outcomes(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
        """In the order in which they end."""
        waiting, busy = iter(jobs), list[Worker]()
        while True:
            while len(busy) < self.count and (job := next(waiting, None)) is not None:
                worker = self.free.pop() if self.free else Worker(self.limit)
                worker.start(job)
                busy.append(worker)
            if not busy:
                return
            ready = wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in [worker for worker in busy if worker.pipe in ready or worker.late()]:
                busy.remove(worker)
                hangs = worker.pipe not in ready
                outcome = Outcome("hang", f"no result after {self.limit:g} s") if hangs else worker.outcome()
                if hangs or not worker.process.is_alive():
                    worker.close()
                else:
                    self.free.append(worker)
                assert worker.job is not None
                yield worker.job, outcome

    def outcome(self, case: Case, compiled: bool = False) -> Outcome:
        """Of one case."""
        return next(outcome for _, outcome in self.outcomes([(case, compiled)]))

    def close(self) -> None:
        for worker in self.free:
            worker.close()
