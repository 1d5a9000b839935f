"""Intervals where there is nearly nothing to resample."""

import torch

from metrics.diversity import Diversity
from metrics.intervals import interval
from metrics.registry import choose


def test_a_resample_of_one_clip_alone_leaves_no_interval_and_no_nan():
    side = Diversity()
    side.add(side.look(torch.randint(0, 255, (2, 1, 32, 32, 3), dtype=torch.uint8), 0))
    (metric,) = choose("diversity").values()
    assert interval(metric, side, side, side.value, resamples=20, seed=0) is None
