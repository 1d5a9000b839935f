"""Interlaced films by PyAV: OpenCV 5 cannot convert their frames and hands out memory that was never written, without a word.

(FFmpeg's swscale, from version 8 on, refuses to convert between frames that are marked as interlaced and frames that are not.) Both
fields stay in one picture, as OpenCV 4 gives it.
"""

from itertools import islice
from pathlib import Path

import av
import numpy as np

from data.ffmpeg import open_container

_PROGRESSIVE = (0, 1)  # libavcodec's AV_FIELD_UNKNOWN and AV_FIELD_PROGRESSIVE
_LOOK = 4  # frames


def is_interlaced(path: Path) -> bool:
    """Whether the film says so, or one of its first frames; False for what cannot be read."""
    try:
        with open_container(path) as container:
            stream = container.streams.video[0]
            if not stream.codec_context:  # no decoder takes it
                return False
            if stream.codec_context.field_order not in _PROGRESSIVE:
                return True
            return any(frame.interlaced_frame for frame in islice(container.decode(stream), _LOOK))
    except (av.FFmpegError, ValueError, OSError, IndexError):
        return False


class InterlacedStream:
    """As :class:`data.decode.VideoStream`."""

    def __init__(self, path: Path, threads: int = 1):
        self._container = open_container(path)
        stream = self._container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "SLICE", threads
        self._base, self._start = float(stream.time_base), stream.start_time or 0
        self._delta = 1 / float(stream.average_rate or 25)
        self._frames, self._frame, self._time = self._decoded(stream), None, None

    def _decoded(self, stream):
        packets = self._container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError, OSError):
                return
            try:
                yield from packet.decode()
            except (av.FFmpegError, ValueError):
                pass  # a damaged packet: the next ones may decode

    def step(self) -> float | None:
        self._frame = next(self._frames, None)
        if self._frame is None:
            return None
        if self._frame.pts is not None:
            self._time = (self._frame.pts - self._start) * self._base
        else:
            self._time = self._time + self._delta if self._time is not None else 0.0
        return self._time

    def picture(self) -> np.ndarray:
        pixels = self._frame.to_ndarray(format="bgr24")
        return np.ascontiguousarray(np.rot90(pixels, self._frame.rotation // 90 % 4))

    def close(self) -> None:
        self._container.close()
