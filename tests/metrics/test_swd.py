"""Sliced Wasserstein distance: closed forms, an independent implementation, and what it must and must not see."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.collect import Draw
from metrics.swd import MotionPatches, Patches, _up, laplacian_pyramid, resampler, sliced_wasserstein, swd


def textured(count, height, width, seed, frames=1):
    """Clips of coloured noise at several scales, uint8 (count, frames, height, width, 3)."""
    generator = np.random.default_rng(seed)
    total = np.zeros((count, frames, height, width, 3), np.float32)
    for sigma, strength in ((0, 20), (2, 60), (8, 200)):
        noise = generator.normal(size=total.shape).astype(np.float32)
        total += strength * scipy.ndimage.gaussian_filter(noise, (0, 0, sigma, sigma, 0))
    return torch.from_numpy(np.clip(128 + total, 0, 255).astype(np.uint8))


def collected(clips, seed=0, kind=Patches, **settings):
    collector = kind(Draw(seed, clips=len(clips), **settings))
    collector.update(clips)
    return collector


def blurred(clips, sigma):
    return torch.from_numpy(scipy.ndimage.gaussian_filter(clips.numpy(), (0, 0, sigma, sigma, 0)))


# ---- the pyramid

@settings(max_examples=40, deadline=None)
@given(height=st.integers(7, 90), width=st.integers(7, 90), seed=st.integers(0, 1000))
def test_pyramid_reconstructs_the_image(height, width, seed):
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 255
    levels = laplacian_pyramid(image)
    whole = levels[-1]
    for level in reversed(levels[:-1]):
        whole = level + _up(whole, level.shape[-2:])
    assert torch.allclose(whole, image, atol=1e-3)
    short = [min(level.shape[-2:]) for level in levels]
    assert short[0] == min(height, width) and all(16 <= small == (large + 1) // 2 for large, small in zip(short, short[1:]))
    assert (short[-1] + 1) // 2 < 16


@pytest.mark.parametrize("size, expected", [((160, 320), [(160, 320), (80, 160), (40, 80), (20, 40)]), ((30, 50), [(30, 50)]),
                                            ((64, 64), [(64, 64), (32, 32), (16, 16)]), ((31, 62), [(31, 62), (16, 31)]),
                                            ((9, 40), [(9, 40)])])
def test_levels_halve_while_the_short_side_is_at_least_16(size, expected):
    assert [tuple(level.shape[-2:]) for level in laplacian_pyramid(torch.zeros(1, 3, *size))] == expected


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (64, 35)])
def test_pyramid_steps_are_opencv_s(size):
    image = np.random.default_rng(0).normal(size=(*size, 3)).astype(np.float32)
    fine, coarse = laplacian_pyramid(torch.from_numpy(image).permute(2, 0, 1)[None])[:2]
    down = cv2.pyrDown(image)
    assert np.allclose(laplacian_pyramid(torch.from_numpy(image).permute(2, 0, 1)[None])[-1].shape[-2:], down.shape[:2])
    assert np.allclose(coarse[0].permute(1, 2, 0), down, atol=1e-5)
    # cv2.pyrUp repeats the last even row instead of mirroring, so only the inside is comparable.
    assert np.allclose(fine[0].permute(1, 2, 0)[:-4, :-4], (image - cv2.pyrUp(down, dstsize=size[::-1]))[:-4, :-4], atol=1e-5)


# ---- the distance

def test_shifted_points_have_the_closed_form_distance():
    """Shifting by s moves every projection by <s, theta>; E|<s, theta>| = |s| Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)),
    theta uniform on the sphere."""
    from scipy.special import gammaln
    points = torch.randn(500, 20, generator=torch.Generator().manual_seed(0))
    shift = torch.randn(20, generator=torch.Generator().manual_seed(1))
    expected = shift.norm().item() * np.exp(gammaln(10) - gammaln(10.5)) / np.sqrt(np.pi)
    assert sliced_wasserstein(points, points + shift, repeats=64) == pytest.approx(expected, rel=0.02)
    assert sliced_wasserstein(points, points + 2 * shift) == pytest.approx(2 * sliced_wasserstein(points, points + shift), rel=1e-5)


def test_distance_of_sets_in_one_dimension_is_that_of_their_sorted_values():
    a, b = torch.tensor([[3.0], [1.0], [2.0]]), torch.tensor([[2.0], [2.0], [7.0]])
    assert sliced_wasserstein(a, b) == pytest.approx((1 + 0 + 4) / 3)


def test_order_of_points_does_not_matter_and_the_distance_is_symmetric():
    a, b = (torch.randn(300, 9, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert sliced_wasserstein(a, a.flip(0)) == pytest.approx(0, abs=1e-7)
    assert sliced_wasserstein(a, b) == sliced_wasserstein(b, a) > 0.01
    with pytest.raises(ValueError, match="300, 9"):
        sliced_wasserstein(a, b[:-1])


def reference_swd(real, fake, generator, patches=128, directions=512):
    """Straight from the paper's section 5, in plain NumPy and SciPy, one frame, patch and direction at a time."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def pyramid(frame):
        levels = [frame.astype(np.float64)]
        while min(levels[-1].shape[0], levels[-1].shape[1]) // 2 >= 16:
            down = scipy.ndimage.convolve(levels[-1], kernel[..., None], mode="mirror")[::2, ::2]
            holes = np.zeros_like(levels[-1])
            holes[::2, ::2] = down
            levels[-1] = levels[-1] - scipy.ndimage.convolve(holes, 4 * kernel[..., None], mode="mirror")
            levels.append(down)
        return levels

    def descriptors(clips, level):
        found = []
        for clip in clips.numpy():
            picture = pyramid(clip[0])[level]
            for _ in range(patches):
                y, x = generator.integers(picture.shape[0] - 6), generator.integers(picture.shape[1] - 6)
                found.append(picture[y:y + 7, x:x + 7])
        found = np.stack(found)
        return ((found - found.mean(axis=(0, 1, 2))) / found.std(axis=(0, 1, 2))).reshape(len(found), -1)

    values = []
    for level in range(len(pyramid(real[0, 0].numpy()))):
        a, b = descriptors(real, level), descriptors(fake, level)
        distances = []
        for _ in range(directions):
            theta = generator.normal(size=a.shape[1])
            theta /= np.sqrt((theta**2).sum())
            distances.append(np.abs(np.sort(a @ theta) - np.sort(b @ theta)).mean())
        values.append(1000 * np.mean(distances))
    return values


