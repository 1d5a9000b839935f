"""MLP GAN: frames of any height and width from fully connected layers alone (Goodfellow et al. 2014, arXiv 1406.2661).

At 256x256 the layer that touches the pixels holds 805 million weights in either network, 98.7% of all. It therefore lies in pieces
(:class:`Dense`), which lets gradients and updates be made one piece at a time (training/optimizers.py).
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import BatchNorm, MinibatchStd, before_tanh
from models.shape import ClipShape
from utils.errors import UserError

# Most weights of one piece: 256 MiB in float32.
PIECE = 2**26
# Pixels from one independent value of a smooth filter to the next.
SMOOTH = 8


@dataclass
class MLPGANConfig:
    """Settings of the fully connected networks."""

    may_be_zero = ("components",)

    latent_dim: int = 100
    """Size of the latent vector."""
    widths: list[int] = field(default_factory=lambda: [256, 512, 1024])
    """Sizes of the generator's hidden layers, from the latent on; the discriminator has the same, mirrored."""
    g_slope: float = 0.2
    """Slope of the generator's activations below zero; 0 is ReLU."""
    d_slope: float = 0.2
    """The same in the discriminator."""
    g_norm: Literal["batch", "layer", "none"] = "layer"
    """Normalisation after each hidden layer of the generator."""
    d_norm: Literal["layer", "none"] = "none"
    """The same in the discriminator, where layer norm hides the contrast of a frame: generated ones become far too strong."""
    g_mean: bool = True
    """Start from the mean of the training frames and learn what differs from it: a fixed camera's background is there at once."""
    components: int = 256
    """Make and judge frames as mixtures of this many principal components of the training frames instead of pixel by pixel: layers without
    convolutions do not know that neighbours belong together, and leave noise in every pixel. 0: pixels, as published."""
    d_dropout: float = 0.0
    """Dropout after each activation of the discriminator."""
    d_minibatch_std: bool = True
    """Minibatch standard deviation (Karras et al. 2018): shows the discriminator how much the clips of a batch differ."""
    init: Literal["smooth", "he", "torch"] = "smooth"
    """Initial weights: he: He et al. 2015, biases zero; smooth: the same, but with `components` 0 the discriminator's filters vary smoothly
    over the frame, without which the generator learns their noise; torch: PyTorch's own for a linear layer."""

    def check(self) -> None:
        """UserError unless there are hidden layers and each has a size, and components the mean that they are measured from."""
        if self.components and not self.g_mean:
            raise UserError(f"--model.g_mean false: {self.components} principal components vary about the mean frame; "
                            "take --model.components 0 too")
        if not self.widths or min(self.widths) < 1:
            raise UserError(f"--model.widths {self.widths}: give at least one hidden layer, each of size 1 or more, as in [256,512,1024]")


