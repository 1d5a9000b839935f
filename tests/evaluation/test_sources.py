"""Clips on disk: complaints of what reads them name the flags of evaluate.py, not those of train.py; how long clips are, and which."""

import cv2
import numpy as np
import pytest

import evaluate
from evaluation.config import EvaluateConfig
from evaluation.folders import clip_settings
from evaluation.models import measure_model
from evaluation.sources import frames_of
from metrics.networks.network import load_network
from metrics.registry import choose
from tests.evaluation.test_models import Painter
from utils.errors import UserError
from utils.video import write_video


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8)


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


@pytest.mark.parametrize("metrics, expected", [("fvd_random", 16), ("kvd_random,swd_motion", 16), ("fid_random", 1), ("swd_motion", 2)])
def test_networks_of_clips_see_sixteen_frames_unless_told_otherwise(metrics, expected):
    chosen = choose(metrics)
    networks = {metric.needs: load_network("random", {}, looks_at=metric.looks_at) for metric in chosen.values() if metric.needs}
    config = EvaluateConfig(real="a", fake="b", height=32, width=32)
    assert clip_settings(config, chosen, networks)["frames"] == expected


def test_a_network_of_clips_is_shown_no_single_frames(tmp_path):
    for side in ("real", "fake"):
        write_video(tmp_path / side / "film.mp4", noise(8), 24)
    with pytest.raises(UserError, match="fvd_random: needs clips of 2 frames or more"):
        evaluate.main(["--real", f"{tmp_path}/real", "--fake", f"{tmp_path}/fake", "--metrics", "fvd_random", "--clip_frames", "1",
                       "--cache_dir", f"{tmp_path}/cache", "--output", f"{tmp_path}/report"])


def test_of_generated_clips_no_lists_are_asked_for(tmp_path):
    for name, part in (("v_Golf_g01_c01", "train"), ("v_Golf_g02_c01", "test")):
        write_video(tmp_path / "real" / "Golf" / f"{name}.avi", noise(8), 24)
        (tmp_path / "real" / f"{part}list01.txt").write_text(f"Golf/{name}.avi{' 1' * (part == 'train')}\n")
    (tmp_path / "real" / "classInd.txt").write_text("1 Golf\n")
    for number in range(2):
        write_video(tmp_path / "fake" / f"{number}.mp4", noise(8, number), 24)
    evaluate.main(["--real", f"{tmp_path}/real", "--fake", f"{tmp_path}/fake", "--split", "test", "--metrics", "swd", "--floor", "false",
                   "--resamples", "0", "--cache_dir", f"{tmp_path}/cache", "--output", f"{tmp_path}/report"])
    assert '"split": "test"' in (tmp_path / "report" / "metrics.json").read_text()


def test_a_stack_is_a_film_in_pairs_too(tmp_path):
    frames = noise(4)
    cv2.imwrite(str(tmp_path / "stack.jpg"), np.concatenate(list(frames))[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert [frame.shape for frame in frames_of(tmp_path / "stack.jpg", 1, None)] == [(16, 16, 3)] * 4
    cv2.imwrite(str(tmp_path / "picture.jpg"), frames[0])
    assert len(list(frames_of(tmp_path / "picture.jpg", 1, None))) == 1


def test_a_report_among_the_videos_of_a_model_is_refused(tmp_path, monkeypatch):
    model = Painter()
    model.config = type("Config", (), {"data": str(tmp_path)})
    monkeypatch.setattr("evaluation.models.load_sampler", lambda *_: model)
    config = EvaluateConfig(checkpoint="painter", output=f"{tmp_path}/report").check()
    with pytest.raises(UserError, match=f"--output {tmp_path}/report: lies in the videos of the model, {tmp_path}"):
        measure_model(config, {}, choose("swd"), {})


def test_pairs_are_not_measured_in_vain(tmp_path, monkeypatch):
    for side in ("real", "fake"):
        write_video(tmp_path / side / "film.mp4", noise(8), 24)
    monkeypatch.setattr(evaluate, "measure_pairs", lambda *_: pytest.fail("before what is refused"))
    with pytest.raises(UserError, match="--clip_frames 9"):
        evaluate.main(["--real", f"{tmp_path}/real", "--fake", f"{tmp_path}/fake", "--metrics", "psnr,swd", "--clip_frames", "9",
                       "--cache_dir", f"{tmp_path}/cache", "--output", f"{tmp_path}/report"])