def test_agrees_with_an_independent_implementation():
    """Other patches and other directions, so the values agree up to sampling, whose size the floor of the same sets
    shows."""
    real = textured(48, 64, 64, 1)
    fake = blurred(textured(48, 64, 64, 2), 1.0)
    ours = swd(collected(real), collected(fake))
    theirs = reference_swd(real, fake, np.random.default_rng(0))
    assert list(ours.parts) == ["64x64", "32x32", "16x16"]
    assert list(ours.parts.values()) == pytest.approx(theirs, rel=0.12)
    assert ours.value == pytest.approx(np.mean(theirs), rel=0.05)
    assert ours.value == pytest.approx(np.mean(list(ours.parts.values())))


# ---- what it sees

def test_a_set_against_itself_is_exactly_zero_and_against_its_like_small():
    a, b = textured(128, 32, 48, 1), textured(128, 32, 48, 2)
    assert swd(collected(a), collected(a.clone())).value == 0
    like, unlike = swd(collected(a), collected(b)).value, swd(collected(a), collected(blurred(b, 2))).value
    assert 0 < like < unlike / 3


def test_symmetric():
    a, b = collected(textured(16, 32, 32, 1)), collected(blurred(textured(16, 32, 32, 2), 1))
    assert swd(a, b).value == pytest.approx(swd(b, a).value, rel=1e-6)


def test_blur_is_seen_at_the_finest_level_most():
    real = textured(32, 64, 64, 1)
    fine, middle, coarse = swd(collected(real), collected(blurred(real, 0.8))).parts.values()
    assert fine > 2 * middle > 2 * coarse


def test_colour_shift_is_seen_at_the_coarsest_level_and_only_when_normalised_by_the_real_side():
    real = textured(32, 64, 64, 1).clamp(40, 215)
    warm = real + torch.tensor([25, 0, -25]).to(torch.uint8)  # wraps around as subtraction does
    published = swd(collected(real), collected(warm))
    assert published.value < 1e-2
    *finer, coarse = swd(collected(real), collected(warm), normalise="real").parts.values()
    assert coarse > 50 and max(finer) < 1


def test_contrast_loss_is_seen_at_every_level_when_normalised_by_the_real_side():
    real = textured(32, 64, 64, 1)
    flat = (real.float() * 0.5 + 64).round().to(torch.uint8)
    assert min(swd(collected(real), collected(flat), normalise="real").parts.values()) > 100


