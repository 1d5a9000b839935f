"""Clips on disk: complaints of what reads them name the flags of evaluate.py, not those of train.py."""

import numpy as np
import pytest

import evaluate
from utils.errors import UserError
from utils.video import write_video


@pytest.mark.parametrize("flags, message", [
    (["--clip_frames", "9"], "--real .*film.mp4: a clip of --clip_frames 9 .*fewer --clip_frames"),
    (["--clip_frames", "5"], "--fake .*short.mp4: a clip of --clip_frames 5 "),
    (["--real", "{root}/picture.png"], "--real .*picture.png: a single picture"),
    (["--real", "synthetic:num_videos=2"], "give --height and --width"),
])
def test_the_flag_to_change_is_named(tmp_path, flags, message):
    write_video(tmp_path / "film.mp4", np.zeros((8, 16, 16, 3), np.uint8), 24)
    write_video(tmp_path / "short.mp4", np.zeros((4, 16, 16, 3), np.uint8), 24)
    (tmp_path / "picture.png").write_bytes(b"")
    words = ["--real", "{root}/film.mp4", "--fake", "{root}/short.mp4", "--cache_dir", "{root}/cache", "--output", "{root}/report", *flags]
    with pytest.raises(UserError, match=message):
        evaluate.main([word.replace("{root}", str(tmp_path)) for word in words])
