"""What every benchmark says about its command and the machine it ran on, and how it sums up repeated timings."""

import os
import platform
import shlex
import statistics
import sys
from pathlib import Path

import torch


def command() -> str:
    """The benchmark's command line, as it was given."""
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def describe() -> dict:
    """Processor, cores, memory and versions."""
    information = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in information.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": models[0] if models else platform.processor(), "cores": os.cpu_count(), "memory_gib": round(memory, 1),
            "torch": torch.__version__, "torch_threads": torch.get_num_threads(), "python": platform.python_version()}


def summary(values: list[float]) -> dict:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}
