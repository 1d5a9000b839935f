"""Which device, which arithmetic."""

import contextlib
import ctypes
from pathlib import Path

import torch

from utils.errors import UserError


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto|cpu|cuda|mps`` -> a device; UserError when the one asked for is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this PyTorch sees no CUDA device; use --device cpu or auto")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: this PyTorch sees no Apple GPU; use --device cpu or auto")
    if name == "cuda" and local_rank >= torch.cuda.device_count():
        raise UserError(f"torchrun started more processes than this machine has GPUs ({torch.cuda.device_count()}); take as many with "
                        "--nproc_per_node, or --device cpu")
    return torch.device(name, local_rank) if name == "cuda" else torch.device(name)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """``auto|fp32|bf16`` -> the type of matrix products. auto takes bfloat16 only where the hardware is the faster for it:
    CUDA from compute capability 8.0, CPUs with AMX, AMD's with AVX512-BF16."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = device.type == "cpu" and _cpu_is_fast_in_bf16()
    return torch.bfloat16 if fast else torch.float32


def _cpu_is_fast_in_bf16() -> bool:
    """By kind and not by a trial, which could turn out otherwise when a run goes on. Where a virtual machine hides an Intel CPU's AMX, its
    AVX512-BF16 takes up to twice as long as float32 (Xeon of family 6, model 207)."""
    amx, avx512 = (getattr(torch.cpu, name, lambda: False)() for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return amx or avx512 and "GenuineIntel" not in _cpu_info()


def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:  # no Linux
        return ""


def autocast(dtype: torch.dtype, device: torch.device):
    """A context in which matrix products and convolutions run in ``dtype`` and everything delicate stays in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16)


@contextlib.contextmanager
def sampling(dtype: torch.dtype, device: torch.device):
    """:func:`autocast`, in which float32 is float32: a context for what is shown and measured."""
    with autocast(dtype, device), full_float32(device):
        yield


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``tensor`` on ``device``. To CUDA through pinned memory: from any other the copy waits for all that the card has still to do. The
    allocator of pinned memory keeps what is freed until the copy is done; nowhere else is that so, and copies that do not wait arrive
    damaged."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def full_float32(device: torch.device) -> contextlib.AbstractContextManager:
    """cuDNN rounds float32 to TF32 unless told not to, and what is compared would depend on the graphics card."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    now = torch.backends.cudnn
    return now.flags(enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step: handing large tensors back to the system and taking them again costs
    a tenth of a training step on a CPU. Does nothing where there is no glibc."""
    most_mappings, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(most_mappings, 0)
        mallopt(trim_threshold, 2**31 - 1)
