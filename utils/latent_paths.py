"""Paths through a generator's latent space N(0, I) for films of any length.

The latent of a frame is computed from its number alone, so a film can be streamed, begun anywhere, and cut into batches
at will.
"""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

PathKind = Literal["slerp", "walk", "loop"]
# A loop through fewer keypoints would hardly leave its start: the spline's weights reach over four.
_MIN_LOOP_KEYPOINTS = 4


class LatentPath:
    """A path through random keypoints, ``period`` frames apart.

    ``slerp``: from keypoint to keypoint along great arcs at constant speed (Shoemake 1985); lengths are interpolated
    linearly, so every point keeps a length that N(0, I) would give. ``walk``: a smooth random walk, white noise under a
    uniform cubic B-spline scaled to unit variance, so every point is exactly N(0, I), and velocity and acceleration are
    continuous. ``loop``: the same, closed: frame ``num_frames`` would be frame 0 again, with the same velocity.

    ``keypoint(k)`` returns latent number ``k``, (latent_dim,), and must always return the same for the same ``k``.
    """

    def __init__(self, kind: PathKind, keypoint: Callable[[int], Tensor], period: float, num_frames: int):
        if kind not in get_args(PathKind) or period <= 0 or num_frames < 1:
            raise ValueError(f"no path of kind {kind!r} with period {period} over {num_frames} frames")
        self._kind = kind
        self._keypoint = lru_cache(maxsize=16)(lambda index: keypoint(index).double())
        self._keypoints_per_frame = 1 / period
        if kind == "loop":
            self._loop_keypoints = max(_MIN_LOOP_KEYPOINTS, round(num_frames / period))
            self._keypoints_per_frame = self._loop_keypoints / num_frames

    def at(self, frames: Iterable[int]) -> Tensor:
        """Latents (len(frames), latent_dim), float32, of the frames with these numbers, in any order."""
        return torch.stack([self._one(frame * self._keypoints_per_frame) for frame in frames]).float()

    def _one(self, position: float) -> Tensor:
        before = math.floor(position)
        t = position - before
        if self._kind == "slerp":
            return slerp(self._keypoint(before), self._keypoint(before + 1), t)
        weights: dict[int, float] = {}
        spline = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        for offset, weight in enumerate(spline, start=-1):
            index = before + offset
            if self._kind == "loop":
                index %= self._loop_keypoints
            weights[index] = weights.get(index, 0.0) + weight
        # A walk's first frames reach back to keypoint -1, which is as good a number as any.
        total = sum(weight * self._keypoint(index) for index, weight in weights.items())
        return total / math.sqrt(sum(weight**2 for weight in weights.values()))


class Crossing:
    """The way from latent ``start`` to latent ``end`` (latent_dim,), both included, along one great arc over ``num_frames`` frames."""

    def __init__(self, start: Tensor, end: Tensor, num_frames: int):
        self._start, self._end, self._last = start.double(), end.double(), max(1, num_frames - 1)

    def at(self, frames: Iterable[int]) -> Tensor:
        """Latents (len(frames), latent_dim), float32, of the frames with these numbers, in any order."""
        return torch.stack([slerp(self._start, self._end, frame / self._last) for frame in frames]).float()


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """The point at share ``t`` of the way from ``start`` to ``end``, (latent_dim,): on the great arc, length linear."""
    length_start, length_end = start.norm(), end.norm()
    start, end = start / length_start, end / length_end
    angle = torch.acos((start @ end).clamp(-1, 1))
    if angle.sin() < 1e-6:  # (nearly) parallel: no arc is singled out
        direction = (1 - t) * start + t * end
    else:
        direction = (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / angle.sin()
    return direction * ((1 - t) * length_start + t * length_end)
