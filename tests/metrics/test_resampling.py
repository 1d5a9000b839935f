"""What is resampled for intervals is the metric itself, and of shares their own side alone."""

import pytest
import torch

from metrics import of_features
from metrics.frechet import frechet_of_features
from metrics.intervals import statistic_of
from metrics.registry import choose
from metrics.sets import How, key_of, new_collector
from tests.metrics.test_sets import NETWORKS, clips_of


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
    statistic = metric.resample_one(*sides) if metric.resample_one else statistic_of(metric, *sides)
    assert statistic(*[everything] * len(sides)) == pytest.approx(metric.function(*sides).value, rel=5e-3)


@pytest.mark.parametrize("name, own", [("precision", 1), ("density", 1), ("recall", 0), ("coverage", 0)])
def test_of_a_share_its_own_side_alone_is_resampled(name, own):
    metric, real, fake = both_sides(name)
    at, everything, few = metric.resample_one(real, fake), torch.arange(24), torch.arange(5)
    whole = at(everything, everything)
    assert at(*((few, everything) if own else (everything, few))) == whole
    assert any(at(*([torch.tensor([one])] * 2)) != whole for one in range(24))


def test_chosen_clips_bring_all_their_frames():
    _, real, fake = both_sides("fid")
    a, b = torch.tensor([0, 3, 3, 9, 11]), torch.tensor([1, 2, 7, 7, 20])
    direct = frechet_of_features(*(side.features()[rows].flatten(0, 1) for side, rows in ((real, a), (fake, b))))
    assert of_features.frechet_resampler(real, fake)(a, b) == pytest.approx(direct, rel=1e-6)
