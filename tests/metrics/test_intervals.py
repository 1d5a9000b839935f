"""Intervals of means resample whole films: frames of one film are no evidence for others."""

import pytest
import torch

from metrics.diversity import Diversity
from metrics.intervals import interval, interval_of_mean
from metrics.registry import choose


def test_whole_films_are_resampled():
    generator = torch.Generator().manual_seed(0)
    films = torch.randn(40, generator=generator)
    frames = films.repeat_interleave(25) + 0.01 * torch.randn(1000, generator=generator)
    names = [number // 25 for number in range(1000)]
    found = interval_of_mean(frames.double(), names, 200, 0)
    assert (found.high - found.low) / 2 == pytest.approx(2 * films.std().item() / 40**0.5, rel=0.2)
    by_frame = interval_of_mean(frames.double(), list(range(1000)), 200, 0)
    assert (by_frame.high - by_frame.low) < (found.high - found.low) / 4
    assert found.low < frames.mean() < found.high


def test_equal_frames_are_left_out_and_one_film_has_none():
    values = torch.tensor([30.0, torch.inf, 32.0, 34.0], dtype=torch.float64)
    found = interval_of_mean(values, ["a", "a", "b", "c"], 50, 0)
    assert found.low < 32 < found.high and torch.isfinite(torch.tensor(found.high))
    assert interval_of_mean(values, ["a"] * 4, 50, 0) is None and interval_of_mean(values, ["a", "b", "b", "b"], 0, 0) is None


def test_a_resample_of_one_clip_alone_leaves_no_interval_and_no_nan():
    side = Diversity()
    side.add(side.look(torch.randint(0, 255, (2, 1, 32, 32, 3), dtype=torch.uint8), 0))
    (metric,) = choose("diversity").values()
    assert interval(metric, side, side, side.value, resamples=20, seed=0) is None
