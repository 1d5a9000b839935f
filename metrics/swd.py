"""Sliced Wasserstein distance between patches of Laplacian pyramids (Karras et al. 2018, arXiv 1710.10196, section 5).

Each frame becomes a Laplacian pyramid from full size down to a short side of at least 16 pixels. From every level 128
patches of 7x7 pixels are drawn. Level by level the patches of the real frames and of the generated ones are normalised
by mean and standard deviation of each colour channel and compared along 512 random directions: a small distance at fine
levels means similar texture and sharpness, at coarse levels similar layout. Values are multiplied by 1000. No network,
no weights.

As published, each side is normalised by its own statistics, so that a shift of colour or contrast goes unseen;
``normalise="real"`` takes those of the real side for both and sees it. Two choices are ours: the n-th real and the n-th
generated frame share patch positions (a set against itself is exactly 0), and frames of any shape are taken, an odd
side n halving to (n + 1) / 2. """

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.collect import Draw, Rows, check_clips
from metrics.protocol import Score
from utils.seeds import numpy_generator, torch_generator

PATCH = 7
PATCHES_PER_FRAME = 128
REPEATS, DIRECTIONS, RESAMPLED_DIRECTIONS, RESAMPLED_PATCHES = 4, 128, 32, 32
COARSEST = 16
_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def laplacian_pyramid(frames: Tensor) -> list[Tensor]:
    """float ``(B, C, H, W)`` -> levels from fine to coarse, the last a small image, all others differences (Burt &
    Adelson 1983).

    Halves while the short side stays at least 16. ValueError if H or W is below 7, a patch.
    """
    if min(frames.shape[-2:]) < PATCH:
        raise ValueError(f"SWD needs frames of at least {PATCH}x{PATCH} pixels, its patch; "
                         f"got {frames.shape[-2]}x{frames.shape[-1]}")
    levels = [frames]
    while (min(levels[-1].shape[-2:]) + 1) // 2 >= COARSEST:
        smaller = _down(levels[-1])
        levels[-1] = levels[-1] - _up(smaller, levels[-1].shape[-2:])
        levels.append(smaller)
    return levels


def sliced_wasserstein(a: Tensor, b: Tensor, seed: int = 0, repeats: int = REPEATS,
                       directions: int = DIRECTIONS) -> float:
    """Mean over random unit directions of the 1-D Wasserstein-1 distance between the projections of two point sets.

    a, b: float32 ``(M, D)``, as many points in both (ValueError otherwise). Not yet multiplied by 1000.
    """
    if a.shape != b.shape or a.dim() != 2:
        raise ValueError(f"point sets must both be (M, D), got {tuple(a.shape)} and {tuple(b.shape)}")
    distances = []
    for repeat in range(repeats):
        thetas = _directions(seed, repeat, directions, a.shape[1])
        # NumPy sorts floats with vector instructions: 40 times faster than torch.sort on a CPU.
        sides = [np.sort((thetas @ points.T).numpy(), axis=1) for points in (a, b)]
        distances.append(np.abs(sides[0] - sides[1]).mean(dtype=np.float64))
    return float(np.mean(distances))


