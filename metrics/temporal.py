"""Profiles over time: what happens to brightness, contrast, sharpness and motion from the first frame of a clip to its last.
Where a generator fades, blurs or comes to rest, its profile leaves that of real clips.

All in levels of 255, on luma (ITU-R BT.601) but for the change:
- brightness: the mean of a frame;
- contrast: the standard deviation of its pixels;
- sharpness: the mean absolute Laplacian (of the 4 neighbours, border pixels repeated);
- change: the mean absolute difference of RGB from the frame before, NaN at the first frame, which has none before it.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.collect import check_clips

NAMES = ("brightness", "contrast", "sharpness", "change")
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Profile:
    """One quantity by frame index, over clips: float64 ``(T,)`` each."""

    mean: np.ndarray
    deviation: np.ndarray
    """Standard deviation between clips, of the clips at hand (not N - 1)."""


class Profiles:
    """Collects profiles from clips as they come, all of one length; memory 64 bytes per frame index, however many clips."""

    needs_frames = 1

    def __init__(self):
        self.clips = 0
        self._mean = self._squares = None

    def look(self, clips: Tensor, first: int) -> dict[str, Tensor]:
        """clips: uint8 ``(B, T, H, W, 3)`` -> each of ``NAMES``, float64 ``(B, T)``; whichever number the first clip has."""
        check_clips(clips, self.needs_frames)
        found = torch.stack([_profile(clip.float()) for clip in clips.cpu()])
        return dict(zip(NAMES, found.double().unbind(1)))

    def add(self, payload: dict[str, Tensor]) -> None:
        """What ``look`` made of the next clips. ValueError if they are of another length than those before."""
        values = torch.stack([payload[name] for name in NAMES], dim=1)  # (B, 4, T)
        if self.clips == 0:
            self._mean, self._squares = values.new_zeros(2, *values.shape[1:])
        if values.shape[1:] != self._mean.shape:
            raise ValueError(f"clips of {values.shape[2]} frames after clips of {self._mean.shape[1]}")
        count, mean = self.clips + len(values), values.mean(dim=0)
        shift = mean - self._mean  # sums of squares merged as in Chan et al. 1983
        self._squares = self._squares + (values - mean).square().sum(dim=0) + shift.square() * (self.clips * len(values) / count)
        self._mean, self.clips = self._mean + shift * (len(values) / count), count

    def profiles(self) -> dict[str, Profile]:
        """Each of ``NAMES``. ValueError if no clip was added."""
        if self.clips == 0:
            raise ValueError("no clips were added")
        deviation = (self._squares / self.clips).sqrt()
        return {name: Profile(mean.numpy(), spread.numpy()) for name, mean, spread in zip(NAMES, self._mean, deviation)}


def _profile(clip: Tensor) -> Tensor:
    """float ``(T, H, W, 3)`` -> ``(4, T)``."""
    luma = clip @ clip.new_tensor(_LUMA)
    kernel = luma.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    laplacian = F.conv2d(F.pad(luma[:, None], (1, 1, 1, 1), mode="replicate"), kernel)
    variance, mean = torch.var_mean(luma, dim=(1, 2), correction=0)
    change = (clip[1:] - clip[:-1]).abs().mean(dim=(1, 2, 3))
    return torch.stack([mean, variance.sqrt(), laplacian.abs().mean(dim=(1, 2, 3)), F.pad(change, (1, 0), value=torch.nan)])
