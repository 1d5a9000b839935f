"""Things that move as wholes: each is painted once and carried over a background along a path of places, turns and sizes.

Layers that move (Wang & Adelson 1994), as generators have them since Yang et al. 2017 (LR-GAN, arXiv 1703.01560); carried by spatial
transformers (Jaderberg et al. 2015, arXiv 1506.02025).
"""

from math import pi, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import in_float32

HIDDEN = 128
BLOB = 0.55  # radius of a mask before anything is learnt, where its window reaches from -1 to 1


class Paths(nn.Module):
    """Conditions (B, condition) -> for each of ``sprites`` and ``frames`` the map from a frame's coordinates to those of the sprite's
    window, (B, sprites, frames, 2, 3) as ``torch.nn.functional.affine_grid`` takes it.

    A window is ``size`` times as high and wide as the frame, its middle always within the frame. Place, turn and size follow a cosine
    series in time whose terms get smaller, so that paths begin smooth. A path is twice as long as a clip, which is cut from it at a place
    told by the first number of the condition (a latent), as real clips are cut from longer videos: without that, clips of one class kept
    to one path. Always in float32: places rounded to bfloat16 would show as jitter.
    """

    def __init__(self, condition: int, sprites: int, frames: int, height: int, width: int, size: float):
        super().__init__()
        self.sprites, self.frames, self.aspect, self.size = sprites, frames, height / width, size
        self.layers = nn.ModuleList([nn.Linear(condition, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, sprites * 4 * 2 * frames)])

    def forward(self, condition: Tensor) -> Tensor:
        with in_float32(condition):
            x = condition.float()
            for layer in self.layers[:-1]:
                x = sqrt(2) * F.leaky_relu(layer(x), 0.2)
            series = self.layers[-1](x).view(-1, self.sprites, 4, 2 * self.frames)
            right, down, turn, large = (series @ self._basis(condition[:, 0].float())).unbind(2)
            right, down = torch.tanh(right), torch.tanh(down)
            scale = torch.exp(-0.1 * large) / self.size
            cos, sin = scale * torch.cos(0.2 * turn), scale * torch.sin(0.2 * turn)
            # A turn is one in pixels: the coordinates of both axes reach from -1 to 1, whatever the aspect ratio.
            rows = [(cos, sin * self.aspect), (-sin / self.aspect, cos)]
            return torch.stack([torch.stack([a, b, -a * right - b * down], -1) for a, b in rows], -2)

    def _basis(self, place: Tensor) -> Tensor:
        """The terms of the series at each frame, (B, 1, 2 * frames, frames). ``place`` (B,), normally distributed, says where in the path
        the clip begins."""
        time = (torch.arange(self.frames, device=place.device) + 0.5) / self.frames
        time = (time + torch.special.ndtr(place)[:, None]) / 2
        order = torch.arange(2 * self.frames, device=place.device)[:, None]
        return (torch.cos(pi * order * time[:, None]) / (1 + order))[:, None]


def cut_out(values: Tensor) -> Tensor:
    """What a network painted, (..., 4, h, w) -> colours times mask, and the mask, (..., 4, h, w) in float32.

    A mask begins as a soft disc in the middle of its window and ends before the window's edges, which would show. What is painted on it
    counts from its mean over that disc, so that no mask can vanish: in trials whole classes lost their thing.
    """
    values = values.float()
    height, width = values.shape[-2:]
    line = lambda size: (2 * torch.arange(size, device=values.device) + 1) / size - 1
    y, x = line(height)[:, None], line(width)
    edges = ((1 - y.abs()) / 0.2).clamp(0, 1) * ((1 - x.abs()) / 0.2).clamp(0, 1)
    blob = 2 * (1 - (y.square() + x.square()) / BLOB**2).clamp(-1, 1)
    disc, outline = (blob > 0).float(), values[..., 3:, :, :]
    outline = outline - (outline * disc).sum((-2, -1), keepdim=True) / disc.sum().clamp_min(1)
    mask = torch.sigmoid(outline + blob) * edges
    return torch.cat([torch.tanh(values[..., :3, :, :]) * mask, mask], -3)


def carry(pictures: Tensor, paths: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Sprites (B, N, 4, h, w) of :func:`cut_out` on their paths (B, N, T, 2, 3), later ones in front: colours times mask (B, 3, T, height,
    width) and the mask (B, 1, T, height, width), nothing where no sprite is."""
    batch, sprites, frames = paths.shape[:3]
    with in_float32(pictures):
        grid = F.affine_grid(paths.flatten(0, 2), (batch * sprites * frames, 4, height, width), align_corners=False)
        seen = F.grid_sample(pictures.flatten(0, 1).repeat_interleave(frames, 0), grid, align_corners=False)
    seen = seen.view(batch, sprites, frames, 4, height, width).transpose(2, 3)
    laid = seen[:, 0]
    for sprite in seen.unbind(1)[1:]:
        laid = laid * (1 - sprite[:, 3:]) + sprite
    return laid[:, :3], laid[:, 3:]
