"""Films from films: more frames per second, or as it looks after only keyframes were kept. Streams; memory does not grow with
length."""

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.by_pyav import needs_pyav
from data.cuts import with_cuts
from data.decode import read_frames
from data.ffmpeg import open_container
from data.layouts import image_files, is_picture, kind_of
from data.probe import ProbeTask, probe
from training.restore import Sampler
from training.step import to_float
from utils import hardware, images
from utils.errors import UserError
from utils.files import is_there
from utils.progress import note

NETWORKS = ("autoencoder", "interpolator")
_NOTICED = 2.0  # frames by which one may be shown too early or too late
_PIXELS = 2**21  # made at a time, about one frame of 1920x1080: the networks take some hundred numbers for each


class Film:
    """A film to work on. ``path``: a video, a folder of images or a stacked JPEG; ``fps``: its rate; ``length``: about how many
    frames; ``troubles``: what is wrong with it, in words. Where time stamps are uneven, frames are repeated or left out so that each is
    seen when it should be.

    UserError if there is none or it cannot be read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not is_there(self.path, "--input"):
            raise UserError(f"--input {path}: there is no such file or folder")
        if self.path.is_dir() and not image_files(self.path):
            raise UserError(f"--input {path}: a folder that holds no pictures; give one film, or a folder of its frames")
        if is_picture(self.path):
            raise UserError(f"--input {path}: a single picture is no film; give a film, or a folder of its frames")
        kind = kind_of(self.path)
        quick = kind != "video" or not needs_pyav(self.path)  # packets of interlaced films may hold a field each: only decoding tells
        health = probe(ProbeTask(str(path), kind, self.path.name, size=self.path.stat().st_size, quick=quick))
        if not health.fps:
            raise UserError(f"--input {path}: not a film that can be read; python -m data.scan {path} says why")
        self.fps, self.length, self.troubles = health.fps, health.frames, health.faults + ["its sound is left out"] * _has_sound(self.path)
        longer = abs(health.seconds - self.length / self.fps) if health.seconds else 0.0
        self._by_time = health.pace > 0 and (health.drift > _NOTICED / self.fps or longer > max(1.5 / self.fps, 0.02 * health.seconds))
        if kind != "video" or health.frames > 1 and not health.pace:
            self.troubles.append(f"holds no times: {self.fps:g} frames a second are assumed; --fps changes only the new film's rate")
        if self._by_time:
            self.length = round((health.seconds - 1 / self.fps) * health.pace) + 1
            self.fps = health.pace  # at a slower rate frames would be left out

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 RGB (H, W, 3), all of one size; UserError where that changes."""
        size, index = None, -1
        for index, frame in enumerate(read_frames(self.path, fps=self.fps if self._by_time else None, longest_still=math.inf)):
            size = size or frame.shape
            if frame.shape != size:
                raise UserError(f"--input {self.path}: frame {index} is {frame.shape[1]}x{frame.shape[0]}, "
                                f"those before are {size[1]}x{size[0]}; bring all to one size")
            yield frame
        if self._by_time and size:
            yield from [frame] * (self.length - index - 1)  # the last one is held
        elif index + 1 < self.length:
            note(f"{self.path}: {self.length - index - 1} of {self.length} frames cannot be read and are left out")


def _has_sound(path: Path) -> bool:
    if kind_of(path) != "video":
        return False
    with open_container(path) as container:
        return bool(container.streams.audio)


