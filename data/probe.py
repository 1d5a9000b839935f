"""Examine one video: does every frame decode, and does the header tell the truth?

PyAV, unlike OpenCV, tells which frames came out damaged. Decoding runs on one thread: FFmpeg's log, which names the
faults, is only collected safely there.
"""

import errno
import statistics
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from data.by_pyav import PROGRESSIVE, mirrored
from data.decode import decode_image, read_image
from data.ffmpeg import open_container
from data.health import Health, within
from data.layouts import image_files, stack_length
from data.pixel_aspect import aspect_of, shown_size

# First bytes (with offset) of the usual containers: a file with none of them that does not open is no video at all.
_MAGIC = ((4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"free"), (4, b"wide"), (0, b"RIFF"), (0, b"\x1aE\xdf\xa3"), (0, b"GIF8"),
          (0, b"FLV"), (0, b"OggS"), (0, b"\x00\x00\x01"), (0, b"G\x40"), (0, b"0&\xb2u"))
# Words in the decoder's log which mean that picture data was lost, as opposed to mere complaints about headers.
_LOSS = ("error while decoding", "concealing", "corrupt", "invalid", "damaged", "missing", "no frame", "unavailable", "overread",
         "truncat", "partial file", "out of range", "illegal", "decode_slice_header", "bitstream", "overflow", "non-existing")


class ProbeTask(NamedTuple):
    """One video to examine. ``content``: its content key; ``size`` in bytes; ``quick`` looks at packets and decodes nothing."""

    path: str
    kind: str
    name: str
    content: str = ""
    size: int = 0
    quick: bool = False
    image_fps: float = 25.0


def probe(task: ProbeTask, beat=lambda count=1: None) -> Health:
    """Never raises for what is wrong with a video: the returned :class:`Health` names it."""
    path, kind, name, content, size, quick, image_fps = task
    health = Health(path=name, kind=kind, content=content, size=size)
    if kind == "frames":
        return _probe_images(health, Path(path), quick, image_fps, beat)
    if size == 0:
        return health.fail("empty", "empty file (0 bytes)")
    if Path(path).exists() and not Path(path).is_file():  # whoever opens a pipe waits for its other end
        return health.fail("broken", "cannot be read: not a regular file")
    if kind == "stack":
        return _probe_stack(health, Path(path), image_fps)
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    with av.logging.Capture(local=True) as logs:
        try:
            with open_container(path) as container:
                _probe_container(health, container, logs, quick, beat)
        except (FileNotFoundError, PermissionError) as error:  # of FFmpeg's errors too: a link to nothing, a file of somebody else
            health.passing = True
            health.fail("broken", f"cannot be read: {error.strerror}")
        except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
            reason = _reason(logs) or getattr(error, "strerror", None) or str(error)
            known = _looks_like_video(path)
            health.passing = _of_the_machine(error)
            health.fail("broken" if known else "not a video", f"cannot be opened: {reason}" if known else f"not a video: {reason}")
        except OSError as error:
            health.passing = True
            health.fail("broken", f"cannot be read: {error.strerror}")
        finally:
            av.logging.set_level(None)
    return health


def _probe_container(health: Health, container, logs: list, quick: bool, beat) -> None:
    if not container.streams.video:
        health.fail("not a video", f"not a video: {container.format.name} without a picture stream")
        return
    stream = container.streams.video[0]
    codec = stream.codec_context
    if not codec:
        health.fail("broken", "its pictures are in no known coding")
        return
    codec.thread_count = 1
    quick = quick and codec.field_order in PROGRESSIVE  # packets of interlaced films may hold a field each
    health.codec, health.header_frames = codec.name, stream.frames
    health.width, health.height = codec.width, codec.height
    walk = _Walk(stream.time_base, stream.start_time or 0)
    packets = container.demux(stream)
    while True:
        lines = len(logs)
        try:
            packet = next(packets)
        except StopIteration:
            break
        except (av.FFmpegError, ValueError) as error:
            walk.end_fault = _reason(logs[lines:]) or str(getattr(error, "strerror", error))
            health.passing = _of_the_machine(error)
            break
        hidden = packet.size and packet.is_discard  # before the first picture that an edit list shows
        walk.hidden += bool(hidden)
        if not (quick and hidden):
            walk.packet(packet)
        try:
            frames = [] if quick else packet.decode()
        except (av.FFmpegError, ValueError) as error:
            frames = []
            walk.fault(_reason(logs[lines:]) or str(getattr(error, "strerror", error)))
        else:
            if not quick and _lost(logs[lines:]):
                walk.fault(_reason(logs[lines:]))
            elif packet.is_corrupt:
                walk.fault("corrupt packet")
        for frame in frames:
            walk.frame(frame)
            health.width, health.height, health.rotation = frame.width, frame.height, frame.rotation
            health.mirrored = mirrored(frame)
            health.notes += ["gray"] if frame.format.name.startswith("gray") and "gray" not in health.notes else []
        beat(len(frames) or 1)
    health.pixel_aspect = aspect_of(stream, bool(health.rotation % 180))
    walk.judge(health, stream, quick)


