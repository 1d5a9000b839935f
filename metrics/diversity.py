"""Diversity: how different the clips of a set are from each other, to be read beside the same of real clips. A generator
that has collapsed to one clip has 0; noise has more than any footage, so that more is not always better.

The value is the root of the mean squared distance between all pairs of clips (cf. the pairwise MS-SSIM of Odena et al.
2017, arXiv 1610.09585, section 4.2), on thumbnails: each frame averaged down to 32x32 pixels, RGB in [0, 1], frame t
compared with frame t. Mean over pairs and values, so that 0.1 is a difference of 25 levels of 255. It sees layout, colour
and coarse motion, no texture. Since the mean squared distance of all pairs is twice the variance (unbiased), no pair is
ever formed."""

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.collect import check_clips
from metrics.protocol import Score

SIDE = 32
KEPT_BYTES = 2**28
BYTES_OF_FRAME = 2 * 3 * SIDE**2


class Diversity:
    """Collects clips as they come, all of one length. Memory: the mean clip in float64 (25 kB per frame); and the thumbnails
    in float16 (6 kB per frame) of the first clips, as many as fit ``kept_bytes``, for :meth:`resampled` and :meth:`points`. """

    needs_frames = 1

    def __init__(self, kept_bytes: int = KEPT_BYTES):
        self.kept_bytes = kept_bytes
        self._all = _Spread()
        self._kept: list[Tensor] = []

    def look(self, clips: Tensor, first: int) -> dict[str, Tensor]:
        """clips: uint8 ``(B, T, H, W, 3)``, numbered ``first``, ``first + 1`` ... -> "thumbnails" float32 ``(B, T * 3072)``."""
        check_clips(clips, self.needs_frames)
        small = [F.adaptive_avg_pool2d(clip.movedim(-1, 1).float(), SIDE).flatten() / 255 for clip in clips.cpu()]
        return {"thumbnails": torch.stack(small)}

    def add(self, payload: dict[str, Tensor]) -> None:
        """What ``look`` made of the next clips. ValueError if they are of another length than those before."""
        thumbnails = payload["thumbnails"]
        if len(self._all.mean) not in (1, thumbnails.shape[1]):
            raise ValueError(f"{len(thumbnails)} clips of {thumbnails.shape[1]} values after clips of {len(self._all.mean)}")
        room = self.kept_bytes // (2 * thumbnails.shape[1]) - self.rows
        if room > 0 or not self._kept:
            self._kept.append(thumbnails[:max(room, 0)].half())
        self._all.add(thumbnails.double())

    @property
    def rows(self) -> int:
        """Clips that :meth:`resampled` can draw from: the first of all."""
        return sum(len(part) for part in self._kept)

    @property
    def value(self) -> float | None:
        """Over all clips; None with fewer than 2."""
        return self._all.distance()

    def score(self) -> Score:
        return Score(self.value)

    def points(self) -> Tensor:
        """The thumbnails of kept clips, float32 ``(rows, T * 3072)``."""
        self._kept = [torch.cat(self._kept)]
        return self._kept[0].float()

    def resampled(self, numbers: Tensor) -> float:
        """The value of kept clips by number, int64 ``(M,)``, some of them several times, as a bootstrap draws them. Pairs of
        a clip with itself are not counted, so that repetition makes nothing look less diverse; NaN if there is no other."""
        self._kept = [torch.cat(self._kept)]
        times = torch.bincount(numbers, minlength=self.rows).float()
        drawn = times.nonzero()[:, 0]
        kept, times, squared = self._kept[0], times[drawn], torch.zeros((), dtype=torch.float64)
        # Over all pairs, sum n_i n_j |x_i - x_j|^2 = 2 N sum n_i |x_i|^2 - 2 |sum n_i x_i|^2: no pair is formed here either.
        for columns in range(0, kept.shape[1], 1024):
            block = kept[drawn, columns:columns + 1024].float()
            block = block - block[0]  # small numbers, and none where all are alike: less to cancel
            squared += 2 * (len(numbers) * (times @ block.square()).double().sum() - (times @ block).double().square().sum())
        pairs = len(numbers) ** 2 - times.double().square().sum()
        return (squared.clamp(min=0) / kept.shape[1] / pairs).sqrt().item()


class _Spread:
    """Sum of squared differences from the mean, streamed in float64 (Chan et al. 1983)."""

    def __init__(self):
        self.count, self.squares, self.mean = 0, 0.0, torch.zeros(1, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """values: float64 ``(B, D)``."""
        mean, count = values.mean(dim=0), self.count + len(values)
        shift = mean - self.mean
        self.squares += (values - mean).square().sum().item() + shift.square().sum().item() * self.count * len(values) / count
        self.mean, self.count = self.mean + shift * (len(values) / count), count

    def distance(self) -> float | None:
        return (2 * self.squares / (self.count - 1) / len(self.mean)) ** 0.5 if self.count > 1 else None
