"""Films whose pixels are not square: what was round is round again, however the film is read."""

import shutil
import subprocess
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from data.dataset import VideoDataset
from data.decode import read_frames
from data.layouts import find_sources
from data.pixel_aspect import pixel_aspect, shown_size
from data.pool import WorkerPool
from data.scan import scan
from data.thin import thin_stream
from tests.data.films import rotate_tag, write_film

OPTIONS = {"crf": "4", "bf": "3"}


def squeezed(count: int, height: int, width: int, aspect: float) -> list[np.ndarray]:
    """A disc that looks round where pixels are ``aspect`` times as wide as high."""
    frames = [np.full((height, width, 3), 40, np.uint8) for _ in range(count)]
    for index, frame in enumerate(frames):
        cv2.ellipse(frame, (width // 2 + index % 5, height // 2), (round(24 / aspect), 24), 0, 0, 360, (220, 200, 180), -1, cv2.LINE_AA)
    return frames


def extent(frame: np.ndarray) -> tuple[int, int]:
    """Height and width of what is bright."""
    rows, columns = np.nonzero(frame.mean(-1) > 120)
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize("name, aspect", [("wide.mp4", Fraction(3, 2)), ("wide.mkv", Fraction(4, 3)), ("tall.mp4", Fraction(8, 9)),
                                          ("half.avi", Fraction(2, 1))])
def test_a_disc_is_round(tmp_path, name, aspect):
    path = write_film(tmp_path / name, squeezed(6, 96, 120, aspect), options=OPTIONS, pixel_aspect=aspect)
    frame = next(read_frames(path))
    high, wide = extent(frame)
    assert abs(high - wide) <= 2
    assert frame.shape[:2] == shown_size(96, 120, float(aspect)) and min(frame.shape[0] - 96, frame.shape[1] - 120) == 0
    if aspect > 1 and shutil.which("ffmpeg"):
        seen = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-vf", "scale=iw*sar:ih,setsar=1", "-vframes", "1", "-f", "rawvideo",
                               "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
        assert np.abs(np.frombuffer(seen, np.uint8).reshape(frame.shape).astype(int) - frame).mean() < 3


def test_training_frames_and_report(tmp_path):
    aspect = Fraction(64, 45)
    write_film(tmp_path / "v" / "a.mp4", squeezed(40, 96, 120, aspect), options=OPTIONS, pixel_aspect=aspect)
    with WorkerPool(1) as pool:
        (health,) = scan(find_sources(tmp_path / "v"), pool, quiet=True).videos
    assert (health.width, health.height, health.status) == (171, 96, "ok")
    assert "120x96 pixels that are not square, shown as 171x96" in health.notes
    for skip in (1, 4):  # the second could leave frames undecoded
        video = VideoDataset(tmp_path / "v", 64, 64, 2, frame_skip=skip, cache_dir=tmp_path / "c", quiet=True)[0]["video"]
        high, wide = extent(video[0].numpy())
        assert abs(high - wide) <= 1
    assert thin_stream(tmp_path / "v" / "a.mp4", 4, None, 1) is None


def test_frames_that_were_kept_squeezed_are_not_taken_for_these(tmp_path, monkeypatch):
    aspect = Fraction(2, 1)
    write_film(tmp_path / "v" / "a.mp4", squeezed(4, 96, 120, aspect), options=OPTIONS, pixel_aspect=aspect)
    build = lambda: VideoDataset(tmp_path / "v", 64, 64, 2, cache_dir=tmp_path / "c", quiet=True)[0]["video"][0].numpy()  # noqa: E731
    with monkeypatch.context() as before:  # as when nobody looked at it
        before.setattr("data.probe.aspect_of", lambda *_: 1.0)
        before.setattr("data.decode.pixel_aspect", lambda _: 1.0)
        before.setattr("data.scan._PROBE_FORMAT", 1)
        high, wide = extent(build())
        assert wide < 0.6 * high
    high, wide = extent(build())
    assert abs(high - wide) <= 1


def test_turned_by_a_quarter(tmp_path):
    path = rotate_tag(write_film(tmp_path / "a.mp4", squeezed(6, 96, 120, 2), options=OPTIONS, pixel_aspect=Fraction(2, 1)))
    frame = next(read_frames(path))
    high, wide = extent(frame)
    assert frame.shape[:2] == (240, 96) and abs(high - wide) <= 2
    with WorkerPool(1) as pool:
        (health,) = scan(find_sources(tmp_path), pool, quiet=True).videos
    assert (health.height, health.width) == (240, 96)


def test_interlaced(tmp_path):
    path = write_film(tmp_path / "a.mpg", squeezed(6, 96, 120, 16 / 11), codec="mpeg2video", options={"b": "4M", "flags": "+ildct+ilme"},
                      pixel_aspect=Fraction(16, 11))
    high, wide = extent(next(read_frames(path)))
    assert pixel_aspect(path) != 1 and abs(high - wide) <= 2


def test_nonsense_is_ignored(tmp_path):
    assert pixel_aspect(tmp_path / "gone.mp4") == 1
    (tmp_path / "text.mp4").write_text("no film")
    assert pixel_aspect(tmp_path / "text.mp4") == 1
    path = write_film(tmp_path / "a.mkv", squeezed(4, 96, 120, 1), options=OPTIONS, pixel_aspect=Fraction(50, 1))
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 50  # it does say so
    assert pixel_aspect(path) == 1 and next(read_frames(path)).shape == (96, 120, 3)
