"""torchvision's video networks trained on Kinetics-400: r3d_18 (Tran et al. 2018, arXiv 1711.11248) and s3d (Xie et al. 2018,
arXiv 1712.04851), with the resize, crop and colours that torchvision documents for their weights."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from metrics.networks.penultimate import penultimate
from metrics.networks.reading import fill, read_tensors
from utils.hardware import autocast
from utils.vision import torchvision


def build(name: str, path: Path, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], dict[str, Tensor]]:
    """uint8 ``(B, T, H, W, 3)`` -> "features" ``(B, 512)``, for s3d ``(B, 1024)``, and "logits" ``(B, 400)``.

    ``path``: weights in torchvision's format. s3d judges several stretches of a long clip; its features are their mean.
    """
    net = getattr(torchvision.models.video, name)(weights=None)
    prepare = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    fill(net, read_tensors(name, path), name, path)
    net.to(device).eval()

    def features(clips: Tensor) -> dict[str, Tensor]:
        inputs = prepare(clips.permute(0, 1, 4, 2, 3).contiguous())
        with autocast(dtype, device):
            if name == "s3d":
                found = net.avgpool(net.features(inputs))
                found, logits = found.mean((2, 3, 4)), net.classifier(found).mean((2, 3, 4))
            else:
                found, logits = penultimate(net, inputs)
        return {"features": found.float(), "logits": logits.float()}
    return features