class Patches:
    """Collects patches of the clips that ``draw`` keeps: 75 kB per frame and level. See :class:`metrics.collect.Collector`."""

    needs_frames = 1

    def __init__(self, draw: Draw = Draw()):
        self.draw = draw
        self.clips = 0
        self._rows = Rows()

    def look(self, clips: Tensor, first: int) -> dict[str, Tensor]:
        """Patches of each pyramid level by its name, ``HxW``: float32 ``(clips kept, K * 128, 3, 49)``, K frames of each clip."""
        check_clips(clips, self.needs_frames)
        found: dict[str, list[Tensor]] = {}
        for row, clip in enumerate(clips.cpu()):
            if self.draw.keeps(first + row):
                chosen = self.draw.frames(first + row, clip.shape[0] - self.needs_frames + 1)
                pyramid = laplacian_pyramid(self._images(clip, chosen).movedim(-1, 1))
                for name, patches in self._cut(pyramid, (first + row) * len(chosen)).items():
                    found.setdefault(name, []).append(patches)
        return {name: torch.stack(patches) for name, patches in found.items()} | {"clips": torch.zeros(len(clips))}

    def add(self, seen: dict[str, Tensor]) -> None:
        self.clips += len(seen["clips"])
        self._rows.append({name: patches for name, patches in seen.items() if name != "clips"})

    def update(self, clips: Tensor) -> None:
        """Look at the clips that follow, uint8 ``(B, T, H, W, 3)``, and keep what is seen."""
        self.add(self.look(clips, self.clips))

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def levels(self) -> list[str]:
        """Level names, ``HxW``, fine to coarse."""
        return list(self._rows.parts)

    def points(self, level: str) -> Tensor:
        """The patches of a level, float32 ``(frames * 128, 3, 49)``."""
        return self._rows.get(level).flatten(0, 1)

    def select(self, rows: Tensor) -> "Patches":
        part = type(self)(self.draw)
        part._rows, part.clips = self._rows.select(rows), len(rows)
        return part

    def _images(self, clip: Tensor, chosen: Tensor) -> Tensor:
        """uint8 ``(T, H, W, 3)`` -> float ``(K, H, W, 3)``."""
        return clip[chosen].float()

    def _cut(self, pyramid: list[Tensor], frame: int) -> dict[str, Tensor]:
        """Levels ``(K, 3, H, W)`` of the frames from number ``frame`` -> patches ``(K * 128, 3, 49)`` of each."""
        found: dict[str, list[Tensor]] = {}
        for row in range(len(pyramid[0])):
            generator = numpy_generator(self.draw.seed, "patches of frame", frame + row)
            for level in pyramid:
                height, width = level.shape[-2:]
                top = generator.integers(height - PATCH + 1, size=PATCHES_PER_FRAME)
                left = generator.integers(width - PATCH + 1, size=PATCHES_PER_FRAME)
                windows = level[row].unfold(1, PATCH, 1).unfold(2, PATCH, 1)  # a view: (3, H-6, W-6, 7, 7)
                patches = windows[:, torch.from_numpy(top), torch.from_numpy(left)].transpose(0, 1).flatten(2)
                found.setdefault(f"{height}x{width}", []).append(patches)
        return {name: torch.cat(patches) for name, patches in found.items()}


class MotionPatches(Patches):
    """The same on differences between consecutive frames, for SWD of the motion; clips need at least 2 frames."""

    needs_frames = 2

    def _images(self, clip: Tensor, chosen: Tensor) -> Tensor:
        return clip[chosen + 1].float() - clip[chosen].float()


def swd(real: Patches, fake: Patches, normalise: str = "each") -> Score:
    """SWD x 1000: the mean over levels, and each level in ``parts``.

    ``normalise``: "each" side by its own mean and standard deviation per colour channel (Karras et al.), or both by
    those of "real". Both must hold equally many frames, of one size (ValueError). """
    if real.levels != fake.levels or real.rows != fake.rows or not real.rows:
        raise ValueError(f"{real.rows} real clips with levels {real.levels}, {fake.rows} generated with {fake.levels}: "
                         f"must agree")
    parts = {}
    for level in real.levels:
        a, b = _compared(real.points(level), fake.points(level), normalise)
        parts[level] = 1000 * sliced_wasserstein(a, b, real.draw.seed)
    dropped = f"patches of {real.rows} of {real.clips} clips kept" if real.rows < real.clips else ""
    return Score(float(np.mean(list(parts.values()))), parts, dropped)


def resampler(real: Patches, fake: Patches, normalise: str = "each") -> Callable[[Tensor, Tensor], float]:
    """For intervals: the metric of chosen rows (clips), int64, as many of both sides, by a quarter of the patches and a sixteenth of the
    directions. Colour channels are projected once, apart from each other, so that a choice has only to normalise and to sort. Memory:
    12 kB per clip, level and frame."""
    levels = [[_Projected(side, level) for side in (real, fake)] for level in real.levels]

    def at(rows: Tensor, others: Tensor) -> float:
        found = []
        for a, b in levels:
            statistics = a.statistics(rows)
            sides = a.points(rows, statistics), b.points(others, statistics if normalise == "real" else b.statistics(others))
            x, y = (np.sort(points.T.numpy(), axis=1) for points in sides)
            found.append(1000 * np.abs(x - y).mean(dtype=np.float64))
        return float(np.mean(found))
    return at


