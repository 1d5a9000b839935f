"""Each damage does what it says, to each clip by its number, and leaves the clips it was given."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.controls import DAMAGES, backwards, blur, frozen, mode_drop, noise, shuffled


def films(count=5, frames=6, height=20, width=30, seed=0):
    return torch.randint(0, 256, (count, frames, height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_of_the_clip_its_number_and_the_seed_alone(name):
    damage, clips, numbers = DAMAGES[name], films(), torch.tensor([4, 9, 2, 7, 0])
    before = clips.clone()
    whole = damage(clips, numbers, 3)
    assert whole.shape == clips.shape and whole.dtype == torch.uint8 and not torch.equal(whole, clips)
    assert torch.equal(clips, before)
    parts = [damage(clip[None], number[None], 3) for clip, number in zip(clips, numbers)]
    assert torch.equal(torch.cat(parts), whole)
    whole[:] = 0
    assert torch.equal(clips, before)


def test_frozen_clips_stand_still_and_reversed_ones_run_backwards():
    clips = films()
    assert (frozen(clips, torch.arange(5)) == clips[:, :1]).all()
    assert all(torch.equal(backwards(clips, torch.arange(5))[:, frame], clips[:, 5 - frame]) for frame in range(6))


@settings(max_examples=40, deadline=None)
@given(frames=st.integers(2, 9), seed=st.integers(0, 1000), number=st.integers(0, 10**9))
def test_shuffled_clips_have_their_frames_in_another_order(frames, seed, number):
    clips = torch.arange(frames, dtype=torch.uint8).view(1, frames, 1, 1, 1).expand(1, frames, 4, 4, 3)
    order = shuffled(clips, torch.tensor([number]), seed)[0, :, 0, 0, 0].tolist()
    assert sorted(order) == list(range(frames)) != order


def test_clips_are_shuffled_each_in_its_own_way():
    clips = torch.arange(8, dtype=torch.uint8).view(1, 8, 1, 1, 1).expand(50, 8, 2, 2, 3)
    orders = lambda seed: [tuple(clip[:, 0, 0, 0].tolist()) for clip in shuffled(clips, torch.arange(50), seed)]
    assert len(set(orders(0))) > 45 and orders(0) != orders(1)
    one = torch.ones(1, 1, 2, 2, 3, dtype=torch.uint8)
    assert torch.equal(shuffled(one, torch.arange(1)), one)


@pytest.mark.parametrize("height, width, sigma", [(20, 30, 1.0), (160, 90, 1.8), (200, 300, 4.0)])
def test_blur_has_the_width_it_says(height, width, sigma):
    clips = torch.zeros(1, 1, height, width, 3, dtype=torch.uint8)
    clips[..., width // 2:, :] = 255
    edge = blur(clips, torch.arange(1))[0, 0, height // 2, :, 0].double()
    steps = edge.diff() / 255  # an edge becomes the blur's integral, and this its profile
    places = torch.arange(len(steps)).double() - (width // 2 - 1)
    assert steps.sum() == pytest.approx(1) and (steps * places).sum() == pytest.approx(0, abs=0.05)
    assert math.sqrt((steps * places**2).sum()) == pytest.approx(sigma, rel=0.08)


def test_noise_has_the_strength_it_says_and_differs_from_frame_to_frame():
    clips = torch.full((4, 3, 40, 40, 3), 128, dtype=torch.uint8)
    added = noise(clips, torch.arange(4)).double() - 128
    assert added.std().item() == pytest.approx(10, rel=0.02) and abs(added.mean().item()) < 0.2
    flat = added.flatten(0, 1).flatten(1)
    assert torch.corrcoef(flat).triu(1).abs().max() < 0.1
    assert not torch.equal(noise(clips, torch.arange(4), 1).double() - 128, added)
    ends = noise(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2, 1).expand(1, 1, 50, 2, 3), torch.arange(1))
    assert ends[0, 0, :, 0].max() < 60 and ends[0, 0, :, 1].min() > 195  # clamped, not wrapped around


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 60), keep=st.sampled_from([0.1, 0.25, 0.5, 0.9, 1.0]), seed=st.integers(0, 1000))
def test_dropping_modes_keeps_a_share_that_lies_together(count, keep, seed):
    places = torch.randn(count, 1, generator=torch.Generator().manual_seed(seed))
    shown = mode_drop(places, seed, keep)
    kept = shown.unique()
    assert len(shown) == count and len(kept) == max(1, round(keep * count))
    assert torch.equal(shown[kept], kept)
    # On a line the nearest ones are neighbours.
    ranks = places[:, 0].argsort().argsort()[kept].sort().values
    assert torch.equal(ranks, torch.arange(len(kept)) + ranks[0])
    times = torch.bincount(shown)[kept]
    assert times.max() - times.min() <= 1
    assert torch.equal(shown, mode_drop(places, seed, keep))


def test_a_whole_mode_is_lost():
    thumbnails = torch.cat([torch.zeros(10, 5), torch.ones(10, 5)]) + 0.1 * torch.rand(20, 5, generator=torch.Generator().manual_seed(0))
    found = [set((mode_drop(thumbnails, seed) < 10).tolist()) for seed in range(20)]
    assert {True} in found and {False} in found and {True, False} not in found


def test_wrong_demands_are_refused():
    with pytest.raises(ValueError, match="5 clips have 2 numbers"):
        noise(films(), torch.arange(2))
    for thumbnails, keep in ((torch.zeros(4), 0.5), (torch.zeros(0, 3), 0.5), (torch.zeros(4, 3), 0)):
        with pytest.raises(ValueError, match="thumbnails"):
            mode_drop(thumbnails, 0, keep)


def test_blur_is_opencv_s_on_every_frame():
    clips = films(2, 2, 60, 80)
    expected = cv2.GaussianBlur(clips[1, 1].numpy(), (0, 0), 1.2, borderType=cv2.BORDER_REFLECT)
    assert np.array_equal(blur(clips, torch.arange(2))[1, 1].numpy(), expected)