def test_flat_frames_give_a_finite_distance():
    flat = torch.full((4, 1, 32, 32, 3), 7, dtype=torch.uint8)
    assert swd(collected(flat), collected(flat)).value == 0
    assert 0 < swd(collected(textured(4, 32, 32, 0)), collected(flat)).value < 1e4


def test_motion_sees_frozen_and_hurried_clips_which_frames_do_not_show():
    wide = textured(24, 32, 80, 3).numpy()

    def panned(speed, first=0):
        return torch.from_numpy(np.stack([np.concatenate([clip[:, :, first + speed * t:first + speed * t + 32] for t in range(4)])
                                          for clip in wide]))

    still, slow, fast = panned(0), panned(1), panned(6)
    motion = lambda a, b: swd(collected(a, kind=MotionPatches), collected(b, kind=MotionPatches), normalise="real").value
    frames = lambda a, b: swd(collected(a), collected(b)).value
    assert motion(slow, panned(1, 8)) < motion(slow, fast) / 3 and motion(slow, panned(1, 8)) < motion(slow, still) / 3
    assert frames(slow, still) < motion(slow, still) / 3


# ---- collecting

def test_determined_by_the_seed_alone_and_not_by_batches():
    clips, other = textured(20, 24, 40, 1, frames=5), textured(20, 24, 40, 2, frames=5)
    whole = collected(clips, seed=3, frames_per_clip=2)
    parts = Patches(Draw(3, frames_per_clip=2))
    for part in clips.split(7):
        parts.update(part)
    assert torch.equal(whole.points("24x40"), parts.points("24x40")) and whole.rows == whole.clips == 20
    value = swd(whole, collected(other, seed=3, frames_per_clip=2)).value
    assert swd(parts, collected(other, seed=3, frames_per_clip=2)).value == value
    assert swd(collected(clips, seed=4, frames_per_clip=2), collected(other, seed=4, frames_per_clip=2)).value != value


def test_at_most_as_many_frames_per_clip_as_asked_each_once():
    clips = torch.arange(6, dtype=torch.uint8).view(1, 6, 1, 1, 1).expand(30, 6, 16, 16, 3).contiguous()
    drawn = collected(clips, frames_per_clip=3).points("16x16")[::128, 0, 0].view(30, 3)
    assert all(len(set(row)) == 3 for row in drawn.tolist()) and set(drawn.flatten().tolist()) == set(range(6))
    assert len(collected(clips, frames_per_clip=99).points("16x16")) == 30 * 6 * 128


def test_memory_is_bounded_by_a_uniform_choice_of_clips():
    clips = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1, 1).expand(200, 1, 16, 16, 3)
    kept = []
    for seed in range(20):
        full = collected(clips, seed=seed, most=10)
        values = full.points("16x16")[:, 0, 0].view(10, 128)
        assert full.rows == 10 and full.clips == 200 and (values == values[:, :1]).all() and len(set(values[:, 0].tolist())) == 10
        kept += values[:, 0].tolist()
    assert abs(np.mean(kept) - 99.5) < 15  # standard error 4
    score = swd(full, full)
    assert "10 of 200" in score.note


@pytest.mark.parametrize("normalise", ["each", "real"])
def test_chosen_clips_have_the_distance_of_a_set_of_them(normalise):
    real, fake = collected(textured(60, 32, 32, 1)), collected(blurred(textured(60, 32, 32, 2), 1))
    at, everything = resampler(real, fake, normalise), torch.arange(60)
    assert at(everything, everything) == pytest.approx(swd(real, fake, normalise).value, rel=0.25)  # fewer patches, other directions
    rows = torch.arange(60) // 2
    assert at(rows, rows) == pytest.approx(swd(real.select(rows), fake.select(rows), normalise).value, rel=0.25)


def test_wrong_clips_are_refused():
    good = textured(2, 16, 16, 0)
    for bad in (good[0], good.float(), good[..., :1], good[:, :0]):
        with pytest.raises(ValueError, match="uint8"):
            Patches().update(bad)
    with pytest.raises(ValueError, match="T >= 2"):
        MotionPatches().update(good)
    with pytest.raises(ValueError, match="7x7"):
        Patches().update(torch.zeros(1, 1, 6, 20, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="must agree"):
        swd(collected(good), collected(good[:1]))
    with pytest.raises(ValueError, match="must agree"):
        swd(Patches(), Patches())
