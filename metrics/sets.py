"""Crowds of clips compared with each other: which clips are drawn, one pass over each side, and reals against reals
beside it."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metrics.collect import Collector, Draw
from metrics.confidence import Interval
from metrics.intervals import interval
from metrics.networks.network import Network
from metrics.protocol import Score
from metrics.registry import COLLECTORS, Metric
from metrics.shelf import Shelf
from utils import distributed
from utils.images import evenly
from utils.progress import Progress
from utils.seeds import numpy_generator

THUMBNAILS, PROFILES = ("thumbnails", None), ("profiles", None)  # collected whatever the metrics: the report shows them
SHOWN = 16  # clips of each side, evenly spread over the draw, that are kept for the pictures


@dataclass
class Crowd:
    """Clips that can be asked for by number. ``get``: int64 ``(B,)`` -> uint8 ``(B, T, H, W, 3)``.

    ``separate``: numbers of clips that share no frame with each other. A generator has infinitely many clips and needs
    no such list: it is asked for 0, 1, 2 ... in order. ``content``: equal only for crowds of the same clips; None if that is
    not known. ``videos``: of which video each of ``separate`` is. ``labels``: numbers of clips -> their classes. ``answers``: whether its
    clips are made from real ones, and so resemble them as they should. """

    name: str
    get: Callable[[Tensor], Tensor]
    count: float = math.inf
    separate: np.ndarray | None = None
    content: str | None = None
    videos: np.ndarray | None = None
    labels: Callable[[Tensor], Tensor] | None = None
    answers: bool = False

    def most(self, one_per_video: bool) -> float:
        """How many clips can be drawn."""
        return len(np.unique(self.videos)) if one_per_video and self.videos is not None else self.count


@dataclass(frozen=True)
class How:
    """How a comparison is made, beyond its metrics."""

    num_samples: int
    seed: int = 0
    batch_size: int = 16
    frames_per_clip: int = 1
    max_frames: int = 4096
    """Frames whose patches are kept."""
    max_features: int = 10_000
    """Clips whose features and other details are kept."""
    floor: bool = True
    """Whether reals are compared with reals."""
    resamples: int = 0
    """Resamples for intervals; 0 for none."""
    one_per_video: bool = False
    generated_from: int = 0
    """Number of the first clip that a generator is asked for."""


@dataclass
class SetComparison:
    """What :func:`compare_sets` found."""

    scores: dict[str, Score]
    floors: dict[str, Score | None]
    intervals: dict[str, Interval | None]
    clips: int
    floor_clips: int | None
    shown: dict[str, list[Tensor]]
    """A few clips of "real" and "fake", uint8 ``(T, H, W, 3)``."""
    numbers: dict[str, Tensor]
    """The clips that were drawn, int64."""
    collected: dict[str, dict[tuple, Collector]] = field(default_factory=dict)
    """By side, and by :func:`key_of`."""
    notes: list[str] = field(default_factory=list)


def key_of(metric: Metric) -> tuple:
    """Metrics with the same key share a collector."""
    return metric.collects, metric.needs


def compare_sets(metrics: dict[str, Metric], real: Crowd, fake: Crowd, how: How, networks: dict[tuple, Network] | None = None,
                 shelf: Shelf | None = None) -> SetComparison | None:
    """``how.num_samples`` clips from each side (as many as both have, if fewer), and the floor: the same between two
    disjoint draws of real clips, which is what clips as good as others of the same videos would get.

    ``networks``: what the metrics need, by :attr:`Metric.needs`. ``shelf``: where what is known of real clips is kept. Several processes
    share the looking; the first of them gets the result, the others None. """
    count = int(min([how.num_samples, *(crowd.most(how.one_per_video) for crowd in (real, fake))]))
    chosen, floor = draw_clips(real, count, how.seed, how.one_per_video)
    if not how.floor:
        floor = None
    generated = how.generated_from + torch.arange(count)
    if fake.separate is not None:
        generated, _ = draw_clips(fake, count, how.seed, how.one_per_video)
    sides = {"real": (real, chosen), "fake": (fake, generated)}
    if floor:
        sides |= {"floor a": (real, floor[0]), "floor b": (real, floor[1])}
    result = SetComparison({}, {}, {}, count, len(floor[0]) if floor else None, {}, {"real": chosen, "fake": generated})
    with Progress(sum(len(numbers) for _, numbers in sides.values()), "evaluate", "clip", quiet=not distributed.is_main()) as progress:
        for side, (crowd, numbers) in sides.items():
            if side == "floor a" and torch.equal(numbers, chosen):
                result.collected[side] = result.collected["real"]
                progress.update(len(numbers))
                continue
            keys = dict.fromkeys([*map(key_of, metrics.values()), *([] if side.startswith("floor") else [THUMBNAILS, PROFILES])])
            collectors = {key: new_collector(key, how, len(numbers), networks or {}) for key in keys}
            look_at_all(crowd, numbers, collectors, how.batch_size, progress, shelf)
            result.collected[side] = collectors
            if not side.startswith("floor") and distributed.is_main():
                result.shown[side] = [crowd.get(numbers[place:place + 1])[0] for place in evenly(len(numbers), SHOWN)]
    if not distributed.is_main():
        return None
    for name, metric in metrics.items():
        of = {side: collectors[key_of(metric)] for side, collectors in result.collected.items()}
        if metric.kind == "samples":
            result.scores[name], result.floors[name] = metric.function(of["fake"]), metric.function(of["real"])
        else:
            result.scores[name] = metric.function(of["real"], of["fake"])
            known = floor and of["floor a"].rows >= metric.fewest
            result.floors[name] = metric.function(of["floor a"], of["floor b"]) if known else None
        result.intervals[name] = interval(metric, of["real"], of["fake"], result.scores[name].value, how.resamples, how.seed)
    if count < how.num_samples:
        result.notes.append(f"{count} clips on each side, not {how.num_samples}: there are no more")
    if few := [name for name, found in result.floors.items() if floor and not found]:
        result.notes.append(f"{', '.join(few)}: too few real clips to compare reals with reals")
    if not floor and how.floor:
        result.notes.append("too few real clips to compare reals with reals")
    elif floor and len(floor[0]) < count:
        result.notes.append(f"real vs real with {len(floor[0])} clips a side, not {count}, which makes distances larger: too few "
                            f"real clips without common frames")
    for side, crowd in (("real", real), ("fake", fake)) if how.resamples else ():
        result.notes += of_intervals(crowd, count, f"{side} clips")
    return result


def of_intervals(crowd: Crowd, count: int, clips: str = "clips") -> list[str]:
    """What is to be said of intervals where ``count`` of its ``clips``, in words, are no independent ones."""
    if crowd.separate is not None and len(crowd.separate) < count:
        return [f"{count} {clips}, of which only {len(crowd.separate)} without common frames: the 95% intervals take all of them for "
                "independent and are too narrow"]
    if crowd.videos is not None and 2 * (videos := len(np.unique(crowd.videos))) <= count:
        return [f"{count} {clips} of {videos} video{'s' * (videos > 1)}: the 95% intervals hold for other clips of these; what other "
                "videos would give may lie outside"]
    return []


def look_at_all(crowd: Crowd, numbers: Tensor, collectors: dict[tuple, Collector], batch_size: int, progress: Progress,
                shelf: Shelf | None = None) -> None:
    """Fill ``collectors`` with the clips ``numbers`` of ``crowd``, or from the shelf. Each process looks at its share of the batches;
    only the first one's collectors are filled."""
    drawn = hashlib.sha256(numbers.numpy().tobytes()).hexdigest()[:16]
    names = {key: f"{crowd.content} {drawn} {collector.identity}" for key, collector in collectors.items()
             if shelf and crowd.content and hasattr(collector, "identity")}
    known = shelf.restore({names[key]: collectors[key] for key in names}) if names else set()
    todo = {key: collector for key, collector in collectors.items() if names.get(key) not in known}
    if not todo:
        progress.update(len(numbers))
        return
    rank, world = distributed.rank(), distributed.world_size()
    batches = [(int(at[0]), part) for part, at in zip(numbers.split(batch_size), torch.arange(len(numbers)).split(batch_size))]
    for start in range(0, len(batches), world):
        seen = None
        if start + rank < len(batches):
            first, part = batches[start + rank]
            clips = crowd.get(part)
            seen = {key: collector.look(clips, first) for key, collector in todo.items()}
        for payload in distributed.gather(seen):  # nothing but in the first process
            if payload is not None:
                for key, collector in todo.items():
                    collector.add(payload[key])
        progress.update(sum(len(part) for _, part in batches[start:start + world]))
    if distributed.is_main() and len(numbers) > 1:  # one clip has no covariance to keep
        for key in names.keys() & todo.keys():
            shelf.save(names[key], collectors[key])


