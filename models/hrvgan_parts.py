"""What HRVGAN's networks are made of: their settings, the sizes that follow from these, blocks, first values."""

from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from models.growth import check_levels
from models.layers import Conv3d, enlarge, norm_layers
from models.shape import ClipShape, check_size
from utils.errors import UserError


@dataclass
class HRVGANConfig:
    """Settings of the HRVGAN networks. Resolution level 0 is the full frame, level k is 2^k times smaller."""

    may_be_zero = ("time_doublings", "g_mapping", "sprites", "sprite_turn")

    latent_dim: int = 128
    """Size of the latent vector."""
    class_dim: int = 64
    """Size of the learnt vector of a class that goes with the latent; nothing when there is one class."""
    g_width: int = 16
    """Generator channels at full resolution."""
    d_width: int = 16
    """Critic channels at full resolution."""
    growth: int = 2
    """Channels are multiplied by this at every halving of the resolution."""
    max_width: int = 128
    """Most channels anywhere."""
    depth: int | None = None
    """Doublings of height and width; as many as leave a first grid with a short side of 4 to 7 if not given."""
    time_doublings: int | None = None
    """Doublings of the number of frames, the earliest of all; as many as leave 2 or 3 frames if not given."""
    g_mapping: int = 0
    """Width of two layers that mix latent and class before they go to the generator, which is given their output and both; none if 0."""
    kernel_frames: Literal[1, 3] = 3
    """Frames that convolutions span at the fine levels, where the number of frames stays; with 1 frames share their movement at the coarse
    levels alone (as Xie et al. 2018, arXiv 1712.04851, arrange it for recognition)."""
    g_norm: Literal["batch", "group"] = "batch"
    """What class and latent scale and shift in the generator."""
    d_norm: Literal["none", "layer", "group"] = "none"
    """Normalisation in the critic, always within a clip: statistics of a batch do not go with gradient penalties."""
    g_upsample: Literal["nearest", "trilinear"] = "trilinear"
    """How the generator doubles the resolution."""
    g_up: Literal["first", "between"] = "first"
    """Where a block of the generator does it: before both convolutions, or between them, in less than half the arithmetic."""
    g_padding: Literal["zeros", "replicate"] = "zeros"
    """What the generator's convolutions see beyond the clip: zeros, which leave faint lines along the edges, or the edge continued."""
    sprites: int = 0
    """Things that move as wholes over a still background, in place of a film made by 3-D convolutions; none if 0. For cameras that
    stand."""
    sprite_size: float = 0.6
    """Height and width of the window that a sprite is painted in, as a share of the frame's."""
    sprite_turn: float = 0.0
    """Radians (one standard deviation) by which the latent turns each sprite, whatever its path, for things seen at any angle."""
    sprite_outline: Literal["painted", "curve"] = "painted"
    """How sprites end: where the mask does that is painted beside their colours, or at a smooth curve round their middle, in one piece and
    without holes, with colours that change as smoothly."""
    sprite_class: Literal["all", "thing"] = "all"
    """What the class decides where there are sprites: all that is shown, or of each thing outline, light and path, so that its colour and
    the background are the latent's alone. For classes that neither of these tells."""
    d_pool: Literal["mean", "max"] = "mean"
    """How a block of the critic halves the resolution; the shortcut beside it always takes means, so that every pixel has a slope."""
    d_minibatch_std: bool = True
    """Show the critic the variety of the batch."""


