"""Leave out of an H.264 stream, before it is decoded, the frames that nobody wants and no other frame is predicted from.

Stepping over a frame with ``grab`` still decodes it. But about half of the frames of a usual H.264 file are pictures that no other one
refers to (``nal_ref_idc`` 0, ITU-T H.264, 7.4.1). Without their packets, the decoder gives every other frame exactly as before.
"""

import io
from pathlib import Path

import av
import cv2
import numpy as np

from data.decode import VideoStream, pick
from data.ffmpeg import open_capture, open_container
from data.by_pyav import needs_pyav
from data.pixel_aspect import pixel_aspect

# Their packets hold one whole picture each, with its own time stamp. AVI, for one, only knows the order of decoding.
_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_CLOCK = 0.0021  # seconds: both ends of a difference are rounded to milliseconds
_WORTHWHILE = 0.1  # share of the packets that must go


class Uneven(Exception):
    """The thinned stream gave other frames than its packets promised; the caller reads the file as it is."""


class ThinStream(VideoStream):
    """As :class:`VideoStream`, for one choice of frames: the others count as steps, but most of them are never decoded.

    ``times`` are those of all frames in seconds, in order of display; ``stamps`` their presentation time stamps, or None where the
    packet is left out. Raises Uneven where decoder and packets disagree.
    """

    def __init__(self, path: Path, times: list[float], stamps: list[int | None], dropped: set[int], threads: int):
        self._source, self._times, self._stamps, self._next = _Thinned(path, dropped), times, stamps, 0
        self._capture = cv2.VideoCapture(self._source, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])

    def step(self) -> float | None:
        index = self._next
        self._next += 1
        if index >= len(self._times):
            if self._capture.grab() or self._source.failed:
                raise Uneven
            return None
        if self._stamps[index] is not None and not self._capture.grab():
            raise Uneven
        # As many frames, but others? The copy's clock counts milliseconds.
        if self._stamps[index] is not None and abs(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 - self._times[index]) > _CLOCK:
            raise Uneven
        return self._times[index]

    def close(self) -> None:
        super().close()
        self._source.close()


def thin_stream(path: Path, frame_skip: int, fps: float | None, threads: int, on_packet=lambda count: None) -> ThinStream | None:
    """A stream that gives :func:`data.decode.pick` the same frames with less decoding; None where it would not pay or is not safe.

    ``on_packet`` is called with 0, as no frame is done yet, for each packet that is looked at.
    """
    if frame_skip == 1 and fps is None:
        return None
    try:
        rows = _packets(path, on_packet)
    except (av.FFmpegError, ValueError, OSError):
        return None
    if rows is None:
        return None
    stamps, times, free = zip(*sorted(rows))
    if len(set(stamps)) < len(stamps):  # two fields apart, or time stamps that lie
        return None
    wanted = {int(index[0]) for index, _, _ in pick(_Indices(times), frame_skip, fps)}
    dropped = {stamp for index, (stamp, unused) in enumerate(zip(stamps, free)) if unused and index not in wanted}
    if len(dropped) < _WORTHWHILE * len(stamps) or _rotated(path) or needs_pyav(path) or pixel_aspect(path) != 1:
        return None
    return ThinStream(path, list(times), [None if stamp in dropped else stamp for stamp in stamps], dropped, threads)


class _Indices:
    """A stream whose pictures are its indices: what would be picked?"""

    def __init__(self, times):
        self._times, self._index = times, -1

    def step(self) -> float | None:
        self._index += 1
        return self._times[self._index] if self._index < len(self._times) else None

    def picture(self) -> np.ndarray:
        return np.array([self._index])


def _packets(path: Path, on_packet) -> list[tuple[int, float, bool]] | None:
    """(time stamp, seconds from the start, whether nothing refers to it) of every packet; None unless the film is plain H.264 in MP4,
    MOV or Matroska, where each packet holds a frame to be shown and its units have their lengths before them."""
    with open_container(path) as container:
        stream = container.streams.video[0] if container.streams.video else None
        extra = stream.codec_context.extradata if stream and stream.codec_context.name == "h264" else None
        if not extra or len(extra) < 7 or extra[0] != 1 or container.format.name not in _CONTAINERS:
            return None
        prefix, start, base = (extra[4] & 3) + 1, stream.start_time or 0, float(stream.time_base)
        rows = []
        for packet in container.demux(stream):
            on_packet(0)
            if not packet.size:
                continue
            if packet.pts is None or packet.is_discard or packet.is_corrupt:
                return None
            rows.append((packet.pts, (packet.pts - start) * base, _unreferenced(memoryview(packet), prefix)))
        return rows or None


def _unreferenced(data: memoryview, prefix: int) -> bool:
    """Whether no other picture refers to any slice in this access unit (of two fields, one may be referred to)."""
    place, slices = 0, 0
    while place + prefix < len(data):
        head = data[place + prefix]
        if head & 31 in (1, 2, 5):
            if head >> 5 & 3:
                return False
            slices += 1
        place += prefix + int.from_bytes(data[place:place + prefix], "big")
    return slices > 0


def _rotated(path: Path) -> bool:
    capture = open_capture(path)
    try:
        return capture.get(cv2.CAP_PROP_ORIENTATION_META) != 0
    finally:
        capture.release()


class _Thinned(io.BufferedIOBase):
    """The film's picture stream as Matroska without the dropped packets, made while it is read.

    An exception in :meth:`read` would end the process, for OpenCV calls it from C++: it is an end of the file with ``failed`` set.
    """

    failed = False

    def __init__(self, path: Path, dropped: set[int]):
        self._input = open_container(path)
        stream = self._input.streams.video[0]
        self._dropped, self._packets, self._pending = dropped, self._input.demux(stream), bytearray()
        self._output = av.open(self, "w", format="matroska")
        self._stream = self._output.add_stream_from_template(stream)

    def read(self, size: int = -1) -> bytes:
        while self._output and not self.failed and (size < 0 or len(self._pending) < size):
            try:
                packet = next((packet for packet in self._packets if packet.size and packet.pts not in self._dropped), None)
                if packet is None:
                    self._finish()
                    break
                packet.stream = self._stream
                self._output.mux(packet)
            except Exception:
                self.failed = True
                break
        size = len(self._pending) if size < 0 else size
        data = bytes(self._pending[:size])
        del self._pending[:size]
        return data

    def write(self, data) -> int:
        self._pending += data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return -1

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def _finish(self) -> None:
        if self._output:
            output, self._output = self._output, None
            output.close()

    def close(self) -> None:
        if not self.closed:
            self._finish()
            self._input.close()
            super().close()
