"""HRVGAN: clips of a chosen class from a residual 3-D generator against a critic that knows the classes
(after Sagar 2020, arXiv 2008.09646).

The paper names a Wasserstein loss, class labels and a pixel term, its code no networks. These are ours: class and latent scale and shift
every normalised channel of the generator (de Vries et al. 2017, arXiv 1707.00683; Brock et al. 2019, arXiv 1809.11096), the critic
adds the inner product of its features with a learnt vector of the class (Miyato & Koyama 2018, arXiv 1802.05637), and both are made of
residual blocks that double or halve the resolution. Widths follow the progressive network that the published code trains.
"""

from math import gcd, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.growth import Growing, fade, halve
from models.hrvgan_generator import Generator, SpriteGenerator
from models.hrvgan_parts import HRVGANConfig, Plan, initialise, kernel
from models.layers import Conv3d, MinibatchStd, PooledConv3d, in_float32
from models.shape import ClipShape


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
        with in_float32(x):  # of many candidates the surest ones are close together
            classes = F.linear(x.float().mean((2, 3)), self.classes.weight)
        return verdict + classes.gather(1, labels[:, None]).squeeze(1), classes


def build(config: HRVGANConfig, shape: ClipShape) -> dict[str, nn.Module]:
    """The pair of networks, in the memory layout that convolutions are fastest in."""
    Plan(config, shape)  # what cannot be built is told of the clip: the background behind sprites is a single frame
    generator = SpriteGenerator if config.sprites else Generator
    return {"generator": generator(config, shape).to(memory_format=torch.channels_last_3d),
            "discriminator": Critic(config, shape).to(memory_format=torch.channels_last_3d)}
