"""Films that play everywhere, written frame by frame.

H.264 by PyAV (no OpenCV wheel on Linux can encode it), yuv420p, even sizes, BT.709 in tv range, the index in front
("faststart"): what browsers, phones and players all accept. Memory does not grow with the film's length, the same
frames give the same bytes, and a film appears under its name only when it is whole.
"""

import contextlib
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from utils.errors import UserError
from utils.files import atomic_file
from utils.frame_folder import FrameFolder

ENDINGS = (".mp4", ".avi", ".gif", ".png")
MIN_FPS, MAX_FPS = 0.001, 1000
# A GIF counts time in hundredths of a second, and browsers slow anything shorter than two of them down to ten.
MAX_GIF_FPS, MIN_GIF_FPS = 50, 0.002  # a frame lasts 2 to 65535 hundredths of a second
_MOST_PIXELS = {"H.264": 16384, "a GIF": 65535}
# The same frames must give the same bytes. x264's output depends on its number of threads, so that must not follow the
# machine's number of cores; and its macroblock-tree rate control, with B-frames, varies from run to run (core 165).
_X264 = {"preset": "medium", "threads": "4", "x264-params": "mbtree=0"}
# Every pixel counts for its chroma sample, and the result is the same on every processor.
_SCALING = Interpolation.AREA | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# AVCOL_SPC_BT709; PyAV's own Colorspace numbers are swscale's, which agree here only by chance.
_AVCOL_SPC_BT709 = 1


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames per second as a fraction; 29.97 and its kin become the n * 1000 / 1001 they stand for."""
    try:
        valid = MIN_FPS <= fps <= MAX_FPS
    except TypeError:
        valid = False
    if not valid:
        raise UserError(f"fps is {fps}: give a number of frames per second from {MIN_FPS} to {MAX_FPS}")
    if isinstance(fps, (int, Fraction)) or float(fps).is_integer():
        return Fraction(fps)
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    if math.isclose(ntsc, fps, rel_tol=2e-4):  # 23.98 as well as 23.976
        return ntsc
    return Fraction(fps).limit_denominator(1001)


def check_target(path: str | Path, fps: float | Fraction, crf: int = 18, size: tuple[int, int] | None = None) -> Fraction:
    """Raise UserError if no film can be written so, with frames of ``size`` (H, W) where that is known; returns the exact rate. Cheap:
    call it before expensive work."""
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"cannot write {path}: its ending must be one of {', '.join(ENDINGS)}")
    if path.is_dir():
        raise UserError(f"cannot write {path}: a folder has that name; choose another, or remove it")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"cannot write {path}: {above} is a file, not a folder; choose another path")
    if isinstance(crf, bool) or not isinstance(crf, int) or not 0 <= crf <= 51:
        raise UserError(f"crf is {crf}: give a whole number from 0 (huge, nothing lost but half of the colours' resolution) to 51 (worst); "
                        "18 is good")
    if size and path.suffix.lower() != ".png":
        _check_size(*size, "a GIF" if path.suffix.lower() == ".gif" else "H.264")
    rate = exact_rate(fps)
    if path.suffix.lower() == ".gif" and not MIN_GIF_FPS <= rate <= MAX_GIF_FPS:
        raise UserError(f"fps is {fps}: a GIF shows {MIN_GIF_FPS} to {MAX_GIF_FPS} frames per second; write an .mp4")
    return rate


def _check_size(height: int, width: int, format: str) -> None:
    if max(width, height) > _MOST_PIXELS[format]:
        raise UserError(f"{width}x{height}: {format} holds at most {_MOST_PIXELS[format]} pixels a side; "
                        "take fewer or smaller frames side by side, or write a .png")


class VideoWriter:
    """Writes uint8 RGB frames ``(H, W, 3)``, all of one size, as a film in the format of the path's ending.

    ``.mp4``, ``.avi``: H.264; a side of odd length is padded to even by repeating the last row or column. ``crf`` is
    x264's quality, 0 (nothing lost but half of the colours' resolution, but few browsers play it) to 51. ``.gif``: a
    palette of its own for each frame.
    ``.png``: lossless; one frame becomes that file, more become a folder named as the path without its ending, holding
    ``000000.png``, ``000001.png`` ... (a folder left by an earlier film is replaced, one that holds anything else is
    refused).

    Use it as a context manager: on an exception nothing is left, and an earlier file of that name is untouched. After
    ``close``, ``path`` is what was written and ``frames`` how many. Raises UserError for an impossible path, fps or
    crf, OSError named after ``path`` if the disk is full or forbids it, ValueError for frames of the wrong kind and for
    a film without frames.
    """

    def __init__(self, path: str | Path, fps: float | Fraction, *, crf: int = 18):
        self.rate = check_target(path, fps, crf)
        self.path = Path(path)
        self.frames = 0
        self._size: tuple[int, int] | None = None
        self._stack = contextlib.ExitStack()
        with self._errors_named():
            if self.path.suffix.lower() == ".png":
                self._sink = FrameFolder(self.path)
            else:
                sink = _Gif if self.path.suffix.lower() == ".gif" else _H264
                temporary = self._stack.enter_context(atomic_file(self.path))
                temporary.touch()  # an unwritable place shows now, not after the first frame was made
                self._sink = sink(temporary, self.rate, crf)

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 RGB ``(H, W, 3)``."""
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise ValueError(f"a frame is a uint8 array (H, W, 3), not {frame.dtype} {frame.shape}")
        if self._size not in (None, frame.shape[:2]):
            raise ValueError(f"frame {self.frames} is {frame.shape[:2]}, the ones before were {self._size}")
        self._size = frame.shape[:2]
        with self._errors_named():
            self._sink.write(np.ascontiguousarray(frame), self.frames)
        self.frames += 1

    def close(self) -> None:
        """Finish the film and move it to its name."""
        if not self.frames:
            self.discard()
            raise ValueError(f"no frames were written to {self.path}")
        try:
            with self._errors_named():
                self.path = self._sink.close() or self.path
                self._stack.close()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Give the film up: whatever was written is removed."""
        with contextlib.suppress(OSError):  # a full disk also refuses the rest of a file that is to be deleted
            self._sink.discard()
        with contextlib.suppress(_Discarded):
            with self._stack:
                raise _Discarded

    @contextlib.contextmanager
    def _errors_named(self):
        """The user knows the film's name, not the temporary one."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.discard()


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float | Fraction, crf: int = 18) -> int:
    """Write ``frames`` (uint8 RGB ``(H, W, 3)`` each) with :class:`VideoWriter`; returns how many there were."""
    with VideoWriter(path, fps, crf=crf) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.frames


