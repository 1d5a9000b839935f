"""Videos as clips: scan, extract, index, and hand out any clip at once."""

import functools
import hashlib
import json
from bisect import bisect_left
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from data.cache import FrameCache, cache_folder
from data.decode import FITS
from data.extract import Extraction, extract_all
from data.health import USABLE, Health
from data.layouts import find_sources
from data.pool import Failure, WorkerPool
from data.scan import scan as scan_layout
from data.stabilize import STRETCH
from data.store import open_store
from data.synthetic import is_synthetic, synthetic_folder
from utils.errors import UserError
from utils.hardware import upload
from utils.progress import note

STORAGES = ("auto", "disk", "memory", "device")


class VideoDataset(torch.utils.data.Dataset):
    """Clips of ``frames`` kept frames at ``height`` x ``width``: every start position in every video that no scene cut interrupts.

    ``data`` is anything :func:`data.layouts.find_sources` takes, or ``synthetic``. Frames are thinned by ``frame_skip`` k (keep
    every k-th), by ``fps`` f (by time stamps), or by ``max_frames`` N (the skip whose total over all videos lands nearest N).
    ``fit`` is crop, pad or stretch. ``stabilize`` takes the camera's motion out (see :mod:`data.stabilize`). ``storage`` says where
    the frames live: on disk, in memory, on ``device``, or chosen by size.

    ``report`` is the health of the videos; ``classes`` their names ([] if the folders name none: all labels are 0); ``fps`` the
    rate of the kept frames; ``num_frames`` their number; ``fingerprint`` is equal only for the same clips in the same order.
    ``len()`` counts clips.

    Raises UserError when nothing can be used: no videos, more broken than ``max_broken`` (a share), none as long as a clip.
    """

    def __init__(self, data: str | Path, height: int, width: int, frames: int = 1, *, frame_skip: int = 1, fps: float | None = None,
                 max_frames: int | None = None, fit: str = "crop", split: str = "train", split_list: int = 1, image_fps: float = 25.0,
                 stabilize: bool = False, cache_dir: str | Path | None = None, storage: str = "auto", device: torch.device | str = "cpu",
                 workers: int | None = None, scan: str = "full", max_broken: float = 0.5, quiet: bool = False):
        _check(height=height, width=width, frames=frames, frame_skip=frame_skip, fps=fps, max_frames=max_frames, image_fps=image_fps,
               workers=workers)
        _check_choice("fit", fit, FITS)
        _check_choice("storage", storage, STORAGES)
        _check_choice("scan", scan, ("full", "quick"))
        if fps is not None and (frame_skip != 1 or max_frames is not None) or frame_skip != 1 and max_frames is not None:
            raise UserError("--frame_skip, --fps and --max_frames exclude each other: give one of them")
        if stabilize and frames > STRETCH:
            raise UserError(f"--frames {frames}: stabilised stretches have at most {STRETCH} frames; "
                            "ask for fewer, or leave out --stabilize")
        self.height, self.width, self.frames = height, width, frames
        folder = cache_folder(cache_dir)
        if is_synthetic(data):
            data = synthetic_folder(str(data), folder, height, width, quiet=quiet)
        layout = find_sources(data, split, split_list)
        self.classes = layout.classes
        with WorkerPool(workers) as pool:
            self.report = scan_layout(layout, pool, folder=folder, quick=scan == "quick", image_fps=image_fps, quiet=quiet)
            self._stop_if_too_broken(data, max_broken)
            if max_frames is not None:
                frame_skip = nearest_skip([video.frames for video in self.report.videos], max_frames)
            self.frame_skip = frame_skip
            self._or_more_of_it = (" or a higher --fps" if fps else " or more --max_frames" if max_frames else
                                   " or a smaller --frame_skip" if frame_skip > 1 else "")
            span = frames if fps else (frames - 1) * frame_skip + 1
            self.report.mark_short(span, fps)
            chosen = [index for index, video in enumerate(self.report.videos) if video.status in USABLE]
            if not chosen:
                raise self._too_short(data, [video.frames_at(fps) for video in self.report.videos], span)
            how = Extraction(height, width, fit, frame_skip, fps, image_fps, stabilize)
            cache = FrameCache(folder)
            sources, healths = [layout.sources[index] for index in chosen], [self.report.videos[index] for index in chosen]
            keys, entries = extract_all(cache, sources, healths, how, pool, quiet=quiet)
        self._note_extraction(healths, entries, how)
        for key, entry in zip(keys, entries):
            if not isinstance(entry, Failure) and not entry["frames"]:  # its disk may be back the next time
                cache.forget(key)
        self._stop_if_too_broken(data, max_broken)
        if not quiet:
            for said in [*self.report.notes, *filter(None, [self.report.trouble()])]:
                note(f"warning: {data}: {said}")
        good = [index for index, entry in enumerate(entries) if not isinstance(entry, Failure) and entry["frames"]]
        self._index([entries[index] for index in good], [sources[index].label for index in good])
        if not len(self):
            raise self._too_short(data, [int(length) for length in self._lengths], frames, "kept frames without a cut")
        self.names = [sources[index].name for index in good]
        contents = [(keys[index], sources[index].label) for index in good]
        self.fingerprint = hashlib.blake2b(json.dumps([contents, frames, len(self)]).encode(), digest_size=8).hexdigest()
        self.fps = fps or Counter(healths[index].fps / frame_skip for index in good).most_common(1)[0][0]
        self._store = open_store([functools.partial(cache.open, keys[index]) for index in good], self._video_first,
                                 (self.num_frames, height, width, 3), storage, torch.device(device))
        self.storage, self.device = self._store.name, self._store.device

    def __len__(self) -> int:
        return int(self._clips_before[-1])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """{"video": uint8 (T, H, W, 3), "label": int64 ()}."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return {name: value[0] for name, value in self.gather(torch.tensor([index % len(self)])).items()}

    def gather(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """int64 (B,) -> {"video": uint8 (B, T, H, W, 3), "label": int64 (B,)} on the device where the frames live."""
        wanted = np.asarray(indices.cpu() if isinstance(indices, torch.Tensor) else indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"clip numbers from {wanted.min()} to {wanted.max()}, there are {len(self)} clips")
        segment = self._segment_of(wanted)
        first = self._segment_first[segment] + wanted - self._clips_before[segment]
        label = torch.from_numpy(self._segment_label[segment])
        return {"video": self._store.clips(first, self.frames), "label": upload(label, self.device)}

    def labels(self) -> torch.Tensor:
        """The label of every clip, int64 (N,)."""
        return torch.from_numpy(np.repeat(self._segment_label, np.diff(self._clips_before)))

    @property
    def shown(self) -> list[int]:
        """The labels that any clip has, in order."""
        return np.unique(self._segment_label[np.diff(self._clips_before) > 0]).tolist()

    def largest_class(self) -> int:
        """The label that most clips have."""
        return int(self.labels().bincount().argmax())

    def consecutive_clips(self) -> np.ndarray:
        """Numbers of the clips that cut every video into neighbours without overlap, in order: int64 (M,)."""
        counts = np.diff(self._clips_before)
        return np.concatenate([np.arange(start, start + count, self.frames) for start, count in zip(self._clips_before, counts)])

    def video_of(self, indices: np.ndarray) -> np.ndarray:
        """The video that each of these clips is of, by its number among those in use: int64."""
        return np.searchsorted(self._video_first, self._segment_first[self._segment_of(indices)], side="right") - 1

    def frame_of(self, indices: np.ndarray) -> np.ndarray:
        """The kept frame of its video, from 0, that each of these clips begins with: int64."""
        segment = self._segment_of(indices)
        return self._segment_first[segment] + indices - self._clips_before[segment] - self._video_first[self.video_of(indices)]

    def _segment_of(self, indices: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._clips_before, indices, side="right") - 1

    def _index(self, entries: list[dict], labels: list[int]) -> None:
        """Number the clips: videos one after another, each divided into segments by cuts and gaps."""
        firsts, lengths, owners = [], [], []
        self._video_first = np.cumsum([0, *(entry["frames"] for entry in entries)])
        for video, entry in enumerate(entries):
            edges = [0, *sorted({*entry["cuts"], *entry["gaps"]}), entry["frames"]]
            for start, end in zip(edges, edges[1:]):
                firsts.append(self._video_first[video] + start)
                lengths.append(end - start)
                owners.append(labels[video])
        self.num_frames = int(self._video_first[-1])
        self._lengths = np.asarray(lengths, np.int64)
        self._segment_first, self._segment_label = np.asarray(firsts, np.int64), np.asarray(owners, np.int64)
        self._clips_before = np.cumsum([0, *np.maximum(self._lengths - self.frames + 1, 0)])

    def _note_extraction(self, healths: list[Health], entries: list, how: Extraction) -> None:
        for health, entry in zip(healths, entries):
            if isinstance(entry, Failure):
                health.fail("broken", entry.reason)
                continue
            expected = -(-health.frames // how.frame_skip)
            if not entry["frames"]:
                health.fail("broken", "OpenCV decodes none of its frames")
            elif how.fps is None and entry["frames"] < 0.9 * expected - 2:
                health.fail("damaged", f"OpenCV decodes only {entry['frames']} of {expected} wanted frames")
            if entry["cuts"]:
                count = len(entry["cuts"])
                health.notes.append(f"{count} scene cut{'s' * (count != 1)}")

    def _stop_if_too_broken(self, data, max_broken: float) -> None:
        broken, total = self.report.unusable, len(self.report.videos)
        if broken and (len(broken) > max_broken * total or len(broken) == total):
            first = f"{broken[0].path}: {'; '.join(broken[0].faults)}"
            raise UserError(f"--data {data}: {len(broken)} of {total} videos cannot be used (the first: {first}); "
                            f"python -m data.scan {data} lists them, --max_broken {max_broken:g} is the share allowed")

    def _too_short(self, data, lengths: list[int], span: int, unit: str = "frames") -> UserError:
        longest = max(lengths, default=0)
        return UserError(f"--data {data}: a clip of --frames {self.frames} spans {span} {unit}, but the longest video has {longest}; "
                         f"ask for fewer --frames{self._or_more_of_it}")


def nearest_skip(lengths: list[int], max_frames: int) -> int:
    """The frame skip k for which sum(ceil(n / k)) over ``lengths`` lies nearest ``max_frames``; the smaller of two equals."""
    counts = np.asarray([length for length in lengths if length > 0], np.int64)
    if not counts.size:
        return 1
    total = lambda skip: int((-(-counts // skip)).sum())
    # It falls as k grows: the first k with at most max_frames, or the one before.
    first = 1 + bisect_left(range(1, int(counts.max())), True, key=lambda skip: total(skip) <= max_frames)
    return min((max(first - 1, 1), first), key=lambda skip: abs(total(skip) - max_frames))


def _check(**numbers) -> None:
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise UserError(f"--{name} {value}: must be greater than 0")
        if value is not None and name not in ("fps", "image_fps") and int(value) != value:
            raise UserError(f"--{name} {value}: must be a whole number")


def _check_choice(name: str, value: str, choices: tuple) -> None:
    if value not in choices:
        raise UserError(f"--{name} {value}: choose {', '.join(choices)}")
