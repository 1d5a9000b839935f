"""C3D as the Inception score of videos uses it: conv3d_deepnetA (Tran et al. 2015, arXiv 1412.0767), trained on Sports-1M and then
on UCF-101, in the conversion that TGAN (Saito et al. 2017, arXiv 1611.06624) publishes for Chainer.

Preprocessing is that of TGAN's evaluation: 16 frames, each brought to 128x128 by OpenCV's bicubic (not antialiased, shape not kept),
RGB to BGR, the mean clip of Sports-1M subtracted, the central 112x112 kept.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from metrics.networks.penultimate import penultimate
from metrics.networks.reading import fill, read_arrays, read_script
from metrics.networks.resize import resize
from utils.errors import UserError
from utils.hardware import autocast

FRAMES = 16
_RESIZED = 128
_MEAN_SHAPE = (3, FRAMES, 128, 171)
_COLUMNS = slice(21, 21 + 128)  # of the mean: its central square
_CROP = slice(8, 8 + 112)


class C3D(nn.Module):
    """The network itself; ``width`` channels in the first layer, ``hidden`` units in the two before the last."""

    def __init__(self, width: int = 64, hidden: int = 4096, classes: int = 101):
        super().__init__()
        widths = {"1a": (3, width), "2a": (width, 2 * width), "3a": (2 * width, 4 * width), "3b": (4 * width, 4 * width),
                  "4a": (4 * width, 8 * width), "4b": (8 * width, 8 * width), "5a": (8 * width, 8 * width), "5b": (8 * width, 8 * width)}
        for name, (before, after) in widths.items():
            self.add_module(f"conv{name}", nn.Conv3d(before, after, 3, padding=1))
        self.fc6 = nn.Linear(8 * width * 1 * 4 * 4, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)

    def forward(self, clips: Tensor) -> Tensor:
        """float ``(B, 3, 16, 112, 112)`` -> logits ``(B, classes)``."""
        x = clips
        for group in (("1a",), ("2a",), ("3a", "3b"), ("4a", "4b"), ("5a", "5b")):
            for name in group:
                x = self.get_submodule(f"conv{name}")(x).relu()
            size = (1, 2, 2) if group == ("1a",) else 2
            x = nn.functional.max_pool3d(x, size, ceil_mode=True)  # Chainer's pooling covers all; 7x7 becomes 4x4
        return self.fc8(self.fc7(self.fc6(x.flatten(1)).relu()).relu())


def build(weights: Path, mean: Path, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], dict[str, Tensor]]:
    """uint8 ``(B, T >= 16, H, W, 3)`` -> "features" ``(B, 4096)``, what goes into the last layer, and "logits" ``(B, 101)``, of the
    first 16 frames.

    ``weights``: Chainer's ``.npz``, or a TorchScript file of a network that takes and gives the same; it has only "logits", which
    then are the features too. ``mean``: ``.npz`` with the array "mean".
    """
    average = _mean(mean).to(device)
    net = _converted(weights).to(device).eval() if weights.suffix == ".npz" else read_script("c3d", weights, device)

    def features(clips: Tensor) -> dict[str, Tensor]:
        inputs = prepared(clips[:, :FRAMES], average)
        with autocast(dtype, device):
            found, logits = penultimate(net, inputs) if isinstance(net, C3D) else (net(inputs),) * 2
        return {"features": found.float(), "logits": logits.float()}
    return features


def prepared(clips: Tensor, mean: Tensor) -> Tensor:
    """uint8 ``(B, 16, H, W, 3)``, mean ``(3, 16, 128, 128)`` in BGR -> float32 ``(B, 3, 16, 112, 112)`` as the network wants it."""
    frames = resize(clips.flatten(0, 1), "opencv_cubic", _RESIZED).unflatten(0, clips.shape[:2])
    return (frames.transpose(1, 2).flip(1) - mean)[..., _CROP, _CROP].contiguous()


def _mean(path: Path) -> Tensor:
    arrays = read_arrays("c3d_mean", path)
    if "mean" not in arrays or arrays["mean"].numel() != torch.Size(_MEAN_SHAPE).numel():
        raise UserError(f"weights of c3d_mean, {path}: holds no array mean of {_MEAN_SHAPE}; give the file as published")
    return arrays["mean"].reshape(_MEAN_SHAPE)[..., _COLUMNS].float()


def _converted(path: Path) -> C3D:
    """Chainer's names are ``conv1a/W`` and ``conv1a/b``; its layouts are PyTorch's."""
    arrays = read_arrays("c3d", path)
    tensors = {f"{layer}.{'weight' if kind == 'W' else 'bias'}": value.float()
               for key, value in arrays.items() for layer, _, kind in [key.rpartition("/")] if kind in ("W", "b")}
    sizes = [len(tensors[name]) if name in tensors else usual
             for name, usual in (("conv1a.bias", 64), ("fc6.bias", 4096), ("fc8.bias", 101))]
    net = C3D(*sizes)
    fill(net, tensors, "c3d", path)
    return net
