"""VGAN: clips made of a moving foreground, a still background and a mask between them (Vondrick et al. 2016, arXiv 1609.02612).

``film = mask * foreground + (1 - mask) * background``. The settings span the networks of the paper's code
(github.com/cvondrick/videogan, main.lua and main_conditional.lua), the smaller relative of the second one in
github.com/njesus15/gan_video, and what we would train today.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from models.layers import BatchNorm, Conv3d, ConvTranspose3d, MinibatchStd, Upsample, before_tanh, norm_layers
from models.shape import ClipShape, check_size
from models.spectral import normalise_spectrally
from utils.errors import UserError

Norm = Literal["batch", "group", "none"]


@dataclass
class TwoStreamsConfig:
    """What both VGANs have in common. Resolution level 0 is the full frame, level k is 2^k times smaller."""

    may_be_zero = ("time_depth",)

    g_width: int = 32
    """Channels of both streams (and the encoder, where there is one) at level 1; doubled from level to level."""
    d_width: int = 32
    """Discriminator channels at level 1; doubled from level to level."""
    max_width: int = 256
    """Most channels anywhere."""
    depth: int | None = None
    """Doublings of height and width; as many as leave a first grid with a short side of 4 to 7 if not given."""
    time_depth: int | None = None
    """Doublings of time, in the last layers; as many as leave 2 or 3 first frames if not given, `depth` at most."""
    g_norm: Norm = "batch"
    """Normalisation in the generator."""
    d_norm: Literal["batch", "group", "spectral", "none"] = "group"
    """Normalisation in the discriminator; batch statistics do not go with gradient penalties."""
    g_upsample: Literal["deconv", "nearest", "linear"] = "linear"
    """Transposed convolutions as published, or copying or interpolating before a convolution: no checkerboard artefacts."""
    norm_eps: float = 1e-3
    """What the discriminator's and the encoder's batch normalisation add to variances; the streams' add 1e-5."""
    mask_bias: float = 0.0
    """The mask begins at the sigmoid of this; 0 shows as much foreground as background, -2 shows an eighth."""
    d_minibatch_std: bool = True
    """Minibatch standard deviation (Karras et al. 2018): shows the discriminator how much the clips of a batch differ."""
    d_outputs: Literal[1, 2] = 1
    """One logit, or two whose difference is the logit: a softmax over two classes, as published, is the sigmoid of that."""
    init: Literal["he", "normal", "torch"] = "he"
    """Initial weights: He et al. 2015; N(0, 0.01) and norm scales of N(1, 0.02), as published; or PyTorch's own."""


@dataclass
class VGANConfig(TwoStreamsConfig):
    """Settings of the VGAN networks."""

    latent_dim: int = 100
    """Size of the latent vector."""
    g_mean: bool = False
    """Start the background from the mean of the training frames: a fixed camera's scene is there at once."""


@dataclass
class VGANConditionalConfig(TwoStreamsConfig):
    """Settings of the VGAN networks that predict a clip from its first frame."""

    latent_dim: int | None = None
    """Press the image through a vector of this size; without, a grid of features is kept, as published."""
    e_kernel: Literal[2, 4] = 4
    """Side of the encoder's kernels."""
    e_norm_first: bool = False
    """Normalise the encoder's first layer too."""
    bg_kernel: Literal[2, 4] = 4
    """Side of the background's transposed convolutions; 2 leaves blocks, as its patches do not overlap."""
    g_image: bool = True
    """Start the background from the given image and learn what differs from it."""