def draw_clips(crowd: Crowd, wanted: int, seed: int, one_per_video: bool = False) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Which clips to use: int64 ``(wanted,)`` in order, and two disjoint draws for the floor, or None.

    Clips that share no frame are taken if there are enough. The floor compares ``wanted`` with ``wanted`` others where
    there are as many, otherwise half with half. The same clips come from two crowds that hold the same. ``one_per_video``: at most
    one clip of each video. """
    generator = numpy_generator(seed, "clips to evaluate")
    separate = generator.permutation(crowd.separate)
    if one_per_video:
        order = generator.permutation(len(crowd.separate))
        _, first = np.unique(crowd.videos[order], return_index=True)
        separate = generator.permutation(crowd.separate[order[first]])
    order = separate if len(separate) >= wanted else generator.permutation(int(crowd.count))
    half = min(wanted, len(separate) // 2)
    floor = (_sorted(separate[:half]), _sorted(separate[half:2 * half])) if half else None
    return _sorted(order[:wanted]), floor


def new_collector(key: tuple, how: How, clips: int, networks: dict[tuple, Network]) -> Collector:
    """One of those :func:`key_of` names, that is to see ``clips`` clips."""
    collects, needs = key
    kind = COLLECTORS[collects]
    if needs:
        return kind(Draw(how.seed, how.frames_per_clip, clips, how.max_features), networks[needs])
    if "patches" in collects:
        return kind(Draw(how.seed, how.frames_per_clip, clips, max(1, how.max_frames // how.frames_per_clip)))
    return kind()


def _sorted(numbers: np.ndarray) -> Tensor:
    """In order of position: neighbours lie together on the disk."""
    return torch.from_numpy(np.sort(numbers))