class Plan:
    """Sizes at every level, the same for both networks: ``channels(width, config)[k]``, and from level k + 1 to level k ``strides[k]``
    (t, h, w) and ``spans[k]``, the frames of a kernel; ``grid`` is (t, h, w) at the coarsest level."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape):
        self.depth, doublings = depths(config, shape)
        self.strides = [(2 if level >= self.depth - doublings else 1, 2, 2) for level in range(self.depth)]
        self.spans = [kernel_span(3 if level >= self.depth - max(doublings, 1) else config.kernel_frames, shape.frames)
                      for level in range(self.depth)]
        self.grid = (shape.frames >> doublings, shape.height >> self.depth, shape.width >> self.depth)
        fewer = f"--model.time_doublings {self.depth - shape.grow}" if shape.grow < self.depth else ""
        self.grow = check_levels(shape, partial(_levels, config), "hrvgan", "--model.depth", fewer)

    def channels(self, width: int, config: HRVGANConfig) -> list[int]:
        return [min(width * config.growth**level, config.max_width) for level in range(self.depth + 1)]


def depths(config: HRVGANConfig, shape: ClipShape) -> tuple[int, int]:
    """Doublings of height and width, and of time; UserError that names what works where the size does not."""
    depth = check_size(shape.height, shape.width, config.depth)
    return depth, check_frames(shape.frames, config.time_doublings, depth)


def _levels(config: HRVGANConfig, shape: ClipShape) -> int:
    """How many halvings below the full frame growing can begin: the first levels double the frames, which must be complete."""
    depth, doublings = depths(config, shape)
    return min(depth - doublings, depth - 1)


def kernel_span(span: int, frames: int) -> int:
    """Frames that a kernel spans: ``span``, but 1 where there is one frame."""
    return span if frames > 1 else 1


def kernel(frames: int) -> dict:
    """Size and padding of a convolution over so many frames."""
    return {"kernel_size": (frames, 3, 3), "padding": (frames // 2, 1, 1)}


class Modulation(nn.Module):
    """Normalises (B, C, T, H, W), then scales and shifts each channel by linear functions of the condition (B, condition)."""

    def __init__(self, kind: str, channels: int, condition: int):
        super().__init__()
        self.norm, = norm_layers(kind, channels)
        self.linear = nn.Linear(condition, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.linear(condition).to(x.dtype)[:, :, None, None, None].chunk(2, dim=1)
        return F.leaky_relu(self.norm(x) * (1 + scale) + shift, 0.2)


class UpBlock(nn.Module):
    """(B, inputs, T, H, W) -> (B, outputs, T * t, H * h, W * w): two modulated convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int, int], span: int, config: HRVGANConfig, condition: int):
        super().__init__()
        self.first, self.second = (Modulation(config.g_norm, channels, condition) for channels in (inputs, outputs))
        self.conv1, self.conv2 = (Conv3d(channels, outputs, **kernel(span), padding_mode=config.g_padding)
                                  for channels in (inputs, outputs))
        self.shortcut = nn.Conv3d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        self.stride, self.mode, self.up_first = stride, config.g_upsample, config.g_up == "first"

    def _up(self, x: Tensor) -> Tensor:
        return enlarge(x, self.stride, self.mode)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.first(x, condition)
        y = self.conv1(self._up(y)) if self.up_first else self._up(self.conv1(y))
        return (self._up(self.shortcut(x)) + self.conv2(self.second(y, condition))) / sqrt(2)


class Paint(nn.Module):
    """Features (B, C, T, H, W) -> (B, outputs, T, H, W), colours before their tanh."""

    def __init__(self, channels: int, outputs: int, span: int, config: HRVGANConfig, condition: int):
        super().__init__()
        self.modulate = Modulation(config.g_norm, channels, condition)
        self.conv = Conv3d(channels, outputs, **kernel(span), padding_mode=config.g_padding)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.conv(self.modulate(x, condition))


def check_frames(frames: int, doublings: int | None, depth: int) -> int:
    """How often time doubles: ``doublings``, or as often as leaves 2 or 3 frames, at most ``depth``. UserError with the nearest number of
    frames that works unless ``frames`` is a multiple of 2**doublings."""
    if doublings is not None and not 0 <= doublings <= depth:
        raise UserError(f"--model.time_doublings {doublings}: must be between 0 and {depth}, the doublings of height and width")
    default = lambda number: min(max(0, (number // 2).bit_length() - 1), depth)
    used = default(frames) if doublings is None else doublings
    if frames % 2**used == 0:
        return used
    # Another number may have another default: it counts only if it works with its own.
    works = lambda number: number % 2**(default(number) if doublings is None else doublings) == 0
    near = next(number for away in range(1, 2**used + 1) for number in (frames - away, frames + away) if number > 0 and works(number))
    raise UserError(f"--frames {frames}: must be a multiple of {2**used} ({used} doublings of time); "
                    f"the nearest allowed is --frames {near}")


def initialise(network: nn.Module) -> None:
    """He et al. 2015 for convolutions, plain unit variance for linear layers, half of that for modulations; biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=0.2)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / sqrt(module.in_features))
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
        if isinstance(module, (nn.Conv3d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Modulation):
            module.linear.weight.data.mul_(0.5)
