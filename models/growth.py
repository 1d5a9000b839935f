"""Progressive growing (Karras et al. 2018, arXiv 1710.10196, section 2): networks that work at 1/2^level of the frame's height and width.

Every layer is there from the start, so that names in a checkpoint do not depend on how far the networks have grown; a layer of a level
that is not reached yet is not called, gets no gradient and stays as it is.
"""

from collections.abc import Callable
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from models.shape import ClipShape
from utils.errors import UserError


class Growing(nn.Module):
    """A network that works at one level at a time. Level 0 is the full frame, where it stands unless told otherwise."""

    level, alpha = 0, 1.0

    def set_growth(self, level: int, alpha: float) -> None:
        """Work at ``level``; ``alpha`` in [0, 1] is the share of its newest layers beside what level + 1 alone would give."""
        self.level, self.alpha = level, alpha


def halve(video: Tensor, times: int = 1) -> Tensor:
    """(B, C, T, H, W), or without B, -> (B, C, T, H / 2^times, W / 2^times), means of squares."""
    return F.avg_pool3d(video, (1, 2**times, 2**times)) if times else video


def double(video: Tensor, times: int = 1) -> Tensor:
    """(B, C, T, H, W) -> (B, C, T, H * 2^times, W * 2^times), each pixel a square."""
    return F.interpolate(video, scale_factor=(1, 2**times, 2**times), mode="nearest") if times else video


def fade(low: Tensor, high: Tensor, alpha: float) -> Tensor:
    """``low`` at ``alpha`` 0, ``high`` at 1."""
    return low + alpha * (high - low)


def shrink(video: Tensor, level: int, alpha: float) -> Tensor:
    """Real clips (B, 3, T, H, W) as generated ones look at ``level``: shrunk, and while it fades in, mixed with the level before."""
    video = halve(video, level)
    return video if alpha == 1 else fade(double(halve(video)), video, alpha)


def check_levels(shape: ClipShape, possible: Callable[[ClipShape], int], family: str, depth: str, other: str = "") -> int:
    """``shape.grow`` halvings to start from, if the network has layers for them: it has for ``possible(shape)``. UserError that names what
    would do otherwise: fewer halvings, ``other`` if there is anything, the next larger frame, and where that is not enough the flags
    ``depth``."""
    if shape.grow <= possible(shape):
        return shape.grow
    remedies = [f"--grow_from {possible(shape)}", *([other] if other else []), _larger(shape, possible) or f"a larger {depth}"]
    raise UserError(f"--grow_from {shape.grow}: at --height {shape.height} --width {shape.width} {family} can start at most "
                    f"{possible(shape)} halvings below the full frame; take {', or '.join(remedies)}")


def _larger(shape: ClipShape, possible: Callable[[ClipShape], int]) -> str:
    """The flags of the least multiple by a power of two that has the levels; nothing where none has them."""
    for times in range(1, 6):
        larger = replace(shape, height=shape.height << times, width=shape.width << times)
        try:
            if possible(larger) >= shape.grow:
                return f"--height {larger.height} --width {larger.width}"
        except UserError:  # such a frame may ask for another number of frames
            continue
    return ""