class Remaker:
    """The two networks of a checkpoint of the keyframes family, on uint8 frames. At most ``batch_size`` frames are made at a
    time, fewer of large ones."""

    def __init__(self, sampler: Sampler, batch_size: int = 16, needed: tuple[str, ...] = NETWORKS):
        """``needed``: which of the two are asked for anything."""
        if set(sampler.nets) != set(NETWORKS):
            raise UserError(f"--input: {sampler.path} is a model of the family {sampler.family}; "
                            "only keyframes makes films from films")
        self._check_learnt(sampler, needed)
        self.autoencoder, self.interpolator = (sampler.nets[name].eval() for name in NETWORKS)
        self._sampler, self._batch_size = sampler, batch_size

    @staticmethod
    def _check_learnt(sampler: Sampler, needed: tuple[str, ...]) -> None:
        """One line where a network that is needed is as it began; UserError for the published ones, which begin as noise."""
        learns = sampler.config.model.learns
        for missing in (name for name in needed if learns not in ("both", name)):
            told = f"{sampler.path}: trained with --model.learns {learns}; its {missing} is as it began"
            if sampler.config.model.networks == "published":
                raise UserError(f"--checkpoint {told}, which is noise; train with --model.learns both")
            note(f"{told}, so the film shows what an untrained one makes")

    @torch.no_grad()
    def between(self, first: np.ndarray, second: np.ndarray, count: int, restore: bool = False) -> Iterator[np.ndarray]:
        """``count`` frames at even distances between two frames (H, W, 3): motion, or with ``restore`` what was most likely there."""
        ends = [self._tensor(frame) for frame in (first, second)]
        interpolate = self.interpolator.restore if restore else self.interpolator
        times = torch.arange(1, count + 1, device=self._sampler.device) / (count + 1)
        for some in times.split(max(1, min(self._batch_size, _PIXELS // (first.shape[0] * first.shape[1])))):
            with hardware.sampling(self._sampler.dtype, self._sampler.device):
                made = interpolate(*(end.expand(len(some), -1, -1, -1) for end in ends), some)
            yield from self._frames(made)

    @torch.no_grad()
    def keep(self, frame: np.ndarray) -> tuple[np.ndarray, bytes]:
        """A frame from its code, and the bytes of that code."""
        with hardware.sampling(self._sampler.dtype, self._sampler.device):
            code = self.autoencoder.encode(self._tensor(frame))
            packed = self.autoencoder.pack(code)
            made = self.autoencoder.decode(self.autoencoder.unpack(packed, code.shape).to(code.device), *frame.shape[:2])
        return next(self._frames(made)), packed

    def _tensor(self, frame: np.ndarray) -> Tensor:
        return to_float(torch.from_numpy(frame)[None, None], self._sampler.device)[:, :, 0]

    def _frames(self, made: Tensor) -> Iterator[np.ndarray]:
        if not torch.isfinite(made).all():
            raise UserError(f"--checkpoint {self._sampler.path}: its frames are not finite; take an earlier one")
        yield from images.to_uint8(made[:, :, None])[:, 0]


def slowed(remaker: Remaker, frames: Iterable[np.ndarray], factor: int) -> Iterator[np.ndarray]:
    """``factor`` times as many frames: number i * factor is frame i as it was, those between are made. The last frame of a scene
    and that of the film are held instead, so that scenes do not melt into each other and the film lasts as long as before."""
    previous = None
    for frame, begins, ends in _scenes(frames):
        if not begins:
            yield from remaker.between(previous, frame, factor - 1)
        yield frame
        if ends:
            yield from [frame] * (factor - 1)
        previous = frame


def _scenes(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool, bool]]:
    """Each frame, whether it is the first of its scene, whether it is the last."""
    held = None
    for frame, begins in with_cuts(frames):
        if held is not None:
            yield *held, begins
        held = frame, begins or held is None
    if held is not None:
        yield *held, True


@dataclass
class Kept:
    """What remains of a film when only its keyframes' codes are kept; counts and bytes."""

    frames: int = 0
    keyframes: int = 0
    raw_bytes: int = 0
    """Of the film's uint8 frames."""
    code_bytes: int = 0
    """Of the codes as they are."""
    deflated_bytes: int = 0
    """Of the codes, each compressed by zlib."""


def from_keyframes(remaker: Remaker, frames: Iterable[np.ndarray], interval: int,
                   kept: Kept) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(made, real) of every frame, after only the code of every ``interval``-th and of a scene's first and last one was kept.

    ``kept`` is filled in as the film goes by; at most ``interval`` + 1 frames are held.
    """
    start, group = None, []  # the last keyframe made from its code, and the real frames since, it included
    for frame, begins, ends in _scenes(frames):
        kept.frames, kept.raw_bytes = kept.frames + 1, kept.raw_bytes + frame.nbytes
        group.append(frame)
        if begins:
            start, group = _kept(remaker, frame, kept), [frame]
            yield start, frame
        elif ends or len(group) == interval + 1:
            end = _kept(remaker, frame, kept)
            yield from zip(chain(remaker.between(start, end, len(group) - 2, restore=True), [end]), group[1:])
            start, group = end, [frame]


def _kept(remaker: Remaker, frame: np.ndarray, kept: Kept) -> np.ndarray:
    made, packed = remaker.keep(frame)
    kept.keyframes, kept.code_bytes = kept.keyframes + 1, kept.code_bytes + len(packed)
    kept.deflated_bytes += len(zlib.compress(packed, 9))
    return made
