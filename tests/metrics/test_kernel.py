"""Kernel distance: torch-fidelity's values, and what is known of it without computing."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import utils.vision  # noqa: F401  torch_fidelity imports torchvision
from metrics.kernel import kid

# isort: split
from torch_fidelity.metric_kid import kid_features_to_metric


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(20, 90), m=st.integers(20, 90), dim=st.integers(1, 30), size=st.integers(2, 20), subsets=st.integers(1, 30),
       seed=st.integers(0, 2**32 - 1))
@example(n=20, m=20, dim=1, size=20, subsets=2, seed=0)  # subsets that are all there is: ours says nothing of their spread
def test_equal_to_torch_fidelity(n, m, dim, size, subsets, seed):
    real, fake = normal(n, dim), normal(m, dim, seed=1) * 1.2 + 0.1
    theirs = kid_features_to_metric(fake, real, kid_subsets=subsets, kid_subset_size=size, rng_seed=seed, verbose=False)
    ours = kid(real, fake, subsets=subsets, subset_size=size, seed=seed)
    expected = [theirs["kernel_inception_distance_mean"], theirs["kernel_inception_distance_std"]]
    spread = [0.0] if n == m == size else list(ours.parts.values())
    assert [ours.value, *spread] == pytest.approx(expected, rel=1e-6, abs=1e-10) and ours.note == ""


@pytest.mark.parametrize("count", [1200, 60])  # longer than a block; and more pairs than all subsets hold
def test_equal_to_torch_fidelity_at_its_own_size_and_beyond(count):
    real, fake = normal(count, 16), normal(count + 40, 16, seed=1) + 0.05
    size = {1200: 1000, 60: 3}[count]
    theirs = kid_features_to_metric(fake, real, kid_subsets=5, kid_subset_size=size, rng_seed=2020, verbose=False)
    assert kid(real, fake, subsets=5, subset_size=size).value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_two_points_of_each_in_closed_form():
    """One subset of everything: means of the kernel within, less twice the mean across."""
    real, fake = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
    kernel = lambda a, b: (a * b + 1)**3
    expected = kernel(0, 1) + kernel(2, 3) - 2 * np.mean([kernel(a, b) for a in (0, 1) for b in (2, 3)])
    score = kid(real, fake)
    assert score.value == pytest.approx(expected) and score.parts == {}  # all subsets are the same
    assert "2 samples, not 1000" in score.note


def test_without_bias_alike_is_about_zero_and_unlike_is_not():
    values = [kid(normal(60, 8, seed=seed), normal(60, 8, seed=seed + 1000)).value for seed in range(40)]
    unlike = kid(normal(60, 8), normal(60, 8, seed=1) + 1).value
    assert min(values) < 0 and abs(np.mean(values)) < 3 * np.std(values) / 40**0.5 and unlike > 10 * np.std(values)


def test_too_few_samples_and_empty_demands_are_refused():
    real = normal(5, 3)
    for wrong in (lambda: kid(real, real[:1]), lambda: kid(real, real, subset_size=1), lambda: kid(real, real, subsets=0),
                  lambda: kid(real, real[:, :2])):
        with pytest.raises(ValueError):
            wrong()
