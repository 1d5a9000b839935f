"""Is it memory? Generated clips beside the real ones nearest to them (as in Borji 2019, arXiv 1802.03446, section 2.3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.diversity import Diversity

COPIES = 0.5  # all generated clips are suspect when their median lies this much nearer to a real one than another real one does,
SAME = 0.1  # and a single one when it lies this much nearer
_BLOCK = 512  # points whose distances to all others are in memory at a time


@dataclass
class Memory:
    """Rows of generated clips, nearest first, with their nearest real rows and the distances (RMS of pixels in [0, 1])."""

    shown: list[int]
    neighbours: list[int]
    distances: list[float]
    remark: str


def nearest(real: Diversity, fake: Diversity, count: int, numbers: Tensor, frames: int) -> Memory:
    """The ``count`` generated clips that lie nearest to a real one, and whether they lie nearer than reals do to each other.

    ``numbers``: of the real clips, by row, int64; those less than ``frames`` apart may share frames, and count not as neighbours. """
    reals, fakes = real.points(), fake.points()
    scale = reals.shape[1] ** 0.5
    total, numbers = len(numbers), numbers[:len(reals)]
    distances, places = _nearest(fakes, reals)
    among, _ = _nearest(reals, reals, lambda rows: (numbers[rows, None] - numbers).abs() < frames)
    order = distances.argsort()[:count]
    among = among[among.isfinite()]
    usual, own = float(among.median()) / scale, float(distances.median()) / scale
    said = f", {usual:.3f} for real ones without common frames" if len(among) else ""
    which = f"{len(reals)}" if len(reals) == total else f"the first {len(reals)} of {total}"
    remark = f"nearest of {which} real clips, by thumbnails: {own:.3f} for generated clips{said} (medians)"
    if own < COPIES * usual:
        remark += "; generated clips lie closer to real ones than these do to each other: they may be copies"
    if len(among) and (same := int((distances / scale < SAME * usual).sum())):
        remark += f"; {same} of {len(fakes)} generated clips can hardly be told from a real one"
    return Memory(order.tolist(), places[order].tolist(), (distances[order] / scale).tolist(), remark)


def _nearest(points: Tensor, others: Tensor, skip: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """For each point the distance to the nearest of ``others`` and its place. ``skip``: rows of points -> which others do not count."""
    found = []
    for start in range(0, len(points), _BLOCK):
        distances = torch.cdist(points[start:start + _BLOCK], others)
        if skip:
            distances[skip(torch.arange(start, start + len(distances)))] = torch.inf
        found.append(distances.min(dim=1))
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])
