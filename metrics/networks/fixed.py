"""A network that nobody trained: random weights, the same everywhere, nothing to download.

Even without training, statistics of convolutions tell textures, colours and, on clips, movements apart (after Ustyuzhaninov et al.
2016, arXiv 1606.00021), so distances between its features rank videos in a first look. Its numbers compare with no published ones.
"""

import hashlib
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.seeds import torch_generator

WIDTHS = (16, 32, 64, 128)  # channels by level; each level halves height and width, and time from the second on
_BIAS = 0.1


def build(looks_at: Literal["frames", "clips"], device: torch.device) -> Callable[[Tensor], dict[str, Tensor]]:
    """uint8 ``(B, H, W, 3)`` or ``(B, T, H, W, 3)`` of any size -> "features" ``(B, 480)``: mean and standard deviation of every
    channel of every level."""
    layers = [(weight.to(device), bias.to(device)) for weight, bias in weights(looks_at)]
    convolve = F.conv2d if looks_at == "frames" else F.conv3d

    def features(videos: Tensor) -> dict[str, Tensor]:
        x = videos.movedim(-1, 1).contiguous().float().div_(127.5).sub_(1)
        found = []
        for level, (weight, bias) in enumerate(layers):
            stride = 2 if looks_at == "frames" else (2 if level else 1, 2, 2)
            x = convolve(x, weight, bias, stride=stride, padding=1).relu_()
            variance, mean = torch.var_mean(x.flatten(2), dim=2, correction=0)
            found += [mean, variance.sqrt()]
        return {"features": torch.cat(found, 1)}
    return features


def weights(looks_at: Literal["frames", "clips"]) -> list[tuple[Tensor, Tensor]]:
    """Kernels and biases, level by level, scaled as by He et al. 2015 (arXiv 1502.01852).

    Uniform, not normal: uniform numbers are exact on every processor, normal ones differ in the last bit.
    """
    before, levels = 3, []
    kernel = (3, 3) if looks_at == "frames" else (3, 3, 3)
    for level, width in enumerate(WIDTHS):
        generator = torch_generator(0, "random feature network", looks_at, level)
        reach = (6 / (before * torch.Size(kernel).numel())) ** 0.5
        weight = torch.rand(width, before, *kernel, generator=generator).mul_(2).sub_(1).mul_(reach)
        levels.append((weight, torch.rand(width, generator=generator).mul_(2).sub_(1).mul_(_BIAS)))
        before = width
    return levels


def digest(looks_at: Literal["frames", "clips"]) -> str:
    """SHA-256 of the weights, in hex."""
    found = hashlib.sha256()
    for layer in weights(looks_at):
        for tensor in layer:
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()
