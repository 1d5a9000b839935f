"""Intervals of metrics, by resampling the clips or films that were measured."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from metrics.collect import Collector
from metrics.confidence import Interval, bootstrap, subsampled
from metrics.registry import Metric


def interval(metric: Metric, real: Collector, fake: Collector, value: float | None, resamples: int, seed: int) -> Interval | None:
    """95%, about ``value``; None if none is wanted or there is too little to resample."""
    sides = (fake,) if metric.kind == "samples" else (real, fake)
    if not resamples or value is None or min(side.rows for side in sides) < 2:
        return None
    rows = [side.rows for side in sides]
    if metric.repeats_count and (min(rows) < 2 * metric.fewest or value in (0, 1)):  # a share of none or all says little of others
        return None
    found = (subsampled if metric.repeats_count else bootstrap)(statistic_of(metric, *sides), rows, resamples=resamples, seed=seed)
    reach = (found.high - found.low) / 2  # what is resampled may be a quicker estimate of the same
    if not reach or not math.isfinite(reach):  # as of a resample of one clip alone
        return None
    low = max(0.0, value - reach) if metric.repeats_count else value - reach  # no share is less than none
    return Interval(low, value + reach, found.level, resamples)


def interval_of_mean(values: Tensor, groups: list, resamples: int, seed: int) -> Interval | None:
    """95%, of the mean of values ``(N,)`` that are finite, by resampling whole groups, say the frames of a film. None for one group."""
    finite = torch.isfinite(values)
    kept = [group for group, good in zip(groups, finite.tolist()) if good]
    if not resamples or len(set(kept)) < 2:
        return None
    values = values[finite]
    return bootstrap(lambda rows: float(values[rows].mean()), [len(values)], groups=[kept], resamples=resamples, seed=seed)


def statistic_of(metric: Metric, *sides: Collector) -> Callable[..., float]:
    """The metric of parts of its sides, as a function of their rows, int64 each."""
    if metric.resample:
        return metric.resample(*sides)
    return lambda *rows: metric.function(*(side.select(part) for side, part in zip(sides, rows))).value
