"""Controls keep details of all their clips, or say why they cannot."""

import json

import pytest

import evaluate
from utils.errors import UserError

DATA = ["--real", "synthetic:num_videos=20,frames=24", "--height", "16", "--width", "16", "--controls", "--metrics", "swd,kid_random"]


def test_halves_are_no_larger_than_what_is_kept(tmp_path):
    evaluate.main([*DATA, "--max_frames_kept", "44", "--clip_frames", "4", "--resamples", "0", "--output", str(tmp_path)])
    found = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert found["swd"]["protocol"]["real_clips"] == 22


def test_halves_are_no_larger_than_what_diversity_keeps(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.controls.KEPT_BYTES", 47 * 4 * 2 * 3 * 32 * 32)
    evaluate.main([*DATA[:-1], "diversity", "--clip_frames", "4", "--resamples", "0", "--output", str(tmp_path)])
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"]["diversity"]["protocol"]["real_clips"] == 23


@pytest.mark.parametrize("flag", ["--num_samples", "--max_frames_kept", "--max_features_kept"])
def test_the_flag_that_leaves_too_few_clips_is_named(tmp_path, flag):
    with pytest.raises(UserError, match=f"^{flag}: leaves"):
        evaluate.main([*DATA, flag, "10", "--output", str(tmp_path / "report")])
