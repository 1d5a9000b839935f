"""Films whose pixels are not square (DVDs, DV and HDV camcorders, much of television): a player widens them, OpenCV does not."""

from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from data.ffmpeg import open_container

_PLAUSIBLE = (0.25, 4.0)  # whatever lies beyond is a broken header
_NOTICED = 0.005  # rates such as 4095:4096 come of rounding


def aspect_of(stream, turned: bool = False) -> float:
    """Width of a pixel of a PyAV video stream over its height, as seen after ``turned`` by a quarter;
    1.0 where nothing sensible is said."""
    ratio = float(stream.sample_aspect_ratio or 1)
    if not _PLAUSIBLE[0] <= ratio <= _PLAUSIBLE[1] or abs(ratio - 1) < _NOTICED:
        return 1.0
    return 1 / ratio if turned else ratio


def pixel_aspect(path: Path) -> float:
    """:func:`aspect_of` the film as it is shown; 1.0 for what cannot be read."""
    try:
        with open_container(path) as container:
            stream = container.streams.video[0]
            if aspect_of(stream) == 1:
                return 1.0
            return aspect_of(stream, any(frame.rotation % 180 for frame in islice(container.decode(stream), 1)))
    except (av.FFmpegError, ValueError, OSError, IndexError):
        return 1.0


def shown_size(height: int, width: int, aspect: float) -> tuple[int, int]:
    """(height, width) in square pixels. One side grows, so that no detail is lost."""
    return (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)


class SquarePixels:
    """A stream (see :class:`data.decode.VideoStream`) whose pictures are brought to square pixels."""

    def __init__(self, stream, aspect: float):
        self._stream, self._aspect = stream, aspect
        self.step, self.close = stream.step, stream.close

    def picture(self) -> np.ndarray | None:
        picture = self._stream.picture()
        if picture is None or picture.size == 0:
            return picture
        height, width = shown_size(*picture.shape[:2], self._aspect)
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
