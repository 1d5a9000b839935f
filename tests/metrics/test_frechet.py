"""Frechet distance: closed forms, other implementations, and every way of computing it beside the others."""

import timeit

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import utils.vision  # noqa: F401  torch_fidelity imports torchvision

# isort: split
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from metrics.frechet import FrechetResampler, Gaussian, StreamingGaussian, frechet_at_infinity, frechet_distance, frechet_of_features


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(dim, seed=0):
    return torch.linalg.qr(normal(dim, dim, seed=seed))[0]


def gaussian(covariance, mean=None, count=10**6):
    return Gaussian(count, torch.zeros(len(covariance), dtype=torch.float64) if mean is None else mean, covariance)


def streamed(features):
    stream = StreamingGaussian(features.shape[1])
    stream.add(features)
    return stream.gaussian()


def fidelity(x, y):
    statistics = [fid_features_to_statistics(side.double()) for side in (x, y)]
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


# ---- closed forms

@settings(max_examples=40, deadline=None)
@given(dim=st.integers(1, 40), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 10**6))
def test_equal_and_scaled_covariances(dim, scale, seed):
    root = normal(dim, dim + 2, seed=seed) * scale
    covariance, shift = root @ root.T, normal(dim, seed=seed + 1) * scale
    moved = frechet_distance(gaussian(covariance), gaussian(covariance.clone(), shift))
    assert moved == pytest.approx(float(shift @ shift), rel=1e-6)
    grown = frechet_distance(gaussian(covariance), gaussian(2.25 * covariance))
    assert grown == pytest.approx(0.25 * float(covariance.trace()), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(dim=st.integers(2, 40), zeros=st.integers(0, 40), spread=st.floats(0, 3), seed=st.integers(0, 10**6))
def test_commuting_covariances_of_any_rank(dim, zeros, spread, seed):
    """In common axes the distance is that of the standard deviations; either may have none along some axes."""
    a, b = (10**(spread * normal(dim, seed=seed + side).clamp(-2, 2)) for side in (1, 2))
    a[:min(zeros, dim - 1)] = 0
    b[max(dim - zeros // 2, 1):] = 0
    axes, shift = rotation(dim, seed), normal(dim, seed=seed + 3)
    expected = float((a.sqrt() - b.sqrt()).square().sum() + shift @ shift)
    for frame in (torch.eye(dim, dtype=torch.float64), axes):
        sides = [frame @ torch.diag(values) @ frame.T for values in (a, b)]
        assert frechet_distance(gaussian(sides[0]), gaussian(sides[1], shift)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 7, 300])
def test_two_samples_of_each(dim):
    u, v, middle = normal(dim, seed=1), normal(dim, seed=2), normal(dim, seed=3)
    x, y = torch.stack([u, -u]), torch.stack([middle + v, middle - v])
    expected = float(middle @ middle + 2 * (u @ u + v @ v) - 4 * (u @ v).abs())
    assert frechet_of_features(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(streamed(x), streamed(y)) == pytest.approx(expected, rel=1e-6)


def test_points_in_perpendicular_spaces_share_nothing():
    x, y = torch.zeros(20, 60), torch.zeros(15, 60)
    x[:, :25], y[:, 25:] = normal(20, 25).float(), normal(15, 35).float()
    expected = float((x.mean(0) - y.mean(0)).square().sum() + x.var(0).sum() + y.var(0).sum())
    assert frechet_of_features(x, y) == pytest.approx(expected, rel=1e-6)


def test_a_crowd_without_any_spread():
    flat, x = torch.ones(9, 30), normal(12, 30)
    expected = float((x.mean(0) - 1).square().sum() + x.var(0).sum())
    assert frechet_of_features(flat, x) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(streamed(flat), streamed(x)) == pytest.approx(expected, rel=1e-9)
    assert frechet_of_features(flat, flat[:5] + 2) == pytest.approx(4 * 30)


# ---- other implementations

@pytest.mark.parametrize("counts, dim", [((200, 300), 40), ((41, 60), 40), ((30, 200), 40), ((25, 25), 60), ((2, 9), 5)])
def test_equal_to_torch_fidelity_and_scipy(counts, dim):
    mix = normal(dim, dim, seed=5) * torch.arange(1, dim + 1).double()**-1
    x, y = normal(counts[0], dim, seed=1) @ mix, normal(counts[1], dim, seed=2) @ mix * 1.3 + 0.1
    value = frechet_of_features(x, y)
    assert value == pytest.approx(fidelity(x, y), rel=1e-5)
    assert value == pytest.approx(frechet_distance(streamed(x), streamed(y)), rel=1e-9)
    assert frechet_of_features(x.float(), y.float()) == pytest.approx(value, rel=1e-5)
    if min(counts) > dim:
        covariances = [np.cov(side, rowvar=False) for side in (x, y)]
        trace = np.trace(scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real)
        expected = float((x.mean(0) - y.mean(0)).square().sum()) + sum(map(np.trace, covariances)) - 2 * trace
        assert value == pytest.approx(expected, rel=1e-6)


# ---- laws

@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 40), m=st.integers(2, 40), dim=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_symmetric_unmoved_by_rotation_never_negative(n, m, dim, seed):
    x, y = normal(n, dim, seed=seed), normal(m, dim, seed=seed + 1)
    value = frechet_of_features(x, y)
    assert value >= 0
    turn = rotation(dim, seed)
    for other in (frechet_of_features(y, x), frechet_of_features(x @ turn + 5, y @ turn + 5), frechet_distance(streamed(x), streamed(y))):
        assert other == pytest.approx(value, rel=1e-6, abs=1e-11 * dim)


@pytest.mark.parametrize("decades", [0, 9])
@pytest.mark.parametrize("count, dim", [(2, 500), (60, 500), (500, 60), (1, 3)])
def test_the_same_features_twice(count, dim, decades):
    x = normal(count + 1, dim) * 10**-torch.linspace(0, decades, dim, dtype=torch.float64) + 3
    assert frechet_of_features(x, x.clone()) == 0 and frechet_distance(streamed(x), streamed(x)) == 0
    # Roots of rounded zeros, or of what is next to zero, would add up to 1e-7 and more.
    total = float(x.var(0).sum())
    assert 0 <= frechet_of_features(x, x.flip(0)) <= 1e-12 * total
    assert 0 <= frechet_distance(streamed(x), streamed(x.flip(0))) <= 1e-12 * total


def test_few_samples_of_many_dimensions_cost_little():
    x, y = normal(40, 900), normal(50, 900, seed=1)
    sides = streamed(x), streamed(y)
    seconds = []
    for call in (lambda: frechet_of_features(x, y), lambda: frechet_distance(*sides)):
        seconds.append(min(timeit.repeat(call, number=1, repeat=5)))
    assert seconds[0] < seconds[1] / 4  # measured: a hundredth


def test_too_few_other_shapes_and_broken_numbers_are_refused():
    x = normal(5, 3)
    for call in (lambda: frechet_of_features(x[:1], x), lambda: streamed(x[:1]), lambda: FrechetResampler(x, x).at(torch.tensor([2]))):
        with pytest.raises(ValueError, match="at least 2"):
            call()
    with pytest.raises(ValueError, match="3 and 2 dim"):
        frechet_of_features(x, x[:, :2])
    with pytest.raises(ValueError, match="3 and of 2 dim"):
        frechet_distance(streamed(x), streamed(x[:, :2]))
    with pytest.raises(ValueError, match="not finite"):
        frechet_of_features(x, x.clone().fill_(torch.nan))
    with pytest.raises(ValueError, match=r"\(B, 3\)"):
        StreamingGaussian(3).add(x[:, :2])


# ---- as they come

@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=2, max_size=8), offset=st.sampled_from([0, 1e3, 1e8]), seed=st.integers(0, 10**6))
def test_batches_added_are_the_whole(sizes, offset, seed):
    features = normal(max(2, sum(sizes)), 6, seed=seed) + offset
    stream = StreamingGaussian(6)
    for part in features.split([*sizes, len(features) - sum(sizes)]):
        stream.add(part)
    found = stream.gaussian()
    assert found.count == len(features) and torch.equal(found.covariance, found.covariance.T)
    assert torch.allclose(found.mean, features.mean(0), rtol=1e-14, atol=1e-14)
    expected = torch.from_numpy(np.cov(features - offset, rowvar=False))
    assert torch.allclose(found.covariance, expected, rtol=0, atol=1e-13 + 1e-15 * offset)  # squares would be off by 1e-16 offset^2


