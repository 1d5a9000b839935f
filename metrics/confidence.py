"""How far a number can be trusted: confidence intervals of statistics, and whether a value is more than chance.

Both choose rows anew and ask the statistic again; it may hold whatever makes that fast, as
:class:`metrics.frechet.FrechetResampler` does. An interval draws whole groups, say all frames of a clip, because rows
of one group are alike and would pass for more evidence than they are (Davison & Hinkley 1997, section 3.8). """

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from utils.seeds import numpy_generator


@dataclass(frozen=True)
class Interval:
    """Holds, in the share ``level`` of experiments like this one, what the statistic is on average over them."""

    low: float
    high: float
    level: float
    resamples: int


def bootstrap(statistic: Callable[..., float], sides: Sequence[int], *, groups: Sequence[Sequence | None] | None = None,
              resamples: int = 50, seed: int = 0, level: float = 0.95) -> Interval:
    """An interval around ``statistic(rows of side 1, rows of side 2, ...)``, rows int64, at all rows.

    ``sides``: rows on each side; ``groups``: for each side the group of each row, or None where every row is its own.
    Each side is resampled on its own, with replacement. The resamples' standard deviation, times Student's quantile, is
    put around the estimate (Efron & Tibshirani 1993, chapter 13: 50 resamples are enough for that, quantiles would need
    1000). Quantiles of the resamples themselves would lie too high: a resample repeats rows, and the bias of a Frechet
    distance grows with every distinct sample less (Chong & Forsyth 2020); the spread about their own mean has no part
    in it. What the interval holds is the statistic's mean at this number of samples, its bias included. Of a Frechet
    distance, or a kernel distance, it is too wide, up to twice, where the two sides are alike. ValueError for a side of a single group. """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"{resamples} resamples give no interval of level {level}")
    members = _members(sides, groups)
    if min(len(side) for side in members) < 2:
        raise ValueError("a single group on a side has no spread")
    values = []
    for number in range(resamples):
        generator = numpy_generator(seed, "bootstrap", number)
        values.append(statistic(*[_rows(side, generator.integers(len(side), size=len(side))) for side in members]))
    return _around(statistic(*[torch.arange(count) for count in sides]), np.std(values, ddof=1), resamples, level)


def subsampled(statistic: Callable[..., float], sides: Sequence[int], *, resamples: int = 50, seed: int = 0, level: float = 0.95,
               most: int = 500) -> Interval:
    """As :func:`bootstrap`, by parts of each side in which no row comes twice, for statistics that repeated rows would change.

    A part is half of its side, or that smaller share of each which leaves ``most`` rows of the largest. Parts of a share f vary
    (1 - f) / f times as much, in variance, as the whole does from experiment to experiment (delete-d jackknife, Shao & Wu 1989). ValueError
    for a side of one row. """
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(f"{resamples} resamples give no interval of level {level}")
    if min(sides) < 2:
        raise ValueError("a single row on a side has no spread")
    share = min(0.5, most / max(sides))
    values = []
    for number in range(resamples):
        generator = numpy_generator(seed, "parts", number)
        values.append(statistic(*[torch.from_numpy(generator.permutation(count)[:max(1, round(share * count))]) for count in sides]))
    deviation = np.std(values, ddof=1) * math.sqrt(share / (1 - share))
    return _around(statistic(*[torch.arange(count) for count in sides]), deviation, resamples, level)


def _around(estimate: float, deviation: float, resamples: int, level: float) -> Interval:
    reach = float(deviation * student.ppf((1 + level) / 2, resamples - 1))
    return Interval(estimate - reach, estimate + reach, level, resamples)


@dataclass(frozen=True)
class Chance:
    """What a statistic gives where there is nothing to find: its ``values`` over random splits of one crowd, and the
    ``threshold`` above which a value is more than chance, with a p-value of 5% or less: (splits that give as much + 1) /
    (splits + 1) (Phipson & Smyth 2010)."""

    values: tuple[float, ...]
    threshold: float

    def exceeded_by(self, value: float) -> bool:
        return value > self.threshold


def permutation_threshold(statistic: Callable[[Tensor, Tensor], float], pooled_count: int, split: tuple[int, int],
                          repeats: int = 99, seed: int = 0) -> Chance:
    """The distribution of ``statistic(rows, other rows)``, rows int64, over random disjoint parts of one crowd of
    ``pooled_count`` rows, say of reals against reals.

    ``split``: rows in each part, which should be as many as the value to judge had. ValueError if they are not there, or
    if ``repeats`` are too few for 5%: it takes 19. """
    if min(split) < 1 or sum(split) > pooled_count:
        raise ValueError(f"{pooled_count} rows cannot be split into {split[0]} and {split[1]}")
    rank = math.ceil(0.95 * (repeats + 1))  # the smallest whose excess has a p-value of 5% or less
    if rank > repeats:
        raise ValueError(f"{repeats} repeats have no threshold")
    values = []
    for number in range(repeats):
        order = torch.from_numpy(numpy_generator(seed, "permutation", number).permutation(pooled_count))
        values.append(statistic(order[:split[0]], order[split[0]:sum(split)]))
    return Chance(tuple(values), sorted(values)[rank - 1])


def _members(sides: Sequence[int], groups: Sequence[Sequence | None] | None) -> list[list[Tensor]]:
    """For each side the rows of each group."""
    found = []
    for count, labels in zip(sides, groups or [None] * len(sides), strict=True):
        labels = np.arange(count) if labels is None else np.asarray(labels)
        if len(labels) != count or not count:
            raise ValueError(f"{len(labels)} group labels for {count} rows")
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        found.append(list(torch.from_numpy(np.argsort(inverse, kind="stable")).split(sizes.tolist())))
    return found


def _rows(members: list[Tensor], chosen: np.ndarray) -> Tensor:
    return torch.cat([members[number] for number in chosen])
