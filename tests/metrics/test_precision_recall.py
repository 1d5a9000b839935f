"""Precision, recall, density and coverage where the answer is plain."""

import pytest
import torch

from metrics.precision_recall import density_coverage, precision, precision_recall, recall


def cloud(count, seed, centre=0.0, dim=4):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + centre


def values(pair):
    return [score.value for score in pair]


def test_the_same_set_is_precise_and_complete():
    x = cloud(100, 0)
    assert values(precision_recall(x, x.clone())) == [1, 1]
    assert values(density_coverage(x, x.clone())) == [pytest.approx(1, abs=0.01), 1]


def test_far_apart_shares_nothing():
    assert values(precision_recall(cloud(50, 0), cloud(60, 1, 100))) == [0, 0]
    assert values(density_coverage(cloud(50, 0), cloud(60, 1, 100))) == [0, 0]


def test_a_lost_mode_costs_recall_and_an_invented_one_precision():
    modes = torch.cat([cloud(100, 0), cloud(100, 1, 100)])
    one = cloud(200, 2)
    lost, invented = values(precision_recall(modes, one)), values(precision_recall(one, modes))
    assert lost[0] > 0.8 and 0.4 < lost[1] <= 0.5
    assert 0.4 < invented[0] <= 0.5 and invented[1] > 0.8
    assert [precision(modes, one).value, recall(modes, one).value] == lost
    assert 0.4 < density_coverage(modes, one)[1].value <= 0.5 and 0.4 < density_coverage(one, modes)[0].value < 0.6


def test_balls_on_a_line():
    """Reals at 0, 1, 2, 10: the balls to the nearest neighbour reach 1, 1, 1 and 8."""
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    fake = torch.tensor([[0.5], [-0.9], [4.0], [-1.5]])
    # Fake balls: 0.5 reaches 1.4, -0.9 reaches 0.6, 4 reaches 3.5, -1.5 reaches 0.6.
    assert values(precision_recall(real, fake, k=1)) == [0.75, 0.75]
    # 0.5 lies in the balls of 0 and 1, -0.9 in that of 0, 4 in that of 10: four in all, three balls hold one.
    assert values(density_coverage(real, fake, k=1)) == [1.0, 0.75]


def test_one_outlier_among_the_reals_raises_precision_but_not_density():
    real, fake = cloud(100, 0), cloud(100, 1, 20)
    spoiled = torch.cat([real, cloud(1, 2, 60)])
    assert precision(real, fake).value == 0 and precision(spoiled, fake).value == 1
    assert density_coverage(spoiled, fake)[0].value < 0.25


def test_not_more_samples_than_neighbours_is_refused():
    for metric in (precision_recall, precision, recall):
        with pytest.raises(ValueError, match="at least 4"):
            metric(cloud(3, 0), cloud(50, 1))
    with pytest.raises(ValueError, match="at least 6"):
        density_coverage(cloud(50, 0), cloud(5, 1))
    with pytest.raises(ValueError, match="dimensions"):
        precision_recall(cloud(50, 0), cloud(50, 1, dim=3))