class _Projected:
    """Some patches of every clip along fixed directions, each colour channel by itself."""

    def __init__(self, side: Patches, level: str):
        clips = side.points(level).unflatten(0, (side.rows, -1))[:, ::PATCHES_PER_FRAME // RESAMPLED_PATCHES]
        thetas = _directions(side.draw.seed, 0, RESAMPLED_DIRECTIONS, 3 * PATCH * PATCH).unflatten(1, (3, -1))
        self._projections = torch.einsum("npcx,dcx->npcd", clips, thetas)
        self._totals = thetas.sum(dim=2).T  # of a channel's directions: by this a mean shifts a projection
        wide = clips.double()
        self._sums = torch.stack([wide.sum(dim=(1, 3)), wide.square().sum(dim=(1, 3))])
        self._count = wide[0, :, 0].numel()

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel over these clips, ``(3,)``."""
        mean, square = self._sums[:, rows].sum(dim=1) / (self._count * len(rows))
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        return mean.float(), torch.where(deviation > 0, deviation, 1).float()

    def points(self, rows: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
        """Projections of these clips' normalised patches, ``(N, directions)``."""
        mean, deviation = (values[:, None] for values in statistics)
        weights = (1 / deviation).expand_as(self._totals)
        return torch.einsum("npcd,cd->npd", self._projections[rows], weights).flatten(0, 1) - (mean * weights * self._totals).sum(dim=0)


def _compared(a: Tensor, b: Tensor, normalise: str) -> tuple[Tensor, Tensor]:
    """Patches ``(M, 3, 49)`` of both sides -> normalised points ``(M, 147)``."""
    statistics = _statistics(a)
    return _normalised(a, statistics), _normalised(b, statistics if normalise == "real" else _statistics(b))


def _directions(seed: int, repeat: int, count: int, dimensions: int) -> Tensor:
    """Random unit vectors, float32 ``(count, dimensions)``."""
    thetas = torch.randn(count, dimensions, generator=torch_generator(seed, "swd directions", repeat))
    return thetas / thetas.norm(dim=1, keepdim=True)


def _statistics(points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per colour channel of patches ``(M, 3, 49)``; a flat channel is left unscaled."""
    variance, mean = torch.var_mean(points.double(), dim=(0, 2), correction=0, keepdim=True)
    deviation = variance.sqrt()
    return mean.float(), torch.where(deviation > 0, deviation, 1).float()


def _normalised(points: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    mean, deviation = statistics
    return ((points - mean) / deviation).flatten(1)


def _down(images: Tensor) -> Tensor:
    """Binomial blur, then every second row and column; ``(B, C, H, W)``, odd sides round up."""
    taps = torch.tensor(_TAPS, dtype=images.dtype)
    planes = F.pad(images.flatten(0, 1)[:, None], (2, 2, 2, 2), mode="reflect")
    planes = F.conv2d(F.conv2d(planes, taps.view(1, 1, 5, 1), stride=(2, 1)), taps.view(1, 1, 1, 5), stride=(1, 2))
    return planes[:, 0].unflatten(0, images.shape[:2])


def _up(images: Tensor, size) -> Tensor:
    """Zeros between the pixels, then four times the binomial blur; to ``size`` (H, W)."""
    taps = 2 * torch.tensor(_TAPS, dtype=images.dtype)
    planes = images.new_zeros(images.shape[0] * images.shape[1], 1, *size)
    planes[:, 0, ::2, ::2] = images.flatten(0, 1)
    planes = F.pad(planes, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(planes, taps.view(1, 1, 5, 1)), taps.view(1, 1, 1, 5))[:, 0].unflatten(0, images.shape[:2])
