"""Crowds of clips compared with each other: which clips are drawn, one pass over each side, and reals against reals
beside it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metrics.protocol import Score
from metrics.registry import COLLECTORS, Metric
from utils.progress import Progress
from utils.seeds import numpy_generator

SHOWN = 16  # clips of each side, evenly spread over the draw, whose first frames are kept for the picture


@dataclass
class Crowd:
    """Clips that can be asked for by number. ``get``: int64 ``(B,)`` -> uint8 ``(B, T, H, W, 3)``.

    ``separate``: numbers of clips that share no frame with each other. A generator has infinitely many clips and needs
    no such list: it is asked for 0, 1, 2 ... in order. """

    name: str
    get: Callable[[Tensor], Tensor]
    count: float = math.inf
    separate: np.ndarray | None = None


@dataclass
class SetComparison:
    """What :func:`compare_sets` found."""

    scores: dict[str, Score]
    floors: dict[str, Score | None]
    clips: int
    floor_clips: int | None
    shown: dict[str, list[np.ndarray]]
    """A few frames of "real" and "fake", uint8 ``(H, W, 3)``."""
    notes: list[str] = field(default_factory=list)


def compare_sets(metrics: dict[str, Metric], real: Crowd, fake: Crowd, *, num_samples: int, seed: int = 0,
                 batch_size: int = 16, frames_per_clip: int = 1, max_frames: int = 4096) -> SetComparison:
    """``num_samples`` clips from each side (as many as both have, if fewer), and the floor: the same between two
    disjoint draws of real clips, which is what a perfect generator would get."""
    count = int(min(num_samples, real.count, fake.count))
    chosen, floor = draw_clips(real, count, seed)
    generated = draw_clips(fake, count, seed)[0] if fake.separate is not None else torch.arange(count)
    sides = {"real": (real, chosen), "fake": (fake, generated)}
    if floor:
        sides |= {"floor a": (real, floor[0]), "floor b": (real, floor[1])}
    names = dict.fromkeys(metric.collects for metric in metrics.values())
    collected, shown = {}, {}
    with Progress(sum(len(numbers) for _, numbers in sides.values()), "evaluate", "clip") as progress:
        for side, (crowd, numbers) in sides.items():
            if side == "floor a" and torch.equal(numbers, chosen):
                collected[side] = collected["real"]
                progress.update(len(numbers))
                continue
            collectors = {name: COLLECTORS[name](seed, frames_per_clip, max_frames) for name in names}
            collected[side], shown[side] = collectors, []
            wanted = set(np.linspace(0, len(numbers) - 1, min(SHOWN, len(numbers))).round().astype(int))
            for part, places in zip(numbers.split(batch_size), torch.arange(len(numbers)).split(batch_size)):
                clips = crowd.get(part)
                for collector in collectors.values():
                    collector.update(clips)
                shown[side] += [clip[0].numpy() for clip, place in zip(clips, places.tolist()) if place in wanted]
                progress.update(len(part))
    result = SetComparison({}, {}, count, len(floor[0]) if floor else None, shown)
    for name, metric in metrics.items():
        of = {side: collectors[metric.collects] for side, collectors in collected.items()}
        result.scores[name] = metric.function(of["real"], of["fake"])
        result.floors[name] = metric.function(of["floor a"], of["floor b"]) if floor else None
    if count < num_samples:
        result.notes.append(f"{count} clips on each side, not {num_samples}: there are no more")
    if not floor:
        result.notes.append("too few real clips to compare reals with reals")
    elif len(floor[0]) < count:
        result.notes.append(f"real vs real with {len(floor[0])} clips a side, not {count}, which makes it larger: too few "
                            f"real clips without common frames")
    return result


def draw_clips(crowd: Crowd, wanted: int, seed: int) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Which clips to use: int64 ``(wanted,)`` in order, and two disjoint draws for the floor, or None.

    Clips that share no frame are taken if there are enough. The floor compares ``wanted`` with ``wanted`` others where
    there are as many, otherwise half with half. The same clips come from two crowds that hold the same. """
    generator = numpy_generator(seed, "clips to evaluate")
    separate = generator.permutation(crowd.separate)
    order = separate if len(separate) >= wanted else generator.permutation(int(crowd.count))
    half = min(wanted, len(separate) // 2)
    floor = (_sorted(separate[:half]), _sorted(separate[half:2 * half])) if half else None
    return _sorted(order[:wanted]), floor


def _sorted(numbers: np.ndarray) -> Tensor:
    """In order of position: neighbours lie together on the disk."""
    return torch.from_numpy(np.sort(numbers))
