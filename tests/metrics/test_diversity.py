"""Diversity beside all pairs formed one by one, and where it is known."""

import itertools
import math
import resource

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.diversity import Diversity


def clips_of(count, seed=0, frames=2, height=64, width=96):
    return torch.randint(0, 256, (count, frames, height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def coarse(count, seed=0, frames=2):
    """Clips of 32x32 blocks, whose thumbnails are therefore as different as they are."""
    return clips_of(count, seed, frames, 32, 32).repeat_interleave(2, dim=2).repeat_interleave(3, dim=3)


def collected(clips, batches=(100,), **settings):
    diversity, first = Diversity(**settings), 0
    for part in clips.split(batches[0]) if len(batches) == 1 else clips.split(list(batches)):
        diversity.add(diversity.look(part, first))
        first += len(part)
    return diversity


def of_pairs(clips, pairs=None):
    """Root of the mean squared distance, one pair after the other."""
    small = (clips.double() / 255).unflatten(2, (32, -1)).unflatten(4, (32, -1)).mean(dim=(3, 5))
    pairs = list(pairs or itertools.combinations(range(len(clips)), 2))
    return math.sqrt(sum((small[i] - small[j]).square().mean().item() for i, j in pairs) / len(pairs))


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 9), seed=st.integers(0, 10**6), cut=st.integers(1, 8), blocks=st.booleans())
def test_equal_to_all_pairs_formed_one_by_one_in_any_batches(count, seed, cut, blocks):
    clips = (coarse if blocks else clips_of)(count, seed)
    diversity = collected(clips, (cut,))
    assert diversity.value == pytest.approx(of_pairs(clips), rel=1e-6)
    assert diversity.resampled(torch.arange(count)) == pytest.approx(of_pairs(clips), rel=2e-3)  # kept in float16


def test_collapsed_is_exactly_zero_and_noise_as_computed():
    same = clips_of(1).expand(50, -1, -1, -1, -1)
    diversity = collected(same, (7,))
    assert diversity.value == 0 and diversity.resampled(torch.randint(0, 50, (50,))) == 0
    assert collected(coarse(60)).value == pytest.approx(math.sqrt(2 * (256**2 - 1) / 12) / 255, rel=0.01)  # twice a uniform variance
    black_and_white = torch.stack([torch.zeros(3, 40, 40, 3), torch.full((3, 40, 40, 3), 255)]).byte()
    assert collected(black_and_white).value == 1


def test_small_spread_on_a_large_mean_is_kept():
    clips = torch.full((400, 1, 32, 32, 3), 250, dtype=torch.uint8)
    clips[::2] += 1
    assert collected(clips, (3,)).value == pytest.approx(math.sqrt(2 * 0.25 * 400 / 399) / 255, rel=1e-6)


def test_what_a_bootstrap_draws():
    clips = coarse(6)
    clips[5] = clips[4] // 2
    diversity = collected(clips)
    drawn = [0, 0, 3, 4, 5, 5]
    different = [(i, j) for i, j in itertools.combinations(drawn, 2) if i != j]
    assert diversity.resampled(torch.tensor(drawn)) == pytest.approx(of_pairs(clips, different), rel=2e-3)
    assert math.isnan(diversity.resampled(torch.tensor([2, 2, 2])))
    many = torch.randint(0, 6, (300, 6), generator=torch.Generator().manual_seed(0))
    values = [diversity.resampled(numbers) for numbers in many]
    assert sum(values) / 300 == pytest.approx(diversity.value, rel=0.03)
    before = diversity.resampled(torch.arange(6))
    diversity.add(diversity.look(clips[:1] * 0, 6))
    assert diversity.resampled(torch.arange(7)) > before


def test_memory_is_bounded_and_the_value_is_not():
    clips = coarse(10)
    diversity = collected(clips, (4,), kept_bytes=5 * 2 * 2 * 3072 + 7)
    assert diversity.rows == 5 and diversity.value == pytest.approx(of_pairs(clips), rel=1e-6)
    assert diversity.resampled(torch.arange(5)) == pytest.approx(of_pairs(clips[:5]), rel=2e-3)
    assert diversity.points().shape == (5, 2 * 3072)
    assert collected(clips).rows == 10


def test_too_few_clips_have_no_value_and_wrong_ones_are_refused():
    assert Diversity().value is None and collected(clips_of(1)).score().value is None
    good = clips_of(2)
    for bad in (good.float(), good[0], good[..., :1], good[:, :0]):
        with pytest.raises(ValueError, match="uint8"):
            Diversity().look(bad, 0)
    diversity = collected(good)
    with pytest.raises(ValueError, match="after clips"):
        diversity.add(diversity.look(clips_of(2, frames=3), 2))


def test_frames_smaller_than_a_thumbnail():
    assert collected(clips_of(4, height=16, width=8)).value > 0.3


def test_many_clips_need_no_table_of_their_pairs():
    """30,000 clips: such a table would have 7.2 GB."""
    diversity = Diversity()
    diversity.add({"thumbnails": torch.rand(30_000, 3072, generator=torch.Generator().manual_seed(0))})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert diversity.resampled(torch.arange(30_000)) == pytest.approx(6**-0.5, rel=1e-3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.5e6  # KiB
