"""What is resampled for intervals is the metric itself."""

import numpy as np
import pytest
import torch

from metrics import of_features
from metrics.collect import Draw
from metrics.features import Features
from metrics.frechet import frechet_of_features
from metrics.intervals import interval, statistic_of
from metrics.registry import choose
from metrics.sets import How, key_of, new_collector
from tests.metrics.test_sets import MEANS, NETWORKS, clips_of


def looked_at(name, first, shift=0):
    """A metric and what it collects of 24 clips, two frames each."""
    (metric,) = choose(name).values()
    side = new_collector(key_of(metric), How(24, frames_per_clip=2), 24, NETWORKS)
    side.add(side.look(clips_of(shift)(first + torch.arange(24)), 0))
    return metric, side


def both_sides(name):
    (metric, real), (_, fake) = looked_at(name, 0), looked_at(name, 500, shift=1)
    return metric, real, fake


@pytest.mark.parametrize("name", ["fid", "precision", "recall", "density", "coverage", "is", "diversity"])
def test_with_each_clip_once_it_is_the_metric(name):
    metric, real, fake = both_sides(name)
    sides, everything = (fake,) if metric.kind == "samples" else (real, fake), torch.arange(24)
    assert statistic_of(metric, *sides)(*[everything] * len(sides)) == pytest.approx(metric.function(*sides).value, rel=5e-3)


def test_intervals_of_neighbourhoods_hold_the_mean_of_repeated_draws():
    """60 experiments of 100 clips a side. Had one side stood still, those of the density would hold it in two of three."""
    generator, metrics = torch.Generator().manual_seed(0), choose("density,coverage")
    found = {name: [] for name in metrics}
    for seed in range(60):
        sides = [Features(Draw(), MEANS), Features(Draw(), MEANS)]
        for side, shift in zip(sides, (0, 0.3)):
            side.add({"features": shift + torch.randn(100, 1, 16, generator=generator)})
        for name, metric in metrics.items():
            value = metric.function(*sides).value
            found[name].append((value, interval(metric, *sides, value, resamples=20, seed=seed)))
    for name, pairs in found.items():
        mean, spread = np.mean([value for value, _ in pairs]), np.std([value for value, _ in pairs])
        assert np.mean([each.low <= mean <= each.high for _, each in pairs]) >= 0.85, name
        assert np.mean([each.high - each.low for _, each in pairs]) < 7 * spread, name


@pytest.mark.parametrize("hits", [0, 1])
def test_a_share_of_none_has_no_interval_and_none_reaches_below(hits):
    generator, (metric,) = torch.Generator().manual_seed(0), choose("density").values()
    real = torch.randn(60, 1, 16, generator=generator)
    fake = torch.cat([real[:hits], 9 + torch.randn(60 - hits, 1, 16, generator=generator)])
    sides = [Features(Draw(), MEANS), Features(Draw(), MEANS)]
    for side, features in zip(sides, (real, fake)):
        side.add({"features": features})
    value = metric.function(*sides).value
    found = interval(metric, *sides, value, resamples=20, seed=0)
    assert (value > 0) == (found is not None) == bool(hits) and (not hits or found.low == 0 < found.high - value)


def test_chosen_clips_bring_all_their_frames():
    _, real, fake = both_sides("fid")
    a, b = torch.tensor([0, 3, 3, 9, 11]), torch.tensor([1, 2, 7, 7, 20])
    direct = frechet_of_features(*(side.features()[rows].flatten(0, 1) for side, rows in ((real, a), (fake, b))))
    assert of_features.frechet_resampler(real, fake)(a, b) == pytest.approx(direct, rel=1e-6)
