"""Which clips a batch holds, as a pure function of (seed, position), and the batches themselves, fetched ahead."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from data.dataset import VideoDataset
from data.sampling import draw, permute
from utils.errors import UserError

_AHEAD = 2  # batches fetched in advance by each worker


class Batches:
    """Batches of a dataset by position: ``at(p)`` is this rank's slice of the p-th global batch, whoever asks and whenever.

    Sample k of batch p is item j = p * batch_size + k of an endless sequence: epoch j // N, place perm(seed, epoch)[j % N].
    ``batch_size`` is the global one and must be divisible by ``world``; the slices of all ranks, concatenated, are the global batch.
    With ``ordered`` the sequence is instead the videos cut into consecutive clips without overlap, in order, over and over.
    With ``m_per_class`` above 1 only every m-th sample is of that order; the m - 1 after it are drawn from all clips of its class.
    The next positions are prefetched by ``workers`` threads; ``wait_seconds`` adds up the time in which ``at`` had to wait.
    """

    def __init__(self, dataset: VideoDataset, batch_size: int, seed: int, *, ordered: bool = False, m_per_class: int = 1,
                 rank: int = 0, world: int = 1, workers: int = 1):
        if batch_size < 1:
            raise UserError(f"--batch_size {batch_size}: must be at least 1")
        if batch_size % world:
            nearest = max(1, round(batch_size / world)) * world
            raise UserError(f"--batch_size {batch_size} cannot be shared evenly by {world} processes; the nearest that can is {nearest}")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.wait_seconds = 0.0
        share = batch_size // world
        self._slice = np.arange(rank * share, (rank + 1) * share, dtype=np.int64)
        self._ordered = dataset.consecutive_clips() if ordered else None
        self.items = len(dataset) if self._ordered is None else len(self._ordered)
        self._drawn = self._slice % m_per_class if len(dataset.classes) > 1 else np.zeros_like(self._slice)  # places after the ordered one
        if self._drawn.any():
            self._labels = dataset.labels().numpy()
            self._by_class, self._counts = np.argsort(self._labels, kind="stable"), np.bincount(self._labels)
        # Frames on the device make a batch in one gather: nothing to fetch ahead.
        direct = workers < 1 or dataset.storage == "device" and dataset.device.type != "cpu"
        self._threads = None if direct else ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._ahead = 0 if direct else _AHEAD * workers
        self._coming: dict[int, Future] = {}

    def indices(self, position: int) -> np.ndarray:
        """The clip numbers of this rank's slice of that batch, int64 (batch_size / world,)."""
        sequence = position * self.batch_size + self._slice
        clips = self._in_order(sequence - self._drawn)
        if not self._drawn.any():
            return clips
        label = self._labels[clips]
        first = np.cumsum(self._counts)[label] - self._counts[label]
        return np.where(self._drawn > 0, self._by_class[first + draw(sequence, self._counts[label], self.seed)], clips)

    def _in_order(self, sequence: np.ndarray) -> np.ndarray:
        """The clip numbers of these items of the endless sequence."""
        epochs, places = np.divmod(sequence, self.items)
        if self._ordered is not None:
            return self._ordered[places]
        out = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            out[here] = permute(places[here], self.items, self.seed, int(epoch))
        return out

    def at(self, position: int) -> dict[str, torch.Tensor]:
        """{"video": uint8 (b, T, H, W, 3), "label": int64 (b,)} with b = batch_size / world, on the dataset's storage device."""
        started = time.perf_counter()
        if self._threads is None:
            batch = self._make(position)
        else:
            wanted = range(position, position + 1 + self._ahead)
            for stale in [place for place in self._coming if place not in wanted]:
                self._coming.pop(stale).cancel()
            for place in wanted:
                if place not in self._coming:
                    self._coming[place] = self._threads.submit(self._make, place)
            batch = self._coming.pop(position).result()
        self.wait_seconds += time.perf_counter() - started
        return batch

    def _make(self, position: int) -> dict[str, torch.Tensor]:
        return self.dataset.gather(torch.from_numpy(self.indices(position)))

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
