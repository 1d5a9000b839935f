"""HRVGAN: clips of a chosen class from a residual 3-D generator against a critic that knows the classes
(after Sagar 2020, arXiv 2008.09646).

The paper names a Wasserstein loss, class labels and a pixel term, its code no networks. These are ours: class and latent scale and shift
every normalised channel of the generator (de Vries et al. 2017, arXiv 1707.00683; Brock et al. 2019, arXiv 1809.11096), the critic
adds the inner product of its features with a learnt vector of the class (Miyato & Koyama 2018, arXiv 1802.05637), and both are made of
residual blocks that double or halve the resolution. Widths follow the progressive network that the published code trains.
"""

from dataclasses import dataclass, replace
from math import gcd, sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dcgan import check_size
from models.growth import Growing, check_levels, double, fade, halve
from models.layers import BatchNorm, Conv3d, MinibatchStd, PooledConv3d
from models.shape import ClipShape
from models.sprites import Paths, carry, cut_out
from utils.errors import UserError


@dataclass
class HRVGANConfig:
    """Settings of the HRVGAN networks. Resolution level 0 is the full frame, level k is 2^k times smaller."""

    may_be_zero = ("time_doublings", "g_mapping", "sprites")

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
    d_pool: Literal["mean", "max"] = "mean"
    """How a block of the critic halves the resolution; the shortcut beside it always takes means, so that every pixel has a slope."""
    d_minibatch_std: bool = True
    """Show the critic the variety of the batch."""


