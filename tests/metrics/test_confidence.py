"""Intervals that hold the truth as often as they say, and chance that is exceeded as rarely as it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.confidence import bootstrap, permutation_threshold, subsampled
from metrics.frechet import FrechetResampler, frechet_of_features


def frechet_1d(x, y):
    return lambda a, b: float((x[a].mean() - y[b].mean())**2 + (x[a].std() - y[b].std())**2)


def coverage(make_interval, truth, repetitions=200):
    """The share of intervals that hold the truth."""
    found = [make_interval(seed, np.random.default_rng(seed)) for seed in range(repetitions)]
    assert all(interval.low < interval.high and interval.level == 0.95 and interval.resamples == 50 for interval in found)
    return np.mean([interval.low <= truth <= interval.high for interval in found])


def test_95_percent_intervals_of_a_mean_hold_the_truth():
    def interval(seed, generator):
        x = torch.from_numpy(generator.normal(3, 2, 60))
        return bootstrap(lambda rows: float(x[rows].mean()), [60], seed=seed)
    assert 0.9 <= coverage(interval, 3) <= 0.99


def test_an_interval_is_student_s_around_the_estimate():
    values = iter([1.0, 2.0, 3.0, 10.0])  # three resamples, of standard deviation 1, then the estimate
    found = bootstrap(lambda rows: next(values), [5], resamples=3)
    assert (found.low, found.high) == pytest.approx((10 - 4.302653, 10 + 4.302653), abs=1e-5)  # t(0.975; 2)


def test_95_percent_intervals_of_a_frechet_distance_hold_the_truth():
    def interval(seed, generator):
        x, y = torch.from_numpy(generator.normal(0, 1, 150)), torch.from_numpy(generator.normal(2, 1.5, 100))
        return bootstrap(frechet_1d(x, y), (150, 100), seed=seed)
    assert 0.9 <= coverage(interval, 4.25) <= 0.99


def test_frames_of_a_clip_are_no_new_evidence():
    """20 clips of 10 frames that are all alike: with groups the interval holds the truth, without it is far too narrow."""
    def interval(seed, generator, groups):
        x = torch.from_numpy(generator.normal(0, 1, 20).repeat(10))
        return bootstrap(lambda rows: float(x[rows].mean()), [200], groups=groups, seed=seed)
    labels = [f"clip {number}" for number in np.arange(20).repeat(10)]
    assert 0.9 <= coverage(lambda *how: interval(*how, [labels]), 0, 100) <= 1
    assert coverage(lambda *how: interval(*how, None), 0, 100) < 0.65


@pytest.mark.parametrize("most", [1000, 20])
def test_parts_without_repeats_hold_the_truth_too(most):
    def interval(seed, generator):
        x, y = torch.from_numpy(generator.normal(3, 2, 60)), torch.from_numpy(generator.normal(1, 1, 90))

        def apart(a, b):
            assert len(set(a.tolist())) == len(a) and (len(a), len(b)) in ((60, 90), (30, 45), (13, 20))
            return float(x[a].mean() - y[b].mean())
        return subsampled(apart, [60, 90], seed=seed, most=most)
    assert 0.9 <= coverage(interval, 2) <= 0.99


def test_groups_are_drawn_whole_on_their_own_side():
    labels, seen = [3, 1, 3, 2, 1, 3], []
    bootstrap(lambda a, b: float(seen.append((a.tolist(), b.tolist())) or 0), (6, 2), groups=[labels, None], resamples=20)
    for rows, others in seen[:-1]:
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[4] and counts[0] + counts[1] + counts[3] == 3
        assert len(others) == 2
    assert seen[-1] == (list(range(6)), [0, 1]) and len({str(rows) for rows in seen}) > 5


def test_the_interval_of_a_biased_distance_lies_around_the_estimate():
    """Resamples repeat rows, so every one of them is further apart than the samples are."""
    x, y = (torch.randn(80, 40, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    resampler, estimate, values = FrechetResampler(x, y), frechet_of_features(x, y), []
    interval = bootstrap(lambda *rows: values.append(resampler.at(*rows)) or values[-1], (80, 80), seed=1)
    assert interval == bootstrap(resampler.at, (80, 80), seed=1) != bootstrap(resampler.at, (80, 80), seed=2)
    assert min(values[:-1]) > estimate == pytest.approx(values[-1])
    assert (interval.low + interval.high) / 2 == pytest.approx(estimate) and interval.high < min(values[:-1])
    assert bootstrap(resampler.at, (80, 80), level=0.5).high < bootstrap(resampler.at, (80, 80), level=0.95).high


# ---- chance

def test_chance_is_exceeded_by_a_difference_and_by_alike_once_in_twenty():
    pooled, changed, alike = (np.random.default_rng(seed).normal(size=(200, 100)) for seed in (1, 2, 3))
    exceeded = {"changed": 0, "alike": 0}
    for seed in range(200):
        x, y, z = (torch.from_numpy(side[seed]) for side in (pooled, changed * 1.8 + 0.3, alike))
        chance = permutation_threshold(frechet_1d(x, x), 100, (50, 50), repeats=39, seed=seed)
        exceeded["changed"] += chance.exceeded_by(frechet_1d(x, y)(torch.arange(50), torch.arange(50)))
        exceeded["alike"] += chance.exceeded_by(frechet_1d(x, z)(torch.arange(50), torch.arange(50)))
    assert exceeded["changed"] > 180 and exceeded["alike"] <= 22  # 10 expected, four standard deviations above


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(-5, 5), min_size=19, max_size=60, unique=True), value=st.floats(-6, 6))
def test_above_the_threshold_means_a_small_p_value(values, value):
    ordered = iter(values)
    chance = permutation_threshold(lambda a, b: next(ordered), 4, (2, 2), len(values))
    assert chance.values == tuple(values) and chance.threshold in values
    above = (np.sum(np.array(values) >= value) + 1) / (len(values) + 1)
    assert chance.exceeded_by(value) == (above <= 0.05 + 1e-9)


@pytest.mark.parametrize("repeats", [19, 59, 99, 999])
def test_the_threshold_s_rank_is_not_rounded_up(repeats):
    ordered = iter(range(1, repeats + 1))
    assert permutation_threshold(lambda a, b: next(ordered), 4, (2, 2), repeats).threshold == (repeats + 1) // 20 * 19


def test_splits_are_disjoint_and_random():
    seen = []
    record = lambda a, b: float(seen.append((sorted(a.tolist()), sorted(b.tolist()))) or 0)
    permutation_threshold(record, 12, (4, 6), 19)
    for a, b in seen:
        assert len(a) == 4 and len(b) == 6 and not set(a) & set(b) and set(a + b) <= set(range(12))
    assert len({str(split) for split in seen}) > 10
    again = list(seen)
    seen.clear()
    permutation_threshold(record, 12, (4, 6), 19)
    assert seen == again


def test_what_cannot_be_answered_is_refused():
    nothing = lambda *rows: 0.0
    for match, call in (("no interval", lambda: bootstrap(nothing, [5], resamples=1)),
                        ("no interval", lambda: bootstrap(nothing, [5], level=1)),
                        ("labels for 5", lambda: bootstrap(nothing, [5], groups=[[1, 2]])), ("0 rows", lambda: bootstrap(nothing, [0])),
                        ("single group", lambda: bootstrap(nothing, [3], groups=[[1, 1, 1]])),
                        ("no threshold", lambda: permutation_threshold(nothing, 9, (4, 4), 18)),
                        ("cannot be split", lambda: permutation_threshold(nothing, 9, (5, 5)))):
        with pytest.raises(ValueError, match=match):
            call()
