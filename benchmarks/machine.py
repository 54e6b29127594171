"""What the figures were measured on: the processor and the versions, never a host's or a person's name."""

import platform
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import torch

from . import peers

RESULTS = Path(__file__).with_name("results")


def describe() -> dict[str, str]:
    """Facts about the machine by name, in the order in which they are printed."""
    return {
        "processor": processor(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Of what takes part, and the day."""
    ours = {"python": platform.python_version(), "torch": torch.__version__, "ostinato": metadata.version("ostinato")}
    return ours | peers.versions() | {"date": time.strftime("%Y-%m-%d")}


def processor() -> str:
    """The processor's model, as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if found and found[1].strip().lower() not in ("", "unknown"):
            return found[1].strip()
    return platform.processor() or platform.machine()


def resident(key: str = "VmRSS") -> int:
    """kB of memory that this process holds, from Linux's account of it; VmHWM is the most so far.

    Raises:
        FileNotFoundError: not on Linux.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def write(facts: Mapping[str, str], measured: Mapping[str, str], known: Sequence[str]) -> Path:
    """Writes the sections that were measured, title -> text, to results/<machine>.md (processor and threads).

    Sections that stood there and were not measured this time stay; those whose title is not among the known ones go.
    """
    name = re.sub(r"[^a-z0-9]+", "-", f"{facts['processor']} {facts['threads']} threads".lower()).strip("-")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    sections = dict(part.split("\n", 1) for part in before.split("\n## ")[1:])
    ran = ", ".join(f"{key} {value}" for key, value in versions().items())
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    sections |= {title: f"\n`{command}` ({ran})\n\n{text}" for title, text in measured.items()}
    texts = [f"## {title}\n{sections[title].rstrip()}\n" for title in known if title in sections]
    head = "\n".join(f"* {key}: {value}" for key, value in facts.items())
    path.write_text(f"# {facts['processor']}\n\n{head}\n\n" + "\n".join(texts), encoding="utf-8")
    return path.relative_to(RESULTS.parents[1])
