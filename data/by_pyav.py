"""Films that OpenCV 5 cannot read or, worse, reads wrongly: of these PyAV reads the frames.

Where FFmpeg's swscale, from version 8 on, refuses to convert a frame, OpenCV hands out memory that was never written, without a word. It
refuses frames that are marked as interlaced, and colours that are tagged as something it does not know. Films that are to be shown as in a
mirror it only turns. Both fields of an interlaced frame stay in one picture, as OpenCV 4 gives it. OpenCV brings no decoder of AV1 at all.
"""

from itertools import islice
from pathlib import Path

import av
import numpy as np

from data.ffmpeg import open_container

PROGRESSIVE = (0, 1)  # libavcodec's AV_FIELD_UNKNOWN and AV_FIELD_PROGRESSIVE
_LOOK = 4  # frames
# AV1, and those that may become interlaced after progressive titles.
_CODECS = ("av1", "mpeg1video", "mpeg2video", "dvvideo", "vc1")
# AVColorTransferCharacteristic, AVColorPrimaries and AVColorSpace of FFmpeg: reserved or logarithmic, reserved; and the matrices it knows.
_BAD_TRANSFER, _BAD_PRIMARIES, _MATRICES = (0, 3, 9, 10), (0, 3), (0, 1, 2, 4, 5, 6, 7, 9)
_UNSPECIFIED = 2


def needs_pyav(path: Path) -> bool:
    """Whether the film says so, or one of its first frames; False for what cannot be read."""
    try:
        with open_container(path) as container:
            stream = container.streams.video[0]
            if not stream.codec_context:  # no decoder takes it
                return False
            if stream.codec_context.field_order not in PROGRESSIVE:
                return True
            if stream.codec_context.codec.canonical_name in _CODECS:
                return True
            first = list(islice(container.decode(stream), _LOOK))
            return len({frame.format.name for frame in first}) > 1 or any(map(_misread, first))
    except (av.FFmpegError, ValueError, OSError, IndexError):
        return False


def mirrored(frame: av.VideoFrame) -> bool:
    """Whether the film's matrix for display shows it as in a mirror, beside any turn: selfies of some cameras. Of such a matrix OpenCV and
    ``frame.rotation`` tell the turn alone, which then comes after exchanging top and bottom."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d, *_ = np.frombuffer(matrix, "<i4").tolist()
    return a * d - b * c < 0


def _misread(frame: av.VideoFrame) -> bool:
    return (mirrored(frame) or frame.interlaced_frame or frame.color_trc in _BAD_TRANSFER or frame.color_primaries in _BAD_PRIMARIES
            or frame.colorspace not in _MATRICES)


class PyAVStream:
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
        if self._frame.colorspace not in _MATRICES:
            self._frame.colorspace = _UNSPECIFIED
        pixels = self._frame.to_ndarray(format="bgr24")
        if mirrored(self._frame):
            pixels = pixels[::-1]
        return np.ascontiguousarray(np.rot90(pixels, self._frame.rotation // 90 % 4))

    def close(self) -> None:
        self._container.close()