class _Discarded(Exception):
    """Unwinds a writer's context without committing it."""


class _H264:
    def __init__(self, path: Path, rate: Fraction, crf: int):
        # An absolute path, as FFmpeg takes what stands before a colon in "12:30.mp4" for a protocol.
        mp4 = path.suffix.lower() == ".mp4"
        self._container = av.open(str(path.absolute()), "w", options={"movflags": "+faststart"} if mp4 else {})
        options = {"crf": str(crf), **_X264}
        if not mp4:
            options["bf"] = "0"  # AVI has no presentation times: frames must be stored in the order they are shown
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        self._time_base = 1 / rate
        self._reformatter = VideoReformatter()

    def write(self, frame: np.ndarray, index: int) -> None:
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if index == 0:
            self._configure(frame.shape[1], frame.shape[0])
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"), format="yuv420p", interpolation=_SCALING, threads=1,
            src_colorspace=Colorspace.ITU709, dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG)
        picture.color_primaries, picture.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        picture.pts, picture.time_base, picture.duration = index, self._time_base, 1
        self._container.mux(self._stream.encode(picture))

    def _configure(self, width: int, height: int) -> None:
        _check_size(height, width, "H.264")
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", self._time_base
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        context.colorspace, context.color_range = _AVCOL_SPC_BT709, ColorRange.MPEG

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()

    def discard(self) -> None:
        self._container.close()


class _Gif:
    def __init__(self, path: Path, rate: Fraction, crf: int):
        self._container = av.open(str(path.absolute()), "w")
        self._stream = self._container.add_stream("gif", rate=rate)
        self._time_base = 1 / rate

    def write(self, frame: np.ndarray, index: int) -> None:
        if index == 0:
            self._configure(frame.shape[1], frame.shape[0])
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = index, self._time_base
        self._graph.push(picture)
        self._drain()

    def _configure(self, width: int, height: int) -> None:
        _check_size(height, width, "a GIF")
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "pal8"
        self._stream.codec_context.time_base = self._time_base
        graph = av.filter.Graph()
        source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=self._time_base)
        split, sink = graph.add("split"), graph.add("buffersink")
        # One palette per frame: one for the whole film would have to see all of it first.
        palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(palette, 1, 0)
        palette.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        self._graph = graph

    def _drain(self) -> None:
        while True:
            try:
                picture = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        self._graph.push(None)
        self._drain()
        self._container.mux(self._stream.encode())
        self._container.close()

    def discard(self) -> None:
        self._container.close()
