"""Damages of clips, to see which of them a metric notices: a metric that prefers a damaged set to another set of reals
measures something else (so Ge et al. 2024, arXiv 2404.12391, found FVD to rise little with motion badly damaged).

A damage takes clips uint8 ``(B, T, H, W, 3)``, their numbers int64 ``(B,)`` and a seed, and gives as many of the same
shape. What it does to a clip depends on the clip, its number and the seed, not on its batch. """

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from utils.seeds import numpy_generator

BLUR, NOISE = 0.02, 10.0  # standard deviations: of the short side, of 255 levels


def frozen(clips: Tensor, numbers: Tensor, seed: int = 0) -> Tensor:
    """Every frame is the first: no motion."""
    return clips[:, :1].expand_as(clips).clone()


def backwards(clips: Tensor, numbers: Tensor, seed: int = 0) -> Tensor:
    """The last frame first: the same frames and changes, causes after effects."""
    return clips.flip(1)


def shuffled(clips: Tensor, numbers: Tensor, seed: int = 0) -> Tensor:
    """The frames in a random order, never their own."""
    def shuffle(clip: Tensor, generator: np.random.Generator) -> Tensor:
        order = generator.permutation(len(clip))
        if (order == np.arange(len(clip))).all():
            order = np.roll(order, 1)
        return clip[torch.from_numpy(order)]
    return _each(shuffle, clips, numbers, seed)


def blur(clips: Tensor, numbers: Tensor, seed: int = 0) -> Tensor:
    """Gaussian, sigma 2 % of the short side and at least 1 pixel."""
    sigma = max(1.0, BLUR * min(clips.shape[2:4]))
    smooth = lambda frame: cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return torch.from_numpy(np.stack([smooth(frame) for frame in clips.cpu().flatten(0, 1).numpy()])).view(clips.shape)


def noise(clips: Tensor, numbers: Tensor, seed: int = 0) -> Tensor:
    """Gaussian, sigma 10 of 255, new in every frame."""
    def add(clip: Tensor, generator: np.random.Generator) -> Tensor:
        values = clip.numpy() + NOISE * generator.standard_normal(clip.shape, dtype=np.float32)
        return torch.from_numpy(values.round().clip(0, 255).astype(np.uint8))
    return _each(add, clips, numbers, seed)


DAMAGES: dict[str, Callable[..., Tensor]] = {
    "frozen": frozen,
    "shuffled": shuffled,
    "reversed": backwards,
    "blur": blur,
    "noise": noise,
}


def mode_drop(thumbnails: Tensor, seed: int = 0, keep: float = 0.5) -> Tensor:
    """What stands for each clip when a part of the variety is lost: int64 ``(N,)``, the numbers of clips to show.

    ``thumbnails``: ``(N, d)``, small pictures or mean colours. Kept are the share ``keep`` of clips that lie nearest to a
    random one of them, at least one; they stand for themselves, and in turn for the others. """
    if thumbnails.dim() != 2 or not len(thumbnails) or not 0 < keep <= 1:
        raise ValueError(f"thumbnails must be (N, d) and a share between 0 and 1, got {tuple(thumbnails.shape)} and {keep}")
    generator = numpy_generator(seed, "mode drop")
    points = thumbnails.double()
    distances = (points - points[int(generator.integers(len(points)))]).norm(dim=1)
    nearest = distances.argsort(stable=True)[:max(1, round(keep * len(points)))]
    shown = torch.arange(len(points))
    lost = torch.ones(len(points), dtype=torch.bool)
    lost[nearest] = False
    stands = nearest[torch.from_numpy(generator.permutation(len(nearest)))]
    shown[lost] = stands[torch.arange(int(lost.sum())) % len(stands)]
    return shown


def _each(damage: Callable[[Tensor, np.random.Generator], Tensor], clips: Tensor, numbers: Tensor, seed: int) -> Tensor:
    """Clip by clip, each with the randomness of its number."""
    if len(numbers) != len(clips):
        raise ValueError(f"{len(clips)} clips have {len(numbers)} numbers")
    name = damage.__name__
    return torch.stack([damage(clip, numpy_generator(seed, "damage", name, number))
                        for clip, number in zip(clips.cpu(), numbers.tolist())])