class TwoStreams(nn.Module):
    """Features (B, inputs, h, w) -> the four parts of a clip. (h, w) is 1x1, a vector, or the grid that both streams begin with."""

    def __init__(self, config: TwoStreamsConfig, family: str, shape: ClipShape, inputs: int, vector: bool):
        super().__init__()
        depth, time_depth = depths(config, family, shape)
        self.frames = shape.frames
        grid = (shape.frames >> time_depth, shape.height >> depth, shape.width >> depth)
        widths = _widths(config.g_width, config.max_width, depth)[::-1]  # from the first grid to level 1
        norm = lambda channels: [*norm_layers(config.g_norm, channels), nn.ReLU(inplace=True)]
        first = widths[0] if vector else inputs
        start = ConvTranspose3d(inputs, first, grid if vector else (grid[0], 1, 1))
        moving, still = [start, *norm(first)], []
        if vector:
            still = [nn.ConvTranspose2d(inputs, first, grid[1:]), *norm(first)]
        kernel = getattr(config, "bg_kernel", 4)
        for level, (before, after) in enumerate(zip([first, *widths[1:]], [*widths[1:], None])):
            double = level >= depth - time_depth
            moving += [*_up3d(before, after or 4, config.g_upsample, double), *(norm(after) if after else [])]
            still += [*_up2d(before, after or 3, config.g_upsample, kernel), *(norm(after) if after else [])]
        self.moving, self.still = nn.Sequential(*moving), nn.Sequential(*still)

    def forward(self, features: Tensor, scene: Tensor | None) -> dict[str, Tensor]:
        """``scene``: what the background begins with, before its tanh, (B or none, 3, H, W)."""
        moving = self.moving(features.unsqueeze(2)).float()  # the blend of rounded values would show steps
        still = self.still(features).float()
        background = torch.tanh(still if scene is None else still + scene).unsqueeze(2).expand(-1, -1, self.frames, -1, -1)
        foreground, mask = torch.tanh(moving[:, :3]), torch.sigmoid(moving[:, 3:])
        film = background + mask * (foreground - background)
        return {"film": film, "foreground": foreground, "mask": mask, "background": background}

    def prepare(self, config: TwoStreamsConfig, scene: bool) -> None:
        """First values of the last layers, after :func:`initialise`. ``scene``: the background begins with one."""
        last, still = self.moving[-1], self.still[-1]
        with torch.no_grad():
            if config.init == "torch" and isinstance(last, nn.ConvTranspose3d):
                # Foreground and mask as of a layer each: PyTorch's bounds depend on the number of outputs.
                for part, outputs in ((slice(3), 3), (slice(3, 4), 1)):
                    bound = (outputs * prod(last.kernel_size))**-0.5
                    last.weight[:, part].uniform_(-bound, bound)
                    last.bias[part].uniform_(-bound, bound)
                last.bias[3:] += config.mask_bias
            else:
                last.bias[3:].fill_(config.mask_bias)
            if config.init == "he":
                outputs = 1 if isinstance(last, nn.ConvTranspose3d) else 0
                last.weight.narrow(outputs, 3, 1).mul_(0.1)  # a mask that is the same everywhere
            if scene:
                still.weight.mul_(0.1)


class Generator(nn.Module):
    """Latents (B, latent_dim) -> clips (B, 3, T, H, W) in [-1, 1]."""

    def __init__(self, config: VGANConfig, shape: ClipShape):
        super().__init__()
        self.parts = TwoStreams(config, "vgan", shape, config.latent_dim, vector=True)
        initialise(self, config.init)
        self.parts.prepare(config, config.g_mean)
        self.register_buffer("mean", torch.zeros(3, shape.height, shape.width) if config.g_mean else None)

    def start_from(self, mean: Tensor) -> None:
        """``mean``: the training frames' mean (3, H, W) in [-1, 1]. Only with ``g_mean``."""
        self.mean.copy_(before_tanh(mean))

    def streams(self, latents: Tensor) -> dict[str, Tensor]:
        """"film", "foreground" and "background" (B, 3, T, H, W) in [-1, 1], "mask" (B, 1, T, H, W) in [0, 1]."""
        return self.parts(latents[:, :, None, None], self.mean)

    def forward(self, latents: Tensor) -> Tensor:
        return self.streams(latents)["film"]


