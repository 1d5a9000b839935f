"""Is it memory? Generated clips beside the real ones nearest to them (as in Borji 2019, arXiv 1802.03446, section 2.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.diversity import Diversity

COPIES = 0.5  # generated clips count as copies when they lie this much nearer to a real one than another real one does


@dataclass
class Memory:
    """Rows of generated clips, nearest first, with their nearest real rows and the distances (RMS of pixels in [0, 1])."""

    shown: list[int]
    neighbours: list[int]
    distances: list[float]
    remark: str


def nearest(real: Diversity, fake: Diversity, count: int) -> Memory:
    """The ``count`` generated clips that lie nearest to a real one, and whether they lie nearer than reals do to each other."""
    reals, fakes = real.points(), fake.points()
    scale = reals.shape[1] ** 0.5
    distances, places = _nearest(fakes, reals, skip_self=False)
    among, _ = _nearest(reals, reals, skip_self=True)
    order = distances.argsort()[:count]
    usual, own = float(among.median()) / scale, float(distances.median()) / scale
    remark = f"nearest real neighbour, by thumbnails: {own:.3f} for generated clips, {usual:.3f} for real ones (medians)"
    if own < COPIES * usual:
        remark += "; generated clips lie closer to real ones than these do to each other: they may be copies"
    return Memory(order.tolist(), places[order].tolist(), (distances[order] / scale).tolist(), remark)


def _nearest(points: Tensor, others: Tensor, skip_self: bool, block: int = 512) -> tuple[Tensor, Tensor]:
    """For each point the distance to the nearest of ``others`` and its place."""
    found = []
    for start in range(0, len(points), block):
        distances = torch.cdist(points[start:start + block], others)
        if skip_self and len(others) > 1:
            rows = torch.arange(len(distances))
            distances[rows, start + rows] = torch.inf
        found.append(distances.min(dim=1))
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])
