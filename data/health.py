"""The health report: what is wrong with which video, and how much of each can be used."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import floor

USABLE = ("ok", "damaged")  # at least in part
UNUSABLE = ("broken", "empty", "not a video")


@dataclass
class Health:
    """What a scan found out about one video.

    ``status`` is ok, damaged (a part can be used), broken, empty (no bytes), not a video, or too short for the clips asked for.
    ``faults`` say what is wrong; ``notes`` are worth knowing but do no harm. ``frames`` counts those that decode cleanly,
    ``corrupt`` the others. ``bad`` lists the stretches (start, end) in seconds that must not be used. ``seconds`` is from the first
    frame to the end of the last, by their time stamps; ``drift``, in seconds, how far the farthest frame is from where it would be if all
    were evenly spaced; ``pace`` frames a second where they follow each other fastest. ``width`` and ``height`` are those of the picture
    as it is shown: upright, in square pixels; ``pixel_aspect`` is the width of a stored pixel over its height. ``passing``: the trouble
    was the machine's (a disk that did not answer, no memory), and may be gone the next time.
    """

    path: str
    kind: str = "video"
    status: str = "ok"
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    frames: int = 0
    corrupt: int = 0
    header_frames: int = 0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    seconds: float = 0.0
    drift: float = 0.0
    pace: float = 0.0
    codec: str = ""
    rotation: int = 0
    mirrored: bool = False
    pixel_aspect: float = 1.0
    variable_rate: bool = False
    bad: list[tuple[float, float]] = field(default_factory=list)
    content: str = ""
    size: int = 0
    passing: bool = False

    def fail(self, status: str, fault: str) -> "Health":
        """Record a fault; the worst status so far stands."""
        if self.status not in UNUSABLE:
            self.status = status
        self.faults.append(fault)
        return self

    def frames_at(self, fps: float | None) -> int:
        """How many frames there are at ``fps`` frames a second if given, as :func:`data.decode.pick` chooses them, else at the video's own
        rate."""
        if not (fps and self.fps and self.frames):
            return self.frames
        # Where frames come as they please, their number says little; what is damaged has no time of its own.
        seconds = self.seconds if self.variable_rate and not self.bad else 0.0
        last, before = ((self.frames - back) / self.fps for back in (1, 2))
        return floor(max(last, seconds - 1 / self.fps) * fps + 0.25 * min(1.0, (last - before) * fps)) + 1


def within(stretches: list[tuple[float, float]]) -> Callable[[float], bool]:
    """Of a time, whether it is in one of the ``stretches`` from a start up to an end."""
    apart: list[list[float]] = []
    for low, high in sorted(stretches):
        if apart and low <= apart[-1][1]:
            apart[-1][1] = max(apart[-1][1], high)
        else:
            apart.append([low, high])
    starts = [low for low, _ in apart]

    def inside(time: float) -> bool:
        place = bisect_right(starts, time)
        return place > 0 and time < apart[place - 1][1]
    return inside


@dataclass
class HealthReport:
    """The health of all videos of a data set, in its order. ``notes`` concern the set as a whole."""

    videos: list[Health]
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How many videos have each status."""
        names = [video.status for video in self.videos]
        return {name: names.count(name) for name in dict.fromkeys(["ok", *names]) if name in names}

    @property
    def unusable(self) -> list[Health]:
        return [video for video in self.videos if video.status in UNUSABLE]

    def mark_duplicates(self) -> None:
        """Note on every video whose content an earlier one already has."""
        first: dict[str, str] = {}
        for video in self.videos:
            if video.content and video.size and first.setdefault(video.content, video.path) != video.path:
                video.notes.append(f"duplicate of {first[video.content]}")

    def mark_short(self, span: int, fps: float | None = None) -> None:
        """Mark the videos that hold fewer than ``span`` frames (at ``fps`` frames a second if given, else of their own)."""
        for video in self.videos:
            frames = video.frames_at(fps)
            if video.status in USABLE and frames < span:
                video.fail("too short", f"too short: {frames} frame{'s' * (frames != 1)}, a clip spans {span}")

    def as_dict(self) -> dict:
        """For JSON."""
        return {"counts": self.counts, "notes": self.notes, "videos": [asdict(video) for video in self.videos]}

    def table(self) -> str:
        """For people: one line per video, then the totals."""
        rows = [("video", "status", "frames", "size", "fps", "codec", "remarks")]
        for video in self.videos:
            size = f"{video.width}x{video.height}" if video.width else "-"
            rows.append((video.path, video.status, str(video.frames), size, f"{video.fps:.5g}" if video.fps else "-", video.codec or "-",
                         "; ".join(video.faults + video.notes)))
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[6]]).rstrip() for row in rows]
        return "\n".join([*lines, "", self.summary(), *self.notes])

    def summary(self) -> str:
        """One line of totals."""
        frames = sum(video.frames for video in self.videos if video.status not in UNUSABLE)
        parts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return f"{len(self.videos)} video{'s' * (len(self.videos) != 1)}: {parts}; {frames} usable frames"

    def trouble(self, most: int = 3) -> str:
        """What of the videos is not ok, as one line that names ``most`` of them, or ""."""
        bad = [video for video in self.videos if video.status != "ok"]
        named = [f"{video.path}: {video.status}, {video.faults[0]}" for video in bad[:most]] + ["..."] * (len(bad) > most)
        return f"{self.summary()} ({'; '.join(named)})" if bad else ""
