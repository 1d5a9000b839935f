"""Whether generated clips are copies."""

import torch

from metrics.diversity import Diversity
from metrics.neighbours import nearest


def side(levels):
    found = Diversity()
    found.add(found.look(torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 2, 8, 8, 3), 0))
    return found


def test_reals_that_share_frames_are_no_measure_of_how_far_reals_lie_apart():
    """Copies of two films of ten clips each, at half-way between neighbours; the films lie 100 apart."""
    real, fake = side([*range(20, 30), *range(120, 130)]), side([22, 24, 125, 128])
    among_all = nearest(real, fake, 2, 100 * torch.arange(20), 16)
    apart = nearest(real, fake, 2, torch.tensor([*range(10), *range(50, 60)]), 16)
    assert f"{1 / 255:.3f} for real ones" in among_all.remark and f"{95 / 255:.3f} for real ones" in apart.remark
    assert "nearest of 20 real clips" in apart.remark and "copies" in apart.remark
    assert len(apart.shown) == 2 and apart.distances == [0, 0] and apart.neighbours[0] in (2, 4, 15, 18)


def test_where_not_all_real_clips_are_looked_at_it_is_said():
    real, some = side([20, 60, 100, 140]), Diversity(kept_bytes=3 * 2 * 2 * 3 * 32**2)
    some.add({"thumbnails": real.points()})
    assert "nearest of the first 3 of 4 real clips" in nearest(some, side([61, 80]), 2, 100 * torch.arange(4), 16).remark


def test_one_real_clip_says_nothing_of_copies():
    memory = nearest(side([20]), side([20, 30]), 2, torch.tensor([7]), 16)
    assert "copies" not in memory.remark and "for real ones" not in memory.remark and "nan" not in memory.remark


def test_a_single_copy_among_others_is_counted():
    real, numbers = side([20, 60, 100, 140]), 100 * torch.arange(4)
    assert "1 of 4 generated clips can hardly" in nearest(real, side([61, 80, 120, 200]), 2, numbers, 16).remark
    assert "can hardly" not in nearest(real, side([40, 80, 120, 200]), 2, numbers, 16).remark
