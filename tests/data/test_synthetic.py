import json

import cv2
import numpy as np
import pytest

from data.dataset import VideoDataset
from data.decode import read_frames
from data.synthetic import COLOURS, MOTIONS, SHAPES, background, distance, draw_factors, make_synthetic, positions, render
from utils.errors import UserError


def test_files_are_reproducible_and_described(tmp_path):
    for name in ("one", "two"):
        make_synthetic(tmp_path / name, num_videos=5, frames=6, height=32, width=48, seed=4)
    make_synthetic(tmp_path / "other", num_videos=5, frames=6, height=32, width=48, seed=5)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 6
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    described = json.loads((tmp_path / "one" / "factors.json").read_text())
    assert described["fps"] == 24
    assert [video["motion"] for video in described["videos"]] == ["horizontal", "vertical", "circle", "bounce", "horizontal"]
    assert described["videos"] != json.loads((tmp_path / "other" / "factors.json").read_text())["videos"]
    frames = list(read_frames(tmp_path / "one" / described["videos"][2]["file"]))
    assert len(frames) == 6 and frames[0].shape == (32, 48, 3)


def centre(frame, factors):
    """Where the pixels are that look like the shape's colour, compared with the background."""
    height, width = frame.shape[:2]
    colour, ground = np.array(COLOURS[factors["colour"]], float), background(factors, height, width)
    like = np.linalg.norm(frame - colour, axis=-1) < 0.6 * np.linalg.norm(frame - ground, axis=-1)
    rows, columns = np.nonzero(like)
    return columns.mean() + 0.5, rows.mean() + 0.5


@pytest.mark.parametrize("number", range(16))
def test_decoded_shapes_are_where_the_factors_say(tmp_path, number):
    factors = draw_factors(0, number)
    from utils.video import write_video

    write_video(tmp_path / "a.mp4", render(factors, 24, 64, 96, 24), 24, crf=12)
    told = positions(factors, np.arange(24) / 24, 64, 96)
    seen = np.array([centre(frame, factors) for frame in read_frames(tmp_path / "a.mp4")])
    assert np.abs(seen - told).max() < 2.5
    assert np.ptp(told, axis=0).max() > 10  # it does move


def test_motions_are_what_their_names_say():
    seconds = np.linspace(0, 6, 2000)
    for number in range(16):
        factors = draw_factors(3, number)
        x, y = positions(factors, seconds, 160, 320).T
        radius = factors["radius"] * 160
        assert x.min() > radius and x.max() < 320 - radius and y.min() > radius and y.max() < 160 - radius
        if factors["motion"] == "horizontal":
            assert np.ptp(y) == 0 and np.ptp(x) > 100
        if factors["motion"] == "vertical":
            assert np.ptp(x) == 0 and np.ptp(y) > 50
        if factors["motion"] == "circle":
            reach = np.hypot(x - (x.max() + x.min()) / 2, y - (y.max() + y.min()) / 2)
            assert np.ptp(reach) < 0.1
        speed = np.hypot(np.diff(x), np.diff(y)).max() / (seconds[1] - seconds[0]) / 24
        assert speed < 25  # pixels from frame to frame: nothing jumps


def test_scenes_do_not_depend_on_size():
    factors = draw_factors(1, 2)
    small, large = (next(render(factors, 1, size, size, 24)) for size in (32, 128))
    assert np.abs(cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 4


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_has_slope_one_and_the_right_sign(shape):
    y, x = np.mgrid[-1:1:400j, -1:1:400j]
    field = distance(shape, x, y, 0.4, 0.3)
    slope = np.hypot(*np.gradient(field, 2 / 399))
    assert abs(np.median(slope) - 1) < 0.02 and slope.max() < 1.15  # at a star's creases differences look steeper
    assert field[200, 200] < 0 < field[0, 0]
    assert 0.1 < (field < 0).sum() * (2 / 399) ** 2 / 0.4 ** 2 < np.pi + 0.1  # area, in radii squared


def test_the_data_argument(tmp_path):
    dataset = VideoDataset("synthetic:num_videos=16,frames=12,seed=2", 33, 64, 8, cache_dir=tmp_path, quiet=True)
    assert sorted(dataset.classes) == sorted(f"{motion}_{shape}" for motion in MOTIONS for shape in SHAPES)
    assert dataset.fps == 24 and len(dataset) == 16 * 5 and dataset[0]["video"].shape == (8, 33, 64, 3)
    folder, = (tmp_path / "synthetic").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    VideoDataset("synthetic:num_videos=16,frames=12,seed=2", 33, 64, 8, cache_dir=tmp_path, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")} == before and len(before) == 16
    for bad in ("synthetic:colour=3", "synthetic:num_videos=0", "synthetic:num_videos=many", "synthetic:seed=abc", "synthetic:seed"):
        with pytest.raises(UserError, match="is not understood"):
            VideoDataset(bad, 32, 32, 2, cache_dir=tmp_path)
