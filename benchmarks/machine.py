"""What every benchmark says about the machine it ran on, and how it sums up repeated timings."""

import os
import platform
import statistics
from pathlib import Path

import torch


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