class ConditionalGenerator(nn.Module):
    """Images (B, 3, H, W) -> the clips that begin with them, (B, 3, T, H, W), all in [-1, 1]."""

    takes_image = True

    def __init__(self, config: VGANConditionalConfig, shape: ClipShape):
        super().__init__()
        depth, _ = depths(config, "vgan_conditional", shape)
        layers: list[nn.Module] = []
        inputs = 3
        for level, width in enumerate(_widths(config.g_width, config.max_width, depth)):
            layers.append(nn.Conv2d(inputs, width, config.e_kernel, 2, config.e_kernel // 4))
            if level or config.e_norm_first:
                layers += norm_layers(config.g_norm, width, config.norm_eps)
            layers.append(nn.ReLU(inplace=True))
            inputs = width
        if config.latent_dim:
            layers += [nn.Conv2d(inputs, config.latent_dim, (shape.height >> depth, shape.width >> depth)), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*layers)
        self.parts = TwoStreams(config, "vgan_conditional", shape, config.latent_dim or inputs, vector=bool(config.latent_dim))
        initialise(self, config.init)
        self.parts.prepare(config, config.g_image)
        self.from_image = config.g_image

    def streams(self, image: Tensor) -> dict[str, Tensor]:
        """The same parts as those of :class:`Generator`."""
        return self.parts(self.encoder(image), before_tanh(image.float()) if self.from_image else None)

    def forward(self, image: Tensor) -> Tensor:
        return self.streams(image)["film"]


class Discriminator(nn.Module):
    """Clips (B, 3, T, H, W) in [-1, 1] -> logits (B,): positive means real."""

    def __init__(self, config: TwoStreamsConfig, family: str, shape: ClipShape):
        super().__init__()
        depth, time_depth = depths(config, family, shape)
        layers: list[nn.Module] = []
        inputs = 3
        for level, width in enumerate(_widths(config.d_width, config.max_width, depth)):
            halve = level < time_depth
            layers += [Conv3d(inputs, width, (4 if halve else 3, 4, 4), (2 if halve else 1, 2, 2), 1),
                       *(norm_layers(config.d_norm, width, config.norm_eps) if level else []), nn.LeakyReLU(0.2, inplace=True)]
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.variety = MinibatchStd() if config.d_minibatch_std else nn.Identity()
        cells = (shape.frames >> time_depth) * (shape.height >> depth) * (shape.width >> depth)
        self.verdict = nn.Linear((inputs + config.d_minibatch_std) * cells, config.d_outputs)
        initialise(self, config.init)
        if config.init == "he":
            # Large first verdicts would throw the generator far off before it has learnt anything.
            self.verdict.weight.data.mul_(0.1)
        if config.d_norm == "spectral":
            normalise_spectrally(self)

    def forward(self, video: Tensor) -> Tensor:
        x = self.variety(self.layers(video).flatten(2, 3))  # time as further rows: all that follows looks at is the channels
        verdict = self.verdict(x.flatten(1))
        return verdict[:, 1] - verdict[:, 0] if verdict.shape[1] == 2 else verdict[:, 0]


def depths(config: TwoStreamsConfig, family: str, shape: ClipShape) -> tuple[int, int]:
    """Doublings of the picture and of time. UserError that names the nearest sizes or lengths that work."""
    depth = check_size(shape.height, shape.width, config.depth)
    if config.time_depth is not None and not 0 <= config.time_depth <= depth:
        raise UserError(f"--model.time_depth {config.time_depth}: must be from 0 to {depth}, the doublings of height and width")
    own = lambda frames: min(depth, max(0, frames.bit_length() - 2)) if config.time_depth is None else config.time_depth
    fits = lambda frames: frames >= 2 and frames % 2**own(frames) == 0
    if not fits(shape.frames):
        allowed = [frames for frames in range(2, 2 * shape.frames + 2**(depth + 2)) if fits(frames)]
        near = min(allowed, key=lambda frames: abs(frames - shape.frames))
        doublings = own(shape.frames)
        why = (f"is no multiple of {2**doublings}, as {family} with {doublings} doublings of time needs" if shape.frames > 1
               else f"makes no clip, {family} needs 2 frames or more")
        raise UserError(f"--frames {shape.frames}: {why}; the nearest allowed is --frames {near}")
    return depth, own(shape.frames)


def initialise(network: nn.Module, kind: str) -> None:
    """Initial weights of every convolution and linear layer, biases zero;
    for ``normal`` also the scales of norms. ``torch``: as they are."""
    for module in network.modules() if kind != "torch" else ():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, (2 / (1 + 0.2**2) / _fan_in(module))**0.5 if kind == "he" else 0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (BatchNorm, nn.GroupNorm)) and kind == "normal":
            nn.init.normal_(module.weight, 1.0, 0.02)


def _fan_in(module: nn.Module) -> float:
    """How many inputs reach one output; of a transposed convolution's taps the stride leaves only some."""
    if isinstance(module, nn.Linear):
        return module.in_features
    if not isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
        return module.in_channels * prod(module.kernel_size)
    # Without a stride it unfolds a single cell: each output sees one tap.
    taps = prod(kernel / stride for kernel, stride in zip(module.kernel_size, module.stride)) if max(module.stride) > 1 else 1
    return module.in_channels * taps


def _widths(width: int, most: int, depth: int) -> list[int]:
    """Channels at levels 1 .. depth."""
    return [min(width * 2**level, most) for level in range(depth)]


def _up3d(inputs: int, outputs: int, how: str, double: bool) -> list[nn.Module]:
    """Height and width doubled, time too if ``double``."""
    if how == "deconv":
        return [ConvTranspose3d(inputs, outputs, (4 if double else 3, 4, 4), (2 if double else 1, 2, 2), 1)]
    mode = "trilinear" if how == "linear" else how
    return [Upsample(scale_factor=(2 if double else 1, 2, 2), mode=mode), Conv3d(inputs, outputs, 3, padding=1)]


def _up2d(inputs: int, outputs: int, how: str, kernel: int) -> list[nn.Module]:
    if how == "deconv":
        return [nn.ConvTranspose2d(inputs, outputs, kernel, 2, kernel // 4)]
    return [nn.Upsample(scale_factor=2, mode="bilinear" if how == "linear" else how), nn.Conv2d(inputs, outputs, 3, padding=1)]


def build(config: VGANConfig, shape: ClipShape) -> dict[str, nn.Module]:
    """The pair of networks that makes clips from noise."""
    return _laid_out({"generator": Generator(config, shape), "discriminator": Discriminator(config, "vgan", shape)})


def build_conditional(config: VGANConditionalConfig, shape: ClipShape) -> dict[str, nn.Module]:
    """The pair of networks that predicts clips from their first frame."""
    return _laid_out({"generator": ConditionalGenerator(config, shape),
                      "discriminator": Discriminator(config, "vgan_conditional", shape)})


def _laid_out(nets: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """In the memory layout that convolutions are fastest in: their results follow their weights."""
    for net in nets.values():
        for parameter in net.parameters():
            if parameter.dim() in (4, 5):
                layout = torch.channels_last if parameter.dim() == 4 else torch.channels_last_3d
                parameter.data = parameter.data.contiguous(memory_format=layout)
    return nets