_END = 1e12  # seconds: to the end of the video
_FASTEST = 120.0  # frames a second; what is shown for a shorter time is hardly seen
_REORDERING = 64  # a frame leaves the decoder at most this many packets after its own went in


class _Walk:
    """What was met on the way through a file, in decoding order; times are in seconds from the stream's start."""

    def __init__(self, time_base, start: int):
        self._base, self._start = float(time_base or 0) or 1e-6, start
        self.packets: list[tuple[float, bool]] = []
        self.times: list[float] = []
        self.faulty: list[tuple[int, str]] = []
        self.end_fault, self.hidden, self.end = "", 0, 0.0
        self.fields = 1  # a packet may be one of so many that make a frame

    def _seconds(self, stamp: int | None) -> float | None:
        return None if stamp is None else (stamp - self._start) * self._base

    def packet(self, packet) -> None:
        if packet.size:
            time = self._seconds(packet.pts if packet.pts is not None else packet.dts)
            self.packets.append((time if time is not None else (self.packets[-1][0] if self.packets else 0.0), packet.is_keyframe))
            self.end = max(self.end, self.packets[-1][0] + (packet.duration or 0) * self._base)

    def fault(self, reason: str) -> None:
        if self.packets:
            self.faulty.append((len(self.packets) - 1, reason))

    def frame(self, frame) -> None:
        time = self._seconds(frame.pts if frame.pts is not None else frame.dts)
        self.times.append(time if time is not None else (self.times[-1] + self._gap() if self.times else 0.0))
        self.fields = max(self.fields, 1 + bool(frame.interlaced_frame))
        if frame.is_corrupt:
            recent = range(max(0, len(self.packets) - _REORDERING), len(self.packets))
            nearest = min(recent, key=lambda index: abs(self.packets[index][0] - self.times[-1]))
            self.faulty.append((nearest, ""))

    def _gap(self) -> float:
        return self.times[-1] - self.times[-2] if len(self.times) > 1 else 0.04

    def judge(self, health: Health, stream, quick: bool) -> None:
        times = sorted(packet[0] for packet in self.packets) if quick else self.times
        gaps = sorted(float(gap) for gap in np.diff(sorted(times)) if gap > 0)
        middle = statistics.median(gaps) if gaps else 0.0
        health.bad = self._bad_stretches(middle / 4)
        damaged = within(health.bad)
        clean = [time for time in times if not damaged(time)]
        lost = sum(damaged(time) for time, _ in self.packets)
        health.frames, health.corrupt = len(clean), max(lost, len(times) - len(clean))
        health.fps = declared = float(stream.average_rate or stream.guessed_rate or 0)
        if gaps:
            uneven = sum(abs(gap - middle) > max(0.1 * middle, 1.5 * self._base) for gap in gaps)
            health.variable_rate = uneven > max(1, 0.02 * len(gaps)) and not health.bad
            # The stamps of a constant rate are rounded to the time base: gaps of 4 and 5 hundredths in a GIF are 24 frames a second.
            near = [gap for gap in gaps if abs(gap - middle) < min(1.5 * self._base, 0.75 * middle)] or [middle]
            measured = len(gaps) / (max(times) - min(times)) if health.variable_rate else 1 / statistics.fmean(near)
            # Headers are exact where time stamps are rounded, but some lie outright.
            health.fps = declared if abs(declared / measured - 1) < (0.005 if health.variable_rate else 0.02) else measured
            health.drift = _drift(times)
            health.pace = _pace(gaps, health.fps, health.drift)
        if times and health.fps:
            # The last picture may be held for longer, as GIFs like to; some files say any nonsense of their last packet.
            held = min(self.end, stream.duration * self._base) if stream.duration is not None else 0.0
            health.seconds = max(max(times) + 1 / health.fps, held) - min(times)
        self._speak(health, times, quick)
        self._check_end(health, stream, times)

    def _speak(self, health: Health, times: list[float], quick: bool) -> None:
        if not times:
            health.fail("broken", f"not one frame decodes: {self._reasons() or self.end_fault or 'no picture data'}")
            return
        if self.end_fault:
            health.fail("damaged", f"truncated after {len(times)} frames: {self.end_fault}")
        elif len(self.packets) + (self.hidden if quick else 0) < health.header_frames * 0.98 - 1:
            health.notes.append(f"the header says {health.header_frames} frames, {len(times)} {'are there' if quick else 'decode'}")
        elif not quick and (wanted := (len(self.packets) - self.hidden) / self.fields) * 0.98 - 1 > len(times) and not health.bad:
            health.fail("damaged", f"{wanted - len(times):.0f} of {wanted:.0f} frames do not decode")
        if health.bad:
            where = ", ".join(f"{low:.2f} s" for low, _ in health.bad[:5]) + (" ..." if len(health.bad) > 5 else "")
            total = health.frames + health.corrupt
            lost = f"{health.corrupt} of {total} frames unusable, damage at {where}: {self._reasons() or 'corrupt frames'}"
            health.fail("damaged" if health.frames else "broken", lost)
        if health.variable_rate:
            health.notes.append("variable frame rate")
        if health.mirrored:
            health.notes.append("mirrored")
        if health.rotation:
            health.notes.append(f"rotated by {health.rotation % 360} degrees")
            if health.rotation % 180:
                health.width, health.height = health.height, health.width
        if health.pixel_aspect != 1:
            stored = f"{health.width}x{health.height}"
            health.height, health.width = shown_size(health.height, health.width, health.pixel_aspect)
            health.notes.append(f"{stored} pixels that are not square, shown as {health.width}x{health.height}")

    def _check_end(self, health: Health, stream, times: list[float]) -> None:
        container = stream.container
        if container.format.name == "avi":  # counts and durations in AVI headers lie, its length does not
            with open(container.name, "rb") as file:
                promised = int.from_bytes(file.read(8)[4:], "little") + 8
            if health.size < promised < 1 << 32:
                health.fail("damaged", f"truncated: {health.size} of {promised} bytes are there")
            return
        if stream.duration is not None:
            promised = stream.duration * self._base
        else:
            promised = (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0
        end = max(max(times, default=0.0) + 1 / health.fps, self.end) if health.fps else 0.0
        if times and 0 < end < promised - max(0.5, 0.03 * promised):
            health.fail("damaged", f"truncated: ends at {end:.2f} s of {promised:.2f} s")

    def _bad_stretches(self, margin: float) -> list[tuple[float, float]]:
        """From each fault to the next key frame: what lies between was predicted from damaged pictures."""
        stretches, covered = [], 0
        for index, _ in sorted(self.faulty):
            if index < covered:
                continue
            key = next((place for place in range(index + 1, len(self.packets)) if self.packets[place][1]), None)
            covered = len(self.packets) if key is None else key
            low = min(time for time, _ in self.packets[index:covered]) - margin
            high = self.packets[key][0] - margin if key is not None else _END
            if stretches and low <= stretches[-1][1]:
                stretches[-1] = (min(low, stretches[-1][0]), max(high, stretches[-1][1]))
            else:
                stretches.append((max(low, -margin), high))
        return stretches

    def _reasons(self) -> str:
        return "; ".join(list(dict.fromkeys(reason for _, reason in self.faulty if reason))[:2])


def _drift(times: list[float]) -> float:
    """Seconds between a frame's time and where it would be if as many were evenly spaced, at most."""
    return float(np.abs(np.sort(times) - np.linspace(min(times), max(times), len(times))).max())


def _pace(gaps: list[float], fps: float, drift: float) -> float:
    """Frames a second by the shortest tenth of the ``gaps``, in order, between frames; ``fps`` where that is about the same and no frame
    is as far from its place in an even row as the next one."""
    short = gaps[len(gaps) // 10]
    if short > 0.8 / fps and drift < 1 / fps:
        return fps
    # Time stamps are rounded: their mean is nearer the rate than any of them.
    return min(1 / statistics.fmean(gap for gap in gaps if 0.85 * short < gap < 1.15 * short), max(fps, _FASTEST))


def _of_the_machine(error: Exception) -> bool:
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in (errno.ENOMEM, errno.EIO)


def _lost(lines: list) -> bool:
    return any(word in line[2].lower() for line in lines for word in _LOSS)


def _reason(lines: list) -> str:
    """The first two distinct messages of FFmpeg's log as one line."""
    return ", ".join(list(dict.fromkeys(" ".join(line[2].split()) for line in lines))[:2])


def _looks_like_video(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return any(head[offset:offset + len(magic)] == magic for offset, magic in _MAGIC)


def _probe_images(health: Health, folder: Path, quick: bool, image_fps: float, beat) -> Health:
    files = image_files(folder)
    health.header_frames, health.fps, health.codec = len(files), image_fps, "images"
    sizes = set()
    for index, file in enumerate(files):
        beat()
        if quick and index:
            health.frames += file.exists() and file.stat().st_size > 0
            continue
        try:
            picture = decode_image(np.fromfile(file, np.uint8))
        except OSError:
            picture, health.passing = None, True
        if picture is None:
            health.corrupt += 1
            health.bad.append(((index - 0.5) / image_fps, (index + 0.5) / image_fps))
            health.fail("damaged", f"{file.name} cannot be read")
            continue
        health.frames += 1
        sizes.add(picture.shape[:2])
        health.height, health.width = picture.shape[:2]
    health.faults = health.faults[:3] + ([f"and {len(health.faults) - 3} more"] if len(health.faults) > 3 else [])
    if len(sizes) > 1:
        health.notes.append(f"images of {len(sizes)} different sizes")
    return health if health.frames else health.fail("broken", "not one image can be read")


def _probe_stack(health: Health, path: Path, image_fps: float) -> Health:
    health.fps, health.codec = image_fps, "stacked jpeg"
    count, picture = stack_length(path), read_image(path)
    if picture is None:
        return health.fail("broken", "the picture cannot be read")
    if not count:
        return health.fail("not a video", "not a stack of square frames")
    health.width = health.height = picture.shape[1]
    health.frames = health.header_frames = count
    return health
