"""What the benchmarks compute from what they measured."""

import pytest
import torch

from benchmarks.future import measure
from benchmarks.pixel_mse import variety
from benchmarks.recipes import summarise
from benchmarks.streams import scene


def curve(*values: float) -> dict:
    points = [{"step": step, "seconds": 10.0 * step, "swd": value, "floor": 20.0} for step, value in enumerate(values, 1)]
    return {"seed": 0, "points": points}


def test_recipes_are_compared_by_their_bests_above_the_floor():
    found = summarise({"recommended": [curve(90, 60, 40, 44)], "published": [curve(80, 100, 70, 84)]}, budget=20)
    assert {name: values["median"] for name, values in found.items()} == pytest.approx({
        "recommended": 40, "published": 70, "recommended_end_over_best": 1.1, "published_end_over_best": 1.2,
        "times_closer": 50 / 20, "times_closer_within_budget": 60 / 40})


def test_a_scene_is_its_median_and_where_something_moves():
    frames = torch.full((200, 8, 8, 3), 100, dtype=torch.uint8)
    frames[:3, 2, 2] = 200  # in more than a hundredth of the frames
    frames[5, 6, 6] = 200  # in fewer
    frames[:, 4, 4] += torch.randint(0, 20, (200, 1)).byte()  # noise
    median, mean, moves = scene(frames)
    assert (median[2, 2] == 100).all() and mean[2, 2, 0] == 102
    assert moves.nonzero().tolist() == [[2, 2]]


def test_variety_is_within_classes():
    clips = torch.zeros(8, 2, 4, 4, 3, dtype=torch.uint8)
    clips[4:] = 200
    labels = torch.arange(8) // 4
    assert variety(clips, labels) == 0
    clips[::2] += 10
    assert variety(clips, labels) == pytest.approx(10 / 3**0.5)  # of 0, 10, 0, 10 with Bessel's correction


def test_standing_still_has_no_motion_and_the_truth_no_error():
    torch.manual_seed(0)
    real = torch.randint(0, 255, (6, 4, 24, 24, 3), dtype=torch.uint8)
    truth, still = measure(real, real, real), measure(real[:, :1].expand_as(real), real, real)
    assert truth["psnr"] == float("inf") and truth["swd_motion"] == 0
    assert still["psnr"] < 12 and still["swd_motion"] > 100
