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
WAVES = 5  # most waves of a curve round a sprite: in trials those with ten grew spikes


class Paths(nn.Module):
    """Conditions (B, condition) -> for each of ``sprites`` and ``frames`` the map from a frame's coordinates to those of the sprite's
    window, (B, sprites, frames, 2, 3) as ``torch.nn.functional.affine_grid`` takes it.

    A window is ``size`` times as high and wide as the frame, its middle always within the frame. Place, turn and size follow a cosine
    series in time whose terms get smaller, so that paths begin smooth. A path is twice as long as a clip, which is cut from it at a place
    told by the first number of the condition (a latent), as real clips are cut from longer videos: without that, clips of one class kept to
    one path. Each number after that turns one sprite besides, by ``turn`` radians times its value: without that, things that come at any
    angle all lay the same way. Always in float32: places rounded to bfloat16 would show as jitter.
    """

    def __init__(self, condition: int, sprites: int, frames: int, height: int, width: int, size: float, turn: float = 0.0):
        super().__init__()
        self.sprites, self.frames, self.aspect, self.size, self.turn = sprites, frames, height / width, size, turn
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
            turn = 0.2 * turn + self.turn * condition[:, 1:1 + self.sprites, None].float()
            cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
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


def painted_mask(outline: Tensor) -> Tensor:
    """What a network painted, (..., h, w) -> a mask (..., h, w) in float32.

    It begins as a soft disc in the middle of its window and ends before the window's edges, which would show. What is painted counts from
    its mean over that disc, so that no mask can vanish: in trials whole classes lost their thing.
    """
    outline = outline.float()
    y, x = _window(*outline.shape[-2:], outline.device)
    edges = ((1 - y.abs()) / 0.2).clamp(0, 1) * ((1 - x.abs()) / 0.2).clamp(0, 1)
    blob = 2 * (1 - (y.square() + x.square()) / BLOB**2).clamp(-1, 1)
    disc = (blob > 0).float()
    outline = outline - (outline * disc).sum((-2, -1), keepdim=True) / disc.sum().clamp_min(1)
    return torch.sigmoid(outline + blob) * edges


def curve_mask(series: Tensor, height: int, width: int) -> Tensor:
    """Fourier series (..., 1 + 2 * WAVES): mean, cosines, sines -> masks (..., height, width) in float32 of what lies within a curve.

    Its distance from the middle, at every angle, is that of a disc times the exponential of the series: such things are star-convex
    (Schmidt et al. 2018, arXiv 1806.03535), without holes or loose parts. The edge is about a pixel wide wherever it goes, so that, unlike
    what is painted, it never loses its slope.
    """
    series = series.float()
    y, x = _window(height, width, series.device)
    angle = torch.atan2(y, x)
    order = torch.arange(1, WAVES + 1, device=series.device)[:, None, None]
    terms = torch.cat([torch.ones_like(angle)[None], torch.cos(order * angle) / order, torch.sin(order * angle) / order])
    with in_float32(series):
        shown = torch.einsum("...k,khw->...hw", 0.3 * series, terms)
    radius = BLOB * torch.exp(0.5 * torch.tanh(2 * shown))  # within the window
    return torch.sigmoid((radius - torch.hypot(y, x)) * min(height, width))


def cut_out(colours: Tensor, mask: Tensor) -> Tensor:
    """Colours before their tanh (..., 3, h, w) and a mask (..., h, w) -> colours times mask, and the mask, (..., 4, h, w) in float32."""
    mask = mask.unsqueeze(-3)
    return torch.cat([torch.tanh(colours.float()) * mask, mask], -3)


def _window(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates of a window's pixels: y (height, 1) and x (width), each from -1 to 1."""
    line = lambda size: (2 * torch.arange(size, device=device) + 1) / size - 1
    return line(height)[:, None], line(width)


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
