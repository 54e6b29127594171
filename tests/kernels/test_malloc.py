"""Memory that stays with the process. Oracle: how many pages the system gave anew, by getrusage."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from ostinato.kernels.cpu.runtime.malloc import retain_freed_pages
kept = retain_freed_pages()
for turn in range(14):
    if turn == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    made = [torch.ones(1 << 20) for _ in range(4)]
    del made
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
TOUCHED = 10 * 4 * 1024  # pages of 4 KiB


@pytest.mark.parametrize("env", [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}])
def test_what_was_freed_is_touched_again_without_the_system(env: dict[str, str]) -> None:
    ran = subprocess.run([sys.executable, "-c", FAULTS], env={**os.environ, **env}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    kept, faults = map(int, ran.stdout.split())
    assert kept == (sys.platform.startswith("linux") and not env)  # what the user has set holds
    assert not kept or faults < TOUCHED / 50
