"""DCGAN: a generator of single frames of any height and width (Radford et al. 2016, arXiv 1511.06434).

Both networks are plain stacks of convolutions that double or halve the resolution. The settings span the network of the city-walk
system (64 channels everywhere, no normalisation, nearest-neighbour upsampling) and the one we would train today.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn

from models.growth import Growing, check_levels, double, fade, halve
from models.layers import MinibatchStd, SamePad, before_tanh, norm_layers
from models.shape import ClipShape, check_size, default_depth
from models.spectral import normalise_spectrally


@dataclass
class DCGANConfig:
    """Settings of the DCGAN networks. Resolution level 0 is the full frame, level k is 2^k times smaller."""

    latent_dim: int = 128
    """Size of the latent vector."""
    g_width: int = 16
    """Generator channels at full resolution."""
    d_width: int = 48
    """Discriminator channels after its first convolution."""
    growth: int = 2
    """Channels are multiplied by this at every halving of the resolution."""
    max_width: int = 256
    """Most channels anywhere."""
    g_base_width: int | None = None
    """Channels of the generator's first grid; those of its coarsest level if not given."""
    g_depth: int | None = None
    """Doublings in the generator; as many as leave a first grid with a short side of 4 to 7 if not given."""
    d_depth: int | None = None
    """Halvings in the discriminator; as many as leave a shorter side of 4 to 7 if not given."""
    g_norm: Literal["batch", "none"] = "batch"
    """Normalisation in the generator."""
    d_norm: Literal["batch", "group", "spectral", "none"] = "group"
    """Normalisation in the discriminator; batch statistics do not go with gradient penalties."""
    g_upsample: Literal["nearest", "bilinear"] = "bilinear"
    """How the generator doubles the resolution; nearest leaves a grid that takes thousands of steps to unlearn."""
    g_kernel: int = 3
    """Side of the generator's convolutions."""
    g_out_kernel: int = 3
    """Side of its last convolution."""
    g_mean: bool = False
    """Start from the mean of the training frames and learn what differs from it: a fixed camera's background is there at once."""
    d_dropout: float = 0.0
    """Dropout before the discriminator's verdict."""
    d_minibatch_std: bool = True
    """Minibatch standard deviation (Karras et al. 2018): shows the discriminator how much the clips of a batch differ."""
    init: Literal["he", "normal", "glorot"] = "he"
    """Initial weights: He et al. 2015; N(0, 0.02) as in the DCGAN paper; Glorot & Bengio 2010, the default of Keras."""


class Generator(Growing):
    """Latents (B, latent_dim) -> frames (B, 3, 1, height, width) in [-1, 1], both sides 2^level times smaller while it grows."""

    def __init__(self, config: DCGANConfig, height: int, width: int, grow: int = 0):
        super().__init__()
        depth = check_size(height, width, config.g_depth)
        channels = [min(config.g_width * config.growth**level, config.max_width) for level in range(depth)]
        self.grid = (config.g_base_width or channels[-1], height >> depth, width >> depth)
        self.project = nn.Linear(config.latent_dim, self.grid[0] * self.grid[1] * self.grid[2])
        layers: list[nn.Module] = [nn.LeakyReLU(0.2, inplace=True)]
        inputs, self._ends = self.grid[0], [1]  # how many layers there are up to the end of each doubling
        for outputs in reversed(channels):
            layers += [nn.Upsample(scale_factor=2, mode=config.g_upsample),
                       *_same_conv(inputs, outputs, config.g_kernel, config.g_norm == "none")]
            layers += [*norm_layers(config.g_norm, outputs), nn.LeakyReLU(0.2, inplace=True)]
            inputs = outputs
            self._ends.append(len(layers))
        self.layers = nn.Sequential(*layers, *_same_conv(inputs, 3, config.g_out_kernel, True))
        self.to_rgb = nn.ModuleDict({str(level): nn.Conv2d(channels[level], 3, 1) for level in range(1, grow + 1)})
        initialise(self, config.init)
        if config.g_mean:
            self.register_buffer("mean", torch.zeros(3, height, width))
            for last in (self.layers[-1], *self.to_rgb.values()):
                last.weight.data.mul_(0.1)

    def start_from(self, mean: Tensor) -> None:
        """``mean``: the training frames' mean (3, height, width) in [-1, 1]. Only with ``g_mean``."""
        self.mean.copy_(before_tanh(mean))

    def forward(self, latents: Tensor) -> Tensor:
        x = self.project(latents).view(-1, *self.grid).contiguous(memory_format=torch.channels_last)
        doublings = len(self._ends) - 1 - self.level
        if self.alpha == 1:
            return self._frames(self.layers[:self._ends[doublings]](x), self.level)
        x = self.layers[:self._ends[doublings - 1]](x)
        low, x = self._frames(x, self.level + 1), self.layers[self._ends[doublings - 1]:self._ends[doublings]](x)
        return fade(double(low), self._frames(x, self.level), self.alpha)

    def _frames(self, x: Tensor, level: int) -> Tensor:
        """What level ``level`` paints from its features."""
        x = self.to_rgb[str(level)](x) if level else self.layers[self._ends[-1]:](x)
        return torch.tanh(x + halve(self.mean[:, None], level)[:, 0] if hasattr(self, "mean") else x).unsqueeze(2)


