"""Perceptual loss: how far apart two pictures are for a network that was trained to recognise things.

The network is the convolutional part of VGG16 (Simonyan & Zisserman 2015, arXiv 1409.1556, table 1, D) as far as its seventh
convolution, written out here, as importing torchvision takes seconds and nothing else of it is needed.
Weights come from a file of the user's, in safetensors: theirs are pickles, which may hold code.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from utils.errors import UserError
from utils.files import sha256_of

_WIDTHS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256)
SMALLEST = 4  # pixels a side, for two halvings
_COMPARED = (3, 8, 15)  # after the last convolution before each halving: relu1_2, relu2_2, relu3_3
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colours it was trained on
_CONVERT = ("make one where torchvision is: "
            "python -c \"import torchvision, safetensors.torch as s; "
            "s.save_file(torchvision.models.vgg16(weights='DEFAULT').features.state_dict(), 'vgg16.safetensors')\"")


def vgg16() -> nn.Sequential:
    """The layers ``features.0`` to ``features.15`` of VGG16, numbered as torchvision numbers them."""
    layers, before = [], 3
    for width in _WIDTHS:
        if width == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU()]
            before = width
    return nn.Sequential(*layers)


class Perceptual:
    """The mean absolute difference of features, averaged over three layers (after Johnson et al. 2016, arXiv 1603.08155, eq. 2),
    of two float32 (B, 3, H, W) with pixels in [0, 1] and sides of at least ``SMALLEST``. ``weights`` is read by :meth:`load` or the
    first call, not before: a trained network is sampled from without it. UserError if it cannot be used."""

    def __init__(self, weights: str | None, device: torch.device):
        if not weights:
            raise UserError(f"--model.vgg_weights: the perceptual loss needs a file of VGG16 weights; {_CONVERT}")
        self._weights, self._device, self._net = weights, device, None

    def load(self) -> None:
        """Read the weights, unless that is done."""
        if self._net is None:
            self._net = _loaded(self._weights).to(self._device).eval().requires_grad_(False)

    def content(self) -> str:
        """The SHA-256 of the file, which may lie elsewhere when a run goes on."""
        return sha256_of(Path(self._weights))

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        self.load()
        total = 0.0
        a, b = (_normalised(picture) for picture in (made, real))
        for index, layer in enumerate(self._net):
            a, b = layer(a), layer(b)
            if index in _COMPARED:
                total = total + (a - b).abs().mean() / len(_COMPARED)
        return total


def _normalised(picture: Tensor) -> Tensor:
    mean, deviation = (picture.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
    return (picture - mean) / deviation


def _loaded(weights: str) -> nn.Sequential:
    if not Path(weights).is_file():
        raise UserError(f"--model.vgg_weights {weights}: there is no such file; {_CONVERT}")
    try:
        tensors = {name.removeprefix("features."): value for name, value in load_file(weights).items()}
    except (OSError, SafetensorError) as error:
        raise UserError(f"--model.vgg_weights {weights}: not a safetensors file ({error}); {_CONVERT}") from None
    with torch.device("meta"):  # so that none of the first step's random numbers is drawn for weights that are replaced
        net = vgg16()
    own = net.state_dict()
    if any(name not in tensors or tensors[name].shape != value.shape for name, value in own.items()):
        raise UserError(f"--model.vgg_weights {weights}: holds no weights of VGG16; {_CONVERT}")
    net.load_state_dict({name: tensors[name].to(torch.float32, copy=True) for name in own}, assign=True)
    return net
