"""What the figures were measured on: the processor and the versions, never a host's or a person's name."""

import platform
import re
import sys
import time
from importlib import metadata
from pathlib import Path

import torch

RESULTS = Path(__file__).with_name("results")


def describe() -> dict[str, str]:
    """Facts by name, in the order in which they are printed."""
    return {
        "processor": processor(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ostinato": metadata.version("ostinato"),
        "date": time.strftime("%Y-%m-%d"),
    }


def processor() -> str:
    """The processor's model, as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if found and found[1].strip().lower() not in ("", "unknown"):
            return found[1].strip()
    return platform.processor() or platform.machine()


def write(facts: dict[str, str], texts: list[str]) -> Path:
    """Writes results/<machine>.md, named after processor and threads, over what stood there."""
    name = re.sub(r"[^a-z0-9]+", "-", f"{facts['processor']} {facts['threads']} threads".lower()).strip("-")
    head = "\n".join(f"* {key}: {value}" for key, value in facts.items())
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(f"# {facts['processor']}\n\n`{command}`\n\n{head}\n\n" + "\n".join(texts), encoding="utf-8")
    return path.relative_to(RESULTS.parents[1])
