"""Temporal warping error where the answer is known: with given flow, and with flow that DIS has to find."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.warping import SMALLEST, WarpingErrors, estimated_flow, temporal, warping_error


def texture(height, width, seed, smooth=2.0):
    """Random colours between 0.1 and 0.8, float64 (height, width, 3)."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    noise = scipy.ndimage.gaussian_filter(noise, (smooth, smooth, 0))
    return torch.from_numpy(0.1 + 0.7 * (noise - noise.min()) / (noise.max() - noise.min()))


def panned(right, down, frames=4, size=(96, 128), seed=0):
    """A texture that moves by so many pixels per frame, any fraction of them: uint8 (frames, *size, 3)."""
    wide = texture(size[0] + 80, size[1] + 80, seed, 4.0).numpy()
    moved = [scipy.ndimage.shift(wide, (down * t, right * t, 0), order=3)[40:-40, 40:-40] for t in range(frames)]
    return torch.from_numpy((np.stack(moved) * 255).round().clip(0, 255).astype(np.uint8))


def constant(x, y, pairs, height, width):
    return torch.tensor([x, y], dtype=torch.float64).expand(pairs, height, width, 2)


# ---- with given flow

@settings(max_examples=40, deadline=None)
@given(x=st.integers(-6, 6), y=st.integers(-6, 6), step=st.floats(0.01, 0.15), height=st.integers(14, 40), width=st.integers(14, 40))
def test_error_of_a_translation_is_the_square_of_its_brightness_step(x, y, step, height, width):
    wide = texture(height + 20, width + 20, 0)
    frames = torch.stack([wide[10 - t * y:10 - t * y + height, 10 - t * x:10 - t * x + width] + t % 2 * step for t in (0, 1)])
    error = warping_error(frames, constant(x, y, 1, height, width), constant(-x, -y, 1, height, width))
    assert error.tolist() == pytest.approx([step**2], rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(x=st.floats(-6, 6), y=st.floats(-6, 6), step=st.floats(0.01, 0.15))
def test_fractions_of_a_pixel_are_exact_on_a_ramp(x, y, step):
    """Bilinear interpolation is exact there."""
    rows, columns = torch.arange(24.0, dtype=torch.float64)[:, None, None], torch.arange(30.0, dtype=torch.float64)[None, :, None]
    ramp = lambda t: 0.4 + 0.01 * (columns - t * x) * torch.tensor([1, -1, 0.5]) + 0.008 * (rows - t * y) + t * step
    error = warping_error(torch.stack([ramp(0), ramp(1)]), constant(x, y, 1, 24, 30), constant(-x, -y, 1, 24, 30))
    assert error.tolist() == pytest.approx([step**2], rel=1e-6)


@pytest.mark.parametrize("step_of_square, step_of_ground", [(0.1, 0.1), (0.1, 0.02), (0.0, 0.05)])
def test_what_an_occluder_covers_and_its_boundary_are_left_out(step_of_square, step_of_ground):
    """A square of 20 pixels goes 3 to the right and 2 down over a ground that stands still; both brighten."""
    side, x, y, top, left = 20, 3, 2, 12, 15
    ground, square = texture(64, 72, 1), 1 - texture(side, side, 2)
    frames = torch.stack([ground, ground + step_of_ground])
    flows = torch.zeros(2, 64, 72, 2)
    for t in (0, 1):
        place = (slice(top + t * y, top + t * y + side), slice(left + t * x, left + t * x + side))
        frames[t][place] = square + t * step_of_square
        flows[t][place] = torch.tensor([[x, y], [-x, -y]][t], dtype=torch.float32)
    of_square = (side - 1) ** 2  # its last row and column are the boundary's
    covered, boundary = side**2 - (side - x) * (side - y), 2 * side
    of_ground = 64 * 72 - side**2 - covered - boundary
    expected = (of_square * step_of_square**2 + of_ground * step_of_ground**2) / (of_square + of_ground)
    assert warping_error(frames, flows[:1], flows[1:]).tolist() == pytest.approx([expected], rel=1e-9)


def test_what_leaves_the_frame_is_left_out_and_a_pair_of_nothing_else_is_nan():
    frames = torch.cat([texture(20, 30, 3)[None], torch.zeros(1, 20, 30, 3), torch.ones(1, 20, 30, 3)])
    gone = constant(30, 0, 2, 20, 30)
    assert warping_error(frames, gone, -gone).isnan().all()
    kept = constant(29, 0, 2, 20, 30)  # the first column arrives in the last, which is black, then white
    expected = [frames[0, :, 0].square().mean().item(), 1.0]
    assert warping_error(frames, kept, -kept).tolist() == pytest.approx(expected)
    assert warping_error(frames, kept, kept).isnan().all()  # forth and back disagree


def test_disagreement_begins_where_the_paper_says():
    """|f + b|^2 against 0.01 (|f|^2 + |b|^2) + 0.5, f = (5, 0) and b = (e - 5, 0): equal at e = 0.956"""
    border = max(np.roots([0.99, 0.1, -1.0]))
    frames = torch.zeros(2, 20, 30, 3)
    for error, seen in ((border - 1e-3, True), (border + 1e-3, False)):
        value = warping_error(frames, constant(5, 0, 1, 20, 30), constant(error - 5, 0, 1, 20, 30))
        assert bool(value.isnan()) != seen


@pytest.mark.parametrize("speed", [0, 3])
def test_boundaries_of_motion_begin_where_the_paper_says(speed):
    """|grad f|^2 against 0.01 |f|^2 + 0.002; only the first column has an error, and beside it the flow is another."""
    border = math.sqrt(0.01 * speed**2 + 0.002)
    frames = torch.zeros(2, 6, 6, 3)
    frames[0, :, 0] = 1
    for step, seen in ((border - 1e-3, True), (border + 1e-3, False)):
        flow = constant(speed, 0, 1, 6, 6).clone()
        flow[0, :, 1:, 1] += step
        assert (warping_error(frames, flow, -flow).item() > 0.1) == seen


def test_wrong_shapes_are_refused():
    frames, flow = torch.zeros(3, 16, 20, 3), torch.zeros(2, 16, 20, 2)
    for bad in ((frames[:2], flow, flow), (frames, flow[:1], flow), (frames, flow, flow.mT), (frames.byte(), flow, flow),
                (frames[..., :1], flow, flow)):
        with pytest.raises(ValueError, match="must be"):
            warping_error(*bad)


# ---- with estimated flow

@pytest.mark.parametrize("right, down", [(2, 0), (1.5, -0.75), (-4, 3), (0.25, 0.25)])
def test_estimated_flow_of_a_translation(right, down):
    clip = panned(right, down)
    found = temporal(clip[None])
    assert found["motion"].item() == pytest.approx(math.hypot(right, down), rel=0.05)
    assert found["warping_error"].item() < 2e-5 < found["change"].item() / 255 / 100  # levels are 1/255: rounding alone is 3e-6
    forward, backward = estimated_flow(clip.numpy())
    assert forward.shape == backward.shape == (3, 96, 128, 2)
    assert forward[:, 20:-20, 20:-20].mean(dim=(0, 1, 2)).tolist() == pytest.approx([right, down], abs=0.03)
    assert backward[:, 20:-20, 20:-20].mean(dim=(0, 1, 2)).tolist() == pytest.approx([-right, -down], abs=0.03)


def test_static_clips_have_no_error_and_no_motion_and_flicker_has():
    still = panned(0, 0)[None]
    found = temporal(still)
    assert found["warping_error"].item() == pytest.approx(0, abs=1e-12) and found["motion"].item() == found["change"].item() == 0
    flicker = still.clone()
    flicker[:, 1::2] += 10
    found = temporal(flicker)
    assert found["warping_error"].item() == pytest.approx((10 / 255) ** 2, rel=0.05) and found["change"].item() == 10
    once = still.clone()
    once[:, 3] += 10
    assert temporal(once)["warping_error"].item() == pytest.approx((10 / 255) ** 2 / 3, rel=0.05)


def test_flow_is_that_of_the_reference_where_there_is_one():
    moving = torch.stack([panned(2, 1), panned(-3, 0, seed=1)])
    still = moving[:, :1].expand_as(moving)
    guided = temporal(still, moving)
    assert torch.equal(guided["motion"], temporal(moving)["motion"]) and guided["change"].tolist() == [0, 0]
    assert (guided["warping_error"] > 100 * temporal(still)["warping_error"]).all() and (guided["warping_error"] > 1e-4).all()


def test_smallest_frames_and_wrong_clips():
    small = torch.zeros(1, 2, SMALLEST, SMALLEST, 3, dtype=torch.uint8)
    assert temporal(small)["warping_error"].tolist() == [0]
    for bad in (small[:, :, 1:], small[:, :, :, 1:].expand(1, 2, SMALLEST, SMALLEST - 1, 3)):
        with pytest.raises(ValueError, match=f"{SMALLEST}x{SMALLEST}"):
            temporal(bad)
    for bad, reference in ((small[:, :1], None), (small.float(), None), (small[0], None), (small[..., :1], None),
                           (small, small[:0]), (small, small.float())):
        with pytest.raises(ValueError, match="uint8"):
            temporal(bad, reference)


# ---- collecting

def test_collected_in_any_batches():
    clips = torch.stack([panned(0.5 * number, 0, 3, (32, 40), seed=number) for number in range(5)])
    whole, parts = WarpingErrors(), WarpingErrors()
    whole.add(whole.look(clips, 0))
    for first in (0, 2, 4):
        parts.add(parts.look(clips[first:first + 2], first))
    assert whole.per_clip.shape == (5,) and whole.per_clip.dtype == torch.float64
    assert torch.equal(whole.per_clip, parts.per_clip)
    score = parts.score()
    assert score.value == whole.per_clip.mean().item() and score.note == ""
    assert list(score.parts.values()) == [whole.values("motion").mean().item(), whole.values("change").mean().item()]


def test_clips_that_are_occluded_everywhere_are_left_out_and_counted():
    errors = WarpingErrors()
    ones = torch.ones(2, dtype=torch.float64)
    errors.add({"warping_error": torch.tensor([math.nan, 0.5], dtype=torch.float64), "motion": ones, "change": 3 * ones})
    score = errors.score()
    assert score.value == 0.5 and list(score.parts.values()) == [1, 3] and "1 of 2 clips" in score.note
    assert errors.per_clip.tolist() == [0.5]
    nothing = WarpingErrors()
    nothing.add({"warping_error": math.nan * ones, "motion": ones, "change": ones})
    assert nothing.score().value is None


def test_a_resample_is_the_mean_error_of_the_clips_drawn():
    errors, ones = WarpingErrors(), torch.ones(3, dtype=torch.float64)
    errors.add({"warping_error": torch.tensor([math.nan, 0.5, 0.1], dtype=torch.float64), "motion": ones, "change": ones})
    assert errors.resampled(torch.tensor([1, 1, 2, 0])) == pytest.approx(1.1 / 3) and math.isnan(errors.resampled(torch.tensor([0, 0])))
