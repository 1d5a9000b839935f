"""Crowds of very few clips: a line that says so, and never a traceback."""

import json

import numpy as np
import pytest

import evaluate
from utils.errors import UserError
from utils.video import write_video


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Eight single-clip films of noise, and one."""
    root = tmp_path_factory.mktemp("films")
    noise = np.random.default_rng(0).integers(0, 255, (8, 2, 16, 16, 3), dtype=np.uint8)
    for number, clip in enumerate(noise):
        write_video(root / "eight" / f"{number}.mp4", clip, 24)
    write_video(root / "one" / "0.mp4", noise[0], 24)
    return root


def measured(films, tmp_path, *flags, folder="eight"):
    evaluate.main(["--real", f"{films}/{folder}", "--fake", f"{films}/{folder}", "--clip_frames", "2", "--resamples", "4",
                   "--output", str(tmp_path / "report"), "--cache_dir", str(films / "cache"), *flags])
    return json.loads((tmp_path / "report" / "metrics.json").read_text())


@pytest.mark.parametrize("name, fewest", [("fid_random", 2), ("kid_random", 2), ("precision_random", 4), ("recall_random", 4),
                                          ("density_random", 6), ("coverage_random", 6), ("fvd_random", 2), ("kvd_random", 2),
                                          ("diversity", 2)])
def test_too_few_clips_are_refused_and_enough_are_measured(films, tmp_path, name, fewest):
    with pytest.raises(UserError, match=f"--metrics {name}: needs {fewest} clips.*--num_samples {fewest - 1} "):
        measured(films, tmp_path, "--metrics", name, "--num_samples", str(fewest - 1))
    assert not (tmp_path / "report").exists()
    found = measured(films, tmp_path, "--metrics", name, "--num_samples", str(fewest))["metrics"][name]
    assert found["score"]["value"] is not None


def test_one_clip_is_named_and_so_is_a_limit_of_kept_features(films, tmp_path):
    with pytest.raises(UserError, match="videos give 1"):
        measured(films, tmp_path, "--metrics", "fid_random", folder="one")
    with pytest.raises(UserError, match="--max_features_kept keeps 1"):
        measured(films, tmp_path, "--metrics", "kid_random", "--max_features_kept", "1")


def test_a_floor_that_would_have_too_few_clips_is_left_out_with_a_remark(films, tmp_path):
    written = measured(films, tmp_path, "--metrics", "swd,density_random")
    assert written["metrics"]["swd"]["floor"] and written["metrics"]["density_random"]["floor"] is None
    assert "density_random: too few real clips to compare reals with reals" in written["notes"]