class Plan:
    """Sizes at every level, the same for both networks: ``channels[k]``, and from level k + 1 to level k ``strides[k]`` (t, h, w) and
    ``spans[k]``, the frames of a kernel; ``grid`` is (t, h, w) at the coarsest level."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape):
        self.depth = check_size(shape.height, shape.width, config.depth)
        doublings = check_frames(shape.frames, config.time_doublings, self.depth)
        self.strides = [(2 if level >= self.depth - doublings else 1, 2, 2) for level in range(self.depth)]
        self.spans = [kernel_span(3 if level >= self.depth - max(doublings, 1) else config.kernel_frames, shape.frames)
                      for level in range(self.depth)]
        self.grid = (shape.frames >> doublings, shape.height >> self.depth, shape.width >> self.depth)
        # The first levels double the frames; growing begins where they are complete.
        self.grow = check_levels(shape.grow, min(self.depth - doublings, self.depth - 1), "hrvgan")

    def channels(self, width: int, config: HRVGANConfig) -> list[int]:
        return [min(width * config.growth**level, config.max_width) for level in range(self.depth + 1)]


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
        self.norm = BatchNorm(channels) if kind == "batch" else nn.GroupNorm(gcd(4, channels), channels)
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
        return F.interpolate(x, scale_factor=self.stride, mode=self.mode)

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


def start_and_blocks(plan: Plan, config: HRVGANConfig, condition: int) -> tuple[nn.Linear, nn.ModuleDict]:
    """Condition -> the coarsest grid, flat, and the blocks that follow, coarse to fine."""
    channels = plan.channels(config.g_width, config)
    return nn.Linear(condition, channels[-1] * plan.grid[0] * plan.grid[1] * plan.grid[2]), \
        nn.ModuleDict({str(level): UpBlock(channels[level + 1], channels[level], plan.strides[level], plan.spans[level], config, condition)
                       for level in reversed(range(plan.depth))})


class Generator(Growing):
    """Latents (B, latent_dim) and, where there are several classes, labels (B,) -> clips (B, 3, T, H, W) in [-1, 1], height and width
    2^level times smaller while it grows."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape):
        super().__init__()
        plan, self.takes_labels = Plan(config, shape), shape.classes > 1
        channels, self.depth = plan.channels(config.g_width, config), plan.depth
        condition = config.latent_dim
        if self.takes_labels:
            self.classes = nn.Embedding(shape.classes, config.class_dim)
            condition += config.class_dim
        width = config.g_mapping
        self.mapping = nn.Sequential(nn.Linear(condition, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)) \
            if width else None
        self.condition_size = condition + width
        self.grid = (channels[-1], *plan.grid)
        self.project, self.blocks = start_and_blocks(plan, config, self.condition_size)
        span = kernel_span(config.kernel_frames, shape.frames)
        self.to_rgb = nn.ModuleDict({str(level): Paint(channels[level], 3, span, config, self.condition_size)
                                     for level in range(plan.grow + 1)})
        initialise(self)

    def condition(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """What the layers are told, (B, condition_size)."""
        condition = torch.cat([latents, self.classes(labels)], 1) if self.takes_labels else latents
        return torch.cat([condition, self.mapping(condition)], 1) if self.mapping else condition

    def paint(self, condition: Tensor) -> Tensor:
        x = self.project(condition).view(-1, *self.grid)
        low = None
        for level in range(self.depth - 1, self.level - 1, -1):
            if level == self.level and self.alpha < 1:
                low = torch.tanh(self.to_rgb[str(level + 1)](x, condition))
            x = self.blocks[str(level)](x, condition)
        made = torch.tanh(self.to_rgb[str(self.level)](x, condition))
        return made if low is None else fade(double(low), made, self.alpha)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.paint(self.condition(latents, labels))


class Sprites(nn.Module):
    """Conditions (B, condition) -> ``config.sprites`` pictures with masks on their paths, as :func:`models.sprites.carry` takes them."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape, condition: int):
        super().__init__()
        # Half the frame's resolution, as a window is about half the frame; the first grid is the same.
        depth = check_size(shape.height, shape.width, config.depth)
        halved = depth > 1
        plan = Plan(replace(config, depth=depth - halved, time_doublings=0), ClipShape(1, shape.height >> halved, shape.width >> halved))
        channels = plan.channels(config.g_width, config)
        self.grid = (channels[-1], *plan.grid)
        self.project, self.blocks = start_and_blocks(plan, config, condition)
        self.paint = Paint(channels[0], 4 * config.sprites, 1, config, condition)
        self.paths = Paths(condition, config.sprites, shape.frames, shape.height, shape.width, config.sprite_size)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        x = self.project(condition).view(-1, *self.grid)
        for block in self.blocks.values():
            x = block(x, condition)
        return cut_out(self.paint(x, condition).squeeze(2).unflatten(1, (-1, 4))), self.paths(condition)


class SpriteGenerator(Generator):
    """A :class:`Generator` of a still background, with ``config.sprites`` things before it that move as wholes."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape):
        super().__init__(replace(config, time_doublings=0), replace(shape, frames=1))
        self.sprites = Sprites(config, shape, self.condition_size)
        initialise(self.sprites)
        check_frames(shape.frames, config.time_doublings, self.depth)  # the critic's rules hold for both

    def streams(self, latents: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """"film", "foreground" and "background" (B, 3, T, H, W) in [-1, 1], "mask" (B, 1, T, H, W) in [0, 1]."""
        condition = self.condition(latents, labels)
        background = self.paint(condition).float()
        colours, mask = carry(*self.sprites(condition), *background.shape[-2:])
        return {"film": background * (1 - mask) + colours, "foreground": colours / mask.clamp_min(1e-3), "mask": mask,
                "background": background.expand_as(colours)}

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.streams(latents, labels)["film"]


class DownBlock(nn.Module):
    """(B, inputs, T, H, W) -> (B, outputs, T / t, H / h, W / w): two convolutions, of which the second sees the smaller size, beside a
    shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int, int], span: int, kind: str, pool: str):
        super().__init__()
        self.conv1 = nn.Sequential(Conv3d(inputs, inputs, **kernel(span)), nn.MaxPool3d(stride)) if pool == "max" else \
            PooledConv3d(inputs, inputs, pool=stride, **kernel(span))
        self.conv2 = Conv3d(inputs, outputs, **kernel(span))
        self.norm = nn.Identity() if kind == "none" else nn.GroupNorm(1 if kind == "layer" else gcd(4, inputs), inputs)
        self.shortcut = PooledConv3d(inputs, outputs, 1, pool=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.leaky_relu(self.norm(self.conv1(F.leaky_relu(x, 0.2))), 0.2))
        return (self.shortcut(x) + y) / sqrt(2)


class Critic(Growing):
    """Clips (B, 3, T, H, W) in [-1, 1] and, where there are several classes, labels (B,) -> verdicts (B,): higher means more real."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape):
        super().__init__()
        plan, self.takes_labels = Plan(config, shape), shape.classes > 1
        channels, self.depth = plan.channels(config.d_width, config), plan.depth
        self.from_rgb = nn.ModuleDict({str(level): nn.Conv3d(3, channels[level], 1) for level in range(plan.grow + 1)})
        self.blocks = nn.ModuleDict({str(level): DownBlock(channels[level], channels[level + 1], plan.strides[level], plan.spans[level],
                                                           config.d_norm, config.d_pool)
                                     for level in range(plan.depth)})
        self.variety = MinibatchStd() if config.d_minibatch_std else nn.Identity()
        features = (channels[-1] + config.d_minibatch_std) * plan.grid[0] * plan.grid[1] * plan.grid[2]
        self.verdict = nn.Linear(features, 1)
        if self.takes_labels:
            self.classes = nn.Embedding(shape.classes, channels[-1])
        initialise(self)
        # Large first verdicts would throw the generator far off before it has learnt anything.
        self.verdict.weight.data.mul_(0.1)
        if self.takes_labels:
            self.classes.weight.data.mul_(1 / sqrt(channels[-1]))

    def forward(self, video: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.judge(video, labels)[0]

    def judge(self, video: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Verdicts (B,), and where there are several classes the inner product of the features with each class's vector, (B, classes):
        logits of the class that a clip shows. Penalties on the verdict's slopes hold for them too, so that they are hard to deceive."""
        x, first = self.from_rgb[str(self.level)](video), self.level
        if self.alpha < 1:
            x, first = self.blocks[str(first)](x), first + 1
            x = fade(self.from_rgb[str(first)](halve(video)), x, self.alpha)
        for level in range(first, self.depth):
            x = self.blocks[str(level)](x)
        x = F.leaky_relu(x, 0.2).flatten(2, 3)
        verdict = self.verdict(self.variety(x).flatten(1)).squeeze(1)
        if not self.takes_labels:
            return verdict, None
        classes = F.linear(x.float().mean((2, 3)), self.classes.weight)
        return verdict + classes.gather(1, labels[:, None]).squeeze(1), classes


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


def build(config: HRVGANConfig, shape: ClipShape) -> dict[str, nn.Module]:
    """The pair of networks, in the memory layout that convolutions are fastest in."""
    generator = SpriteGenerator if config.sprites else Generator
    return {"generator": generator(config, shape).to(memory_format=torch.channels_last_3d),
            "discriminator": Critic(config, shape).to(memory_format=torch.channels_last_3d)}
