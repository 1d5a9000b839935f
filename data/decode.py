"""Frames out of a video file, a folder of images or a JPEG of stacked frames, through one small interface.

A stream steps over frames cheaply (OpenCV's ``grab``) and turns only the wanted ones into pictures (``retrieve``).
"""

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data.by_pyav import PyAVStream, needs_pyav
from data.ffmpeg import open_capture
from data.health import within
from data.layouts import image_files, kind_of, stack_length
from data.pixel_aspect import SquarePixels, pixel_aspect
from utils.errors import UserError

FITS = ("crop", "pad", "stretch")
_DAMAGED = 1000  # packets in a row that may hold nothing readable; OpenCV says the same of each of them as of the end
_LONGEST_STILL = 10.0  # seconds one frame may last at a constant output rate before it counts as a break in time


class VideoStream:
    """A video file by OpenCV. ``step()`` gives the next frame's time in seconds (None at the end), ``picture()`` its BGR pixels."""

    def __init__(self, path: Path, threads: int = 1):
        self._capture = open_capture(path, threads)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._delta = 1 / rate if math.isfinite(rate) and rate > 0 else 0.04
        self._time = None

    def step(self) -> float | None:
        if not any(self._capture.grab() for _ in range(_DAMAGED)):
            return None
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._time is not None:
            if time == 0.0:  # OpenCV's word for "no time stamp", seen on frames that come out of the decoder last
                time = self._time + self._delta
            elif 0 < time - self._time < 10:
                self._delta = time - self._time
        self._time = time
        return time

    def picture(self) -> np.ndarray | None:
        return self._capture.retrieve()[1]

    def close(self) -> None:
        self._capture.release()


class ImageStream:
    """A folder of images in natural order, ``fps`` per second."""

    def __init__(self, folder: Path, fps: float):
        self._files, self._fps, self._next = image_files(folder), fps, 0

    def step(self) -> float | None:
        self._next += 1
        return (self._next - 1) / self._fps if self._next <= len(self._files) else None

    def picture(self) -> np.ndarray | None:
        return read_image(self._files[self._next - 1])

    def close(self) -> None:
        self._files = []


class StackStream:
    """tinyvideo's JPEG: frames of WxW stacked downwards, ``fps`` per second."""

    def __init__(self, path: Path, fps: float):
        self._count, self._fps, self._next = stack_length(path), fps, 0
        self._picture = read_image(path)
        if self._picture is None:
            self._count = 0

    def step(self) -> float | None:
        self._next += 1
        return (self._next - 1) / self._fps if self._next <= self._count else None

    def picture(self) -> np.ndarray | None:
        side = self._picture.shape[1]
        return self._picture[(self._next - 1) * side:self._next * side]

    def close(self) -> None:
        self._picture = None


def read_image(path: Path) -> np.ndarray | None:
    """One image as uint8 BGR (H, W, 3), or None if it cannot be read."""
    try:
        return decode_image(np.fromfile(path, np.uint8))
    except OSError:
        return None


def decode_image(data: np.ndarray) -> np.ndarray | None:
    """The bytes of an image file, uint8 (N,), as uint8 BGR (H, W, 3), or None if they are none."""
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        return None


def open_stream(path: Path, kind: str, image_fps: float = 25.0, threads: int = 1):
    """The stream for a source of that kind (see :class:`data.layouts.Source`)."""
    if kind == "frames":
        return ImageStream(path, image_fps)
    if kind == "stack":
        return StackStream(path, image_fps)
    stream = PyAVStream(path, threads) if needs_pyav(path) else VideoStream(path, threads)
    aspect = pixel_aspect(path)
    return stream if aspect == 1 else SquarePixels(stream, aspect)


