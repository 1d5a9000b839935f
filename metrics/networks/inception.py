"""The Inception network of FID and of the Inception score: torch-fidelity's port of the original TensorFlow graph, made faster.

Each batch normalisation is folded into the convolution before it, tensors are kept channels last, frames are resized by matrix
products, and nothing needs compiling: twice torch-fidelity's speed on a CPU in float32, over three times with ``bf16``, which moves
features by about half a percent. In float32 they agree with torch-fidelity's to within rounding.
"""

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from metrics.networks.reading import read_tensors
from metrics.networks.resize import resize as resized
from utils import vision  # noqa: F401  torch_fidelity imports torchvision
from utils.errors import UserError

# isort: split
from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

SIDE = 299
# How each tool brings 0..255 to the network: (x - shift) / scale.
_SCALES = {"tf1": (128.0, 128.0), "pytorch": (127.5, 127.5), "clean": (128.0, 128.0)}


def build(path: Path, device: torch.device, dtype: torch.dtype, resize: str) -> Callable[[Tensor], dict[str, Tensor]]:
    """uint8 ``(B, H, W, 3)`` -> "features" ``(B, 2048)`` and "logits" ``(B, 1008)``, torch-fidelity's "logits_unbiased".

    ``path``: weights as torch-fidelity or pytorch-fid publish them, or these in safetensors. ``resize``: "tf1", "pytorch", "clean".
    """
    net = extractor(read_tensors("inception", path), path)
    fold_batch_norms(net)
    # From the first convolution to the last block; in the order in which they run.
    trunk = nn.Sequential(*list(net.children())[:-2]).to(device, dtype, memory_format=torch.channels_last)
    classes = net.fc.weight.T.to(device)
    shift, scale = _SCALES[resize]

    def features(frames: Tensor) -> dict[str, Tensor]:
        pictures = resized(frames, resize, SIDE).sub_(shift).div_(scale)
        found = trunk(pictures.to(dtype, memory_format=torch.channels_last)).float().mean((2, 3))
        return {"features": found, "logits": found @ classes}
    return features


def extractor(tensors: dict[str, Tensor], path: Path) -> FeatureExtractorInceptionV3:
    """torch-fidelity's own network with these weights. UserError if they are not of that network."""
    # Its constructor unpickles a file or downloads one, so it gets a file of ours that never leaves memory.
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=file)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"weights of inception, {path}: not those of FID's Inception ({reason} ...); give the file as torch-fidelity or "
                        "pytorch-fid publish it") from None


def fold_batch_norms(net: nn.Module) -> None:
    """Multiply every batch normalisation of an Inception into the convolution before it, in place."""
    for block in net.modules():
        if isinstance(block, BasicConv2d):
            block.conv = fuse_conv_bn_eval(block.conv, block.bn)
            block.bn = nn.Identity()