class Dense(nn.Module):
    """A linear layer (B, inputs) -> (B, outputs) in pieces of at most ``most`` weights, each of whole output rows: one
    ``nn.Linear`` where that suffices. Initial weights have the distribution of the undivided layer, as they depend on ``inputs`` alone."""

    def __init__(self, inputs: int, outputs: int, most: int = PIECE):
        super().__init__()
        number = min(outputs, ceil(inputs * outputs / most))
        sizes = [outputs // number + (index < outputs % number) for index in range(number)]
        self.pieces = nn.ModuleList(nn.Linear(inputs, size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([piece(x) for piece in self.pieces], 1) if len(self.pieces) > 1 else self.pieces[0](x)


class Generator(nn.Module):
    """Latents (B, latent_dim) -> frames (B, 3, 1, height, width) in [-1, 1]."""

    def __init__(self, config: MLPGANConfig, height: int, width: int):
        super().__init__()
        self.shape = (3, 1, height, width)
        layers: list[nn.Module] = []
        inputs = config.latent_dim
        for outputs in config.widths:
            layers += [Dense(inputs, outputs), *_norm(config.g_norm, outputs), nn.LeakyReLU(config.g_slope)]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.paint = Dense(inputs, config.components or 3 * height * width)
        _initialise(self, config.init)
        if config.components:
            self.register_buffer("components", torch.zeros(config.components, 3 * height * width))
        elif config.init == "smooth":
            _scale(self.paint, 0.01)
        if config.g_mean:
            self.register_buffer("mean", torch.zeros(3 * height * width))

    def start_from(self, mean: Tensor) -> None:
        """``mean``: the training frames' mean (3, height, width) in [-1, 1]. Only with ``g_mean``."""
        self.mean.copy_(before_tanh(mean).flatten())

    def mix_from(self, components: Tensor, mean: Tensor) -> None:
        """``components`` (components, 3, height, width): principal components before the tanh, each as long as its spread in the training
        frames. Shares of unit variance, with which training begins, then give frames whose pixels vary together as the real ones do."""
        self.components.copy_(components.flatten(1))

    def forward(self, latents: Tensor) -> Tensor:
        x = self.paint(self.layers(latents))
        if hasattr(self, "components"):
            x = x @ self.components.to(x.dtype)
        return torch.tanh(x + self.mean if hasattr(self, "mean") else x).view(-1, *self.shape)


class Discriminator(nn.Module):
    """Frames (B, 3, 1, height, width) in [-1, 1] -> logits (B,): positive means real."""

    def __init__(self, config: MLPGANConfig, height: int, width: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = 3 * height * width
        if config.components:
            self.register_buffer("mean", torch.zeros(inputs))
            self.register_buffer("filters", torch.zeros(inputs, config.components))
            inputs = config.components
        for outputs in reversed(config.widths):
            layers += [Dense(inputs, outputs), *_norm(config.d_norm, outputs), nn.LeakyReLU(config.d_slope), nn.Dropout(config.d_dropout)]
            inputs = outputs
        if config.d_minibatch_std:
            layers += [nn.Unflatten(1, (inputs, 1, 1)), MinibatchStd(), nn.Flatten()]
            inputs += 1
        self.layers = nn.Sequential(*layers)
        self.verdict = Dense(inputs, 1)
        _initialise(self, config.init)
        if config.init != "torch":
            # Large first verdicts would throw the generator far off before it has learnt anything.
            _scale(self.verdict, 0.1)
        if config.init == "smooth" and not config.components:
            for piece in self.layers[1].pieces:
                _smooth(piece.weight, height, width)

    def mix_from(self, components: Tensor, mean: Tensor) -> None:
        """As the generator's: how much of each component a frame shows is measured so that its variance is about 1."""
        components = components.flatten(1)
        self.filters.copy_((components / components.square().sum(1, keepdim=True).clamp_min(1e-6)).T)
        self.mean.copy_(mean.flatten())

    def forward(self, video: Tensor) -> Tensor:
        if hasattr(self, "filters"):
            video = (video.flatten(1) - self.mean.to(video.dtype)) @ self.filters.to(video.dtype)
        return self.verdict(self.layers(video)).squeeze(1)


def _norm(kind: str, size: int) -> list[nn.Module]:
    if kind == "none":
        return []
    return [BatchNorm(size) if kind == "batch" else nn.LayerNorm(size)]


def _initialise(network: nn.Module, kind: str) -> None:
    """PyTorch has given its own initial weights already."""
    for module in network.modules() if kind != "torch" else ():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.2)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def _smooth(filters: Tensor, height: int, width: int) -> None:
    """Replace ``filters`` (N, 3 height width) by random ones of the same spread that vary over ``SMOOTH`` pixels."""
    spread = filters.std()
    coarse = torch.randn(len(filters), 3, ceil(height / SMOOTH) + 1, ceil(width / SMOOTH) + 1, device=filters.device)
    fine = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True).flatten(1)
    filters.copy_(fine * (spread / fine.std()))


def _scale(layer: Dense, factor: float) -> None:
    for piece in layer.pieces:
        piece.weight.data.mul_(factor)


def build(config: MLPGANConfig, shape: ClipShape) -> dict[str, nn.Module]:
    """The pair of networks."""
    config.check()
    size = shape.single_frames("mlp_gan").height, shape.width
    return {"generator": Generator(config, *size), "discriminator": Discriminator(config, *size)}