def pick(stream, frame_skip: int = 1, fps: float | None = None, bad: list = (),
         on_step=lambda: None, longest_still: float = _LONGEST_STILL) -> Iterator[tuple[np.ndarray, int, bool]]:
    """The wanted frames of a stream: yields (uint8 BGR (H, W, 3), how often to repeat it, whether time breaks before it).

    ``frame_skip`` k keeps frames 0, k, 2k ... With ``fps`` the frames are chosen by their time stamps instead, so that they
    are evenly spaced in time whatever the file's own rate: frame j of the result is the first from j/fps seconds on, and where
    none comes before the next is due, the last one again. Where none comes for ``longest_still`` seconds, time breaks instead.
    ``bad`` lists stretches of time (start, end) in seconds whose frames do not decode properly: they are left out.
    """
    index, last_tick, start, previous, broken, held, damaged = -1, -1, None, None, False, None, within(bad)
    while (time := stream.step()) is not None:
        on_step()
        index += 1
        if damaged(time):
            broken = True
            continue
        if fps is None:
            if index % frame_skip:
                continue
            repeats = 1
        else:
            if start is None or not 0 <= time - previous <= longest_still or broken:
                broken = broken or start is not None
                start, previous, last_tick, held = time, time, -1, None
            # Files round their time stamps: a quarter of a frame early still counts as on time.
            tick = math.floor((time - start) * fps + 0.25 * min(1.0, (time - previous) * fps))
            previous = time
            if tick <= last_tick:
                continue
            repeats = tick - last_tick
            last_tick = tick
        picture = stream.picture()
        if picture is None or picture.size == 0:
            broken = True
            continue
        if repeats > 1 and held is not None:
            yield held, repeats - 1, broken
            broken = False
        yield picture, 1, broken
        broken, held = False, (picture if fps is not None else None)


def fit_frame(frame: np.ndarray, height: int, width: int, fit: str = "crop") -> np.ndarray:
    """Bring uint8 (H, W, 3) to (height, width, 3).

    ``crop`` keeps the aspect ratio and cuts the sides off evenly; ``pad`` keeps it and adds black bars; ``stretch`` does not
    keep it. Shrinking averages areas, so nothing aliases; growing is bicubic.
    """
    high, wide = frame.shape[:2]
    if fit == "stretch":
        return _resize(frame, height, width)
    if fit == "crop":
        cut_high = min(high, max(1, round(wide * height / width)))
        cut_wide = min(wide, max(1, round(high * width / height)))
        top, left = (high - cut_high) // 2, (wide - cut_wide) // 2
        return _resize(frame[top:top + cut_high, left:left + cut_wide], height, width)
    scale = min(height / high, width / wide)
    new_high, new_wide = min(height, max(1, round(high * scale))), min(width, max(1, round(wide * scale)))
    top, left = (height - new_high) // 2, (width - new_wide) // 2
    out = np.zeros((height, width, 3), np.uint8)
    out[top:top + new_high, left:left + new_wide] = _resize(frame, new_high, new_wide)
    return out


def _resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    high, wide = frame.shape[:2]
    if high > height and wide < width or high < height and wide > width:  # one way each: average first, then interpolate
        frame = cv2.resize(frame, (min(wide, width), min(high, height)), interpolation=cv2.INTER_AREA)
        high, wide = frame.shape[:2]
    if (high, wide) == (height, width):
        return frame
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if high >= height and wide >= width else cv2.INTER_CUBIC)


def read_frames(path: str | Path, *, frame_skip: int = 1, fps: float | None = None,
                longest_still: float = _LONGEST_STILL) -> Iterator[np.ndarray]:
    """Frames of one video, folder of images or stacked JPEG: uint8 RGB (H, W, 3) at their own size, rotation applied, pixels square.

    ``frame_skip``, ``fps`` and ``longest_still`` choose frames as :func:`pick` does. Raises UserError if not one frame can be read.
    """
    path, count = Path(path), 0
    if not path.exists():
        raise UserError(f"{path}: no such video; check the path")
    stream = open_stream(path, kind_of(path))
    try:
        for picture, repeats, _ in pick(stream, frame_skip, fps, longest_still=longest_still):
            count += 1
            frame = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            for _ in range(repeats):
                yield frame
    finally:
        stream.close()
    if not count:
        raise UserError(f"{path}: not one frame decodes; python -m data.scan {path} says why")
