"""Predictions against what came: closed forms, and the baseline beside them."""

import math

import numpy as np
import pytest
import torch

from metrics.prediction import STILL, compare_predictions
from metrics.registry import choose
from metrics.sets import Crowd


def clips(numbers: torch.Tensor) -> torch.Tensor:
    """Clip n is grey: its frame t has the level 10 n + 3 t."""
    levels = 10 * numbers.view(-1, 1) + 3 * torch.arange(4)
    return levels.view(-1, 4, 1, 1, 1).expand(-1, -1, 16, 16, 3).to(torch.uint8)


CROWD = Crowd("grey", clips, 12, np.arange(12))


def psnr(error: float) -> float:
    return 20 * math.log10(255 / error)


def test_only_predicted_frames_count_and_the_baseline_stands_still():
    predict = lambda real: (real[:, :1].int() + 2 * torch.arange(4).view(1, 4, 1, 1, 1)).to(torch.uint8)  # too slow by 1 a frame
    found = compare_predictions(choose("psnr,ssim"), CROWD, predict, 10, seed=3, batch_size=4)
    assert found.scores["psnr"].value == pytest.approx(sum(map(psnr, (1, 2, 3))) / 3)
    assert found.scores["psnr"].parts == {STILL: pytest.approx(sum(map(psnr, (3, 6, 9))) / 3)}
    assert (found.clips, found.clip_frames) == (10, 4)
    assert {side: len(frames) for side, frames in found.shown.items()} == {"real": 8, "predicted": 8}
    (result, other), notes = found.results(
        choose("psnr,ssim"), dict.fromkeys(("fake", "split", "frame_skip", "fps", "height", "width", "resize", "precision")), {})
    assert result.protocol.clip_frames == 30
    assert result.protocol.settings == {"compared": "frames 2 to 4 of each clip, predicted from its first"}
    assert other.score.value > other.score.parts[STILL] and not notes


def test_fewer_clips_and_common_frames_are_told():
    of = lambda crowd, **more: compare_predictions(choose("psnr"), crowd, lambda real: real + 1, 20, **more).remarks
    overlapping = Crowd("grey", clips, 12, np.arange(3))
    assert of(CROWD, resamples=9) == ["12 clips, not 20: there are no more"]
    (_, narrow) = of(overlapping, resamples=9)
    assert narrow.startswith("12 clips, of which only 3 without common frames") and len(of(overlapping)) == 1


def test_a_perfect_prediction_and_a_still_scene_are_told_apart():
    found = compare_predictions(choose("psnr"), CROWD, lambda real: real, 10)
    assert found.scores["psnr"].value == 100 and found.scores["psnr"].parts[STILL] == pytest.approx(sum(map(psnr, (3, 6, 9))) / 3)
    assert found.scores["psnr"].note.startswith("30 of 30 frames equal")
    still = Crowd("still", lambda numbers: clips(numbers)[:, :1].expand(-1, 4, -1, -1, -1), 12, np.arange(12))
    assert compare_predictions(choose("psnr"), still, lambda real: real + 1, 10).scores["psnr"].parts == {STILL: 100}


def test_intervals_resample_whole_clips():
    """Six of twelve clips are off by 1, the others by 10, so that single frames would say four times as much as clips."""
    predict = lambda real: (real.int() + torch.where(real[:, :1, :1, :1, :1] < 60, 1, 10)).clamp(max=255).to(torch.uint8)
    found = compare_predictions(choose("psnr"), CROWD, predict, 12, resamples=400)
    interval, clips_alone = found.intervals["psnr"], np.array([psnr(1)] * 6 + [psnr(10)] * 6)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * clips_alone.std() / 12**0.5, rel=0.2)
    assert compare_predictions(choose("psnr"), CROWD, predict, 12).intervals["psnr"] is None


def test_the_first_frame_is_all_that_may_be_seen_and_shapes_must_agree():
    with pytest.raises(ValueError, match="predictions are"):
        compare_predictions(choose("psnr"), CROWD, lambda real: real[:, :2], 10)


def test_last_frames_are_shown_of_clips_spread_over_all():
    predict = lambda real: (real[:, :1].int() + 2 * torch.arange(4).view(1, 4, 1, 1, 1)).to(torch.uint8)
    shown = compare_predictions(choose("psnr"), CROWD, predict, 12, batch_size=5).shown
    levels = {side: [int(frame[0, 0, 0]) for frame in frames] for side, frames in shown.items()}
    places = [level // 10 for level in levels["real"]]  # clip n ends at 10 n + 9, its prediction at 10 n + 6
    assert places[0] == 0 and places[-1] == 11 and places == sorted(set(places))
    assert levels == {"real": [10 * n + 9 for n in places], "predicted": [10 * n + 6 for n in places]}