class Discriminator(Growing):
    """Frames (B, 3, 1, height, width) in [-1, 1], 2^level times smaller while it grows -> logits (B,): positive means real."""

    def __init__(self, config: DCGANConfig, height: int, width: int, grow: int = 0):
        super().__init__()
        depth = config.d_depth or default_depth(height, width)
        channels = [min(config.d_width * config.growth**level, config.max_width) for level in range(depth)]
        layers: list[nn.Module] = []
        inputs, self._starts = 3, []  # how many layers lie before each level
        for level, outputs in enumerate(channels):
            self._starts.append(len(layers))
            if height % 2 or width % 2:  # an odd side n becomes (n + 1) / 2, as published
                layers += [nn.ZeroPad2d((0, width % 2, 0, height % 2))]
            conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=config.d_norm != "batch" or level == 0)
            layers += [conv, *(norm_layers(config.d_norm, outputs) if level else []), nn.LeakyReLU(0.2, inplace=True)]
            height, width, inputs = ceil(height / 2), ceil(width / 2), outputs
        if config.d_minibatch_std:
            layers += [MinibatchStd()]
            inputs += 1
        self.layers = nn.Sequential(*layers)
        self.from_rgb = nn.ModuleDict({str(level): nn.Sequential(nn.Conv2d(3, channels[level - 1], 1), nn.LeakyReLU(0.2, inplace=True))
                                       for level in range(1, grow + 1)})
        self.verdict = nn.Sequential(nn.Flatten(), nn.Dropout(config.d_dropout), nn.Linear(inputs * height * width, 1))
        initialise(self, config.init)
        if config.init == "he":
            # Large first verdicts would throw the generator far off before it has learnt anything.
            self.verdict[-1].weight.data.mul_(0.1)
        if config.d_norm == "spectral":
            normalise_spectrally(self)

    def forward(self, video: Tensor) -> Tensor:
        level, x = self.level, self._enter(video, self.level)
        if self.alpha < 1:
            x = self.layers[self._starts[level]:self._starts[level + 1]](x)
            x, level = fade(self._enter(halve(video), level + 1), x, self.alpha), level + 1
        return self.verdict(self.layers[self._starts[level]:](x)).squeeze(1)

    def _enter(self, video: Tensor, level: int) -> Tensor:
        """What level ``level`` takes in."""
        x = video.squeeze(2).contiguous(memory_format=torch.channels_last)
        return self.from_rgb[str(level)](x) if level else x


def initialise(network: nn.Module, kind: str) -> None:
    """Initial weights of every convolution and linear layer; biases zero."""
    for module in network.modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        if kind == "he":
            nn.init.kaiming_normal_(module.weight, a=0.2)
        elif kind == "glorot":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _same_conv(inputs: int, outputs: int, kernel: int, bias: bool) -> list[nn.Module]:
    """A stride-1 convolution that keeps the size; an even kernel needs one-sided padding, done apart."""
    if kernel % 2:
        return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)]
    return [SamePad(kernel), nn.Conv2d(inputs, outputs, kernel, bias=bias)]


def build(config: DCGANConfig, shape: ClipShape) -> dict[str, nn.Module]:
    """The pair of networks, in the memory layout that convolutions are fastest in."""
    size = shape.single_frames("dcgan").height, shape.width
    depths = lambda size: (check_size(size.height, size.width, config.g_depth), config.d_depth or default_depth(size.height, size.width))
    grow = check_levels(shape, lambda size: min(depths(size)) - 1, "dcgan", "--model.g_depth and --model.d_depth")
    return {"generator": Generator(config, *size, grow).to(memory_format=torch.channels_last),
            "discriminator": Discriminator(config, *size, grow).to(memory_format=torch.channels_last)}