def test_adding_nothing_changes_nothing_and_what_was_given_stays():
    stream, x = StreamingGaussian(4), normal(7, 4)
    stream.add(x[:0])
    stream.add(x)
    before = stream.gaussian()
    mean, covariance = before.mean.clone(), before.covariance.clone()
    stream.add(x + 9)
    assert torch.equal(before.mean, mean) and torch.equal(before.covariance, covariance)


# ---- chosen rows

@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 40), m=st.integers(2, 40), dim=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_chosen_rows_are_as_those_rows_themselves(n, m, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = normal(n, dim, seed=seed) + 4, normal(m, dim, seed=seed + 1) * 2 - 4
    rows = [torch.randint(size, (size,), generator=generator) for size in (n, m)]
    expected = frechet_distance(streamed(x[rows[0]]), streamed(y[rows[1]]))
    assert FrechetResampler(x, y).at(*rows) == pytest.approx(expected, rel=1e-7, abs=1e-11 * dim)
    assert FrechetResampler(x, y).at(rows[0]) == pytest.approx(frechet_of_features(x[rows[0]], y), rel=1e-7, abs=1e-11 * dim)


def test_the_bias_of_few_samples_is_taken_away():
    truth, plain, better = 48 * 0.25**2, [], []
    for seed in range(6):
        x, y = normal(400, 48, seed=2 * seed), normal(400, 48, seed=2 * seed + 1) + 0.25
        value, fits = frechet_at_infinity(x, y, seed)
        assert fits[-1] == (400, pytest.approx(frechet_of_features(x, y))) and fits[0][0] == 200 and len(fits) == 15
        plain.append(fits[-1][1])
        better.append(value)
    assert min(plain) > truth + 1.5 and abs(np.mean(better) - truth) < 0.3 * (np.mean(plain) - truth)
    again, other = (frechet_at_infinity(x, y, each)[0] for each in (seed, seed + 1))
    assert again == pytest.approx(value, rel=1e-12) and other != pytest.approx(value, rel=1e-6), "the same draws, but for the order of sums"
    with pytest.raises(ValueError, match="a line needs"):
        frechet_at_infinity(x, y[:3], 0)


def test_frames_of_a_clip_do_not_hide_the_bias_of_few_clips():
    """Eight frames of each clip that hardly differ: subsets of frames would know nearly all clips, whatever their size."""
    plain, by_clips = [], []
    for seed in range(6):
        x, y = ((normal(100, 16, seed=2 * seed + side)[:, None] + 0.01 * normal(800, 16, seed=90 + seed).view(100, 8, 16)).flatten(0, 1)
                for side in (0, 1))
        value, fits = frechet_at_infinity(x, y, seed, frames=8)
        assert fits[-1] == (100, pytest.approx(frechet_of_features(x, y), rel=1e-6)) and fits[0][0] == 50
        plain.append(fits[-1][1])
        by_clips.append(value)
    assert np.mean(plain) > 1 and abs(np.mean(by_clips)) < 0.3 * np.mean(plain)
