"""Where extracted frames live: mapped from disk, in memory, or on the device."""

import functools
import os
from collections.abc import Callable

import numpy as np
import torch

from utils.errors import UserError
from utils.hardware import upload

_SHARE = 0.4  # of the free memory that frames may take: the model needs the rest
_MODEST = 4 << 30  # bytes that are taken to be free where nobody tells
_COPIED = 256  # frames on their way at a time: a long film may be most of what fits
_OPEN_FILES = 256  # mapped at a time: each holds a file descriptor


class TensorStore:
    """All frames in one tensor, in memory or on the device: a batch is one gather."""

    def __init__(self, frames: torch.Tensor, name: str):
        self._frames, self.name, self.device = frames, name, frames.device

    def clips(self, first: np.ndarray, length: int) -> torch.Tensor:
        """int64 (B,) numbers of first frames -> uint8 (B, length, H, W, 3)."""
        if self.device.type == "cpu":  # plain copies of whole clips: no threads to wake, no rows to gather one by one
            out = torch.empty((len(first), length, *self._frames.shape[1:]), dtype=torch.uint8)
            source, rows = self._frames.numpy(), out.numpy()
            for row, start in enumerate(first.tolist()):
                rows[row] = source[start:start + length]
            return out
        rows = upload(torch.from_numpy((first[:, None] + np.arange(length)).reshape(-1)), self.device)
        return self._frames.index_select(0, rows).view(len(first), length, *self._frames.shape[1:])


class DiskStore:
    """Frames stay in the cache's files, mapped when first needed; the operating system keeps the busy pages in memory."""

    name, device = "disk", torch.device("cpu")

    def __init__(self, openers: list[Callable[[], np.ndarray]], video_first: np.ndarray, shape: tuple):
        self._video_first, self._shape = video_first, shape
        self._mapped = functools.lru_cache(maxsize=_OPEN_FILES)(lambda video: openers[video]())

    def clips(self, first: np.ndarray, length: int) -> torch.Tensor:
        """int64 (B,) numbers of first frames -> uint8 (B, length, H, W, 3)."""
        out = torch.empty((len(first), length, *self._shape[1:]), dtype=torch.uint8)
        rows = out.numpy()
        for row, (video, start) in enumerate(zip(np.searchsorted(self._video_first, first, side="right") - 1, first)):
            start -= self._video_first[video]
            rows[row] = self._mapped(int(video))[start:start + length]
        return out


def open_store(openers: list, video_first: np.ndarray, shape: tuple, storage: str, device: torch.device):
    """``openers`` give each video's frames, uint8 (n, H, W, 3); ``shape`` is that of all together, (N, H, W, 3).

    ``storage`` auto takes the device if the frames fit there comfortably, else memory, else disk.
    """
    size = int(np.prod(shape, dtype=np.int64))
    if storage == "auto":
        if size <= _comfortable(device):
            storage = "device"
        else:
            storage = "memory" if device.type != "cpu" and size <= _comfortable(torch.device("cpu")) else "disk"
    if storage == "disk":
        return DiskStore(openers, video_first, shape)
    free = _free_bytes(device if storage == "device" else torch.device("cpu"))
    if free is not None and size > free:
        raise UserError(f"--storage {storage}: the frames take {size / 2**30:.1f} GiB, and {free / 2**30:.1f} are free there; "
                        "use --storage disk")
    frames = torch.empty(shape, dtype=torch.uint8, device=device if storage == "device" else "cpu")
    for opener, start in zip(openers, video_first):
        video = opener()
        for place in range(0, len(video), _COPIED):
            some = np.array(video[place:place + _COPIED])  # a copy: torch wants writable memory
            frames[start + place:start + place + len(some)] = torch.from_numpy(some)
    return TensorStore(frames, storage)


def _comfortable(device: torch.device) -> float:
    """How many bytes of frames leave enough for the rest; the processes of a machine share its memory, where each has a copy."""
    free, sharing = _free_bytes(device), 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return _SHARE * (_MODEST if free is None else free) / sharing


def _free_bytes(device: torch.device) -> int | None:
    """None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":") for line in file)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None  # not Linux
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(name, encoding="ascii") as file:
                free = min(free, int(file.read()))
        except (OSError, ValueError):
            pass  # no container, or one without a limit ("max")
    return free
