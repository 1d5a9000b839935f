"""Intervals of metrics of crowds, by resampling the clips that were measured."""

import math
from collections.abc import Callable

from metrics.collect import Collector
from metrics.confidence import Interval, bootstrap
from metrics.registry import Metric


def interval(metric: Metric, real: Collector, fake: Collector, value: float | None, resamples: int, seed: int) -> Interval | None:
    """95%, about ``value``; None if none is wanted or there is too little to resample."""
    sides = (fake,) if metric.kind == "samples" else (real, fake)
    if not resamples or value is None or min(side.rows for side in sides) < 2:
        return None
    statistic = metric.resample_one(*sides) if metric.resample_one else statistic_of(metric, *sides)
    found = bootstrap(statistic, [side.rows for side in sides], resamples=resamples, seed=seed)
    reach = (found.high - found.low) / 2  # what is resampled may be a quicker estimate of the same
    if not math.isfinite(reach):  # a resample of few clips may hold one of them alone, which has no diversity
        return None
    return Interval(value - reach, value + reach, found.level, resamples)


def statistic_of(metric: Metric, *sides: Collector) -> Callable[..., float]:
    """The metric as a function of the rows of its sides, int64 each."""
    if metric.resample:
        return metric.resample(*sides)
    return lambda *rows: metric.function(*(side.select(part) for side, part in zip(sides, rows))).value
