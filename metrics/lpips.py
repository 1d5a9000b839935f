"""LPIPS: how different two frames look to a network trained to recognise things (Zhang et al. 2018, arXiv 1801.03924,
eq. 1), version 0.1 with linear layers, on AlexNet or VGG16. For tasks that have a reference.

Network and linear weights (7 kB) are those in torchmetrics, a copy of the authors' own. The backbone's weights are
torchvision's, from a file of the user's: nothing is downloaded, and reading it runs no code. The one difference from the
authors' package: features are divided by sqrt(1e-8 + sum of squares) and not by 1e-10 + sqrt(sum of squares), which
matters only where a network sees next to nothing. """

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from metrics.pixel import checked
from utils.errors import UserError

OFFICIAL = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
SMALLEST = {"alex": 31, "vgg": 16}  # one pixel is left at the deepest layer
_PIXELS = 2**20  # of frames passed at once: VGG16 needs 0.5 kB of activations for each


def lpips(weights: str | Path | None, net: Literal["alex", "vgg"] = "alex") -> Callable[..., Tensor]:
    """The metric as a function ``(frames, reference, *, data_range) -> float64 (...)``, which takes ``(..., H, W, 3)`` as
    :func:`metrics.pixel.psnr` does, and sides of at least ``SMALLEST[net]`` (ValueError below). 0 is equal.

    ``weights``: torchvision's ``alexnet`` or ``vgg16``, a state_dict in safetensors or .pth, with or without the classifier.
    UserError if it cannot be used. The network computes in float32, where the frames are. """
    network = _network(weights, net)

    @torch.no_grad()
    def measure(frames: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
        frames, reference = checked(frames, reference, data_range)
        height, width, channels = frames.shape[-3:]
        if channels != 3 or min(height, width) < SMALLEST[net]:
            raise ValueError(f"LPIPS ({net}) needs RGB frames of at least {SMALLEST[net]}x{SMALLEST[net]} pixels; "
                             f"got {height}x{width} with {channels} channels")
        network.to(frames.device)
        sides = [(2 / data_range * side - 1).float().reshape(-1, height, width, 3).permute(0, 3, 1, 2) for side in (frames, reference)]
        size = max(1, _PIXELS // (height * width))
        parts = [network(a, b).view(-1) for a, b in zip(*(side.split(size) for side in sides))]
        return torch.cat(parts).double().view(frames.shape[:-3])

    return measure


def _network(weights: str | Path | None, net: str) -> nn.Module:
    """torchmetrics' network with every weight in place."""
    import utils.vision  # noqa: F401  before torchmetrics, which imports torchvision; here, because the two take seconds
    # isort: split
    from torchmetrics.functional.image import lpips as torchmetrics_lpips

    with torch.device("meta"):  # no memory, no random numbers: all of it is replaced
        network = torchmetrics_lpips._LPIPS(pretrained=False, net=net, pnet_rand=True)
    network.scaling_layer = torchmetrics_lpips.ScalingLayer()  # constants that no file holds
    linear = _read(Path(torchmetrics_lpips.__file__).parent / "lpips_models" / f"{net}.pth")
    backbone = _backbone(weights, net)
    tensors = {}
    for name, own in network.state_dict().items():
        if name.startswith("net."):  # net.slice3.6.weight is torchvision's features.6.weight
            value = backbone.get(name.split(".", 2)[2])
        else:  # the layers have a second name: lins.0 is lin0
            value = linear[name.replace("lins.", "lin")]
        if value is None or value.shape != own.shape:
            raise UserError(f"--weights lpips={weights}: holds no weights of {OFFICIAL[net].split('-')[0]}; {_advice(net)}")
        tensors[name] = value.float()
    network.load_state_dict(tensors, assign=True)
    return network


def _backbone(weights: str | Path | None, net: str) -> dict[str, Tensor]:
    """Tensors by their names inside torchvision's ``features``."""
    if not weights:
        raise UserError(f"--metrics lpips needs weights of {OFFICIAL[net].split('-')[0]}; {_advice(net)}")
    if not Path(weights).is_file():
        raise UserError(f"--weights lpips={weights}: there is no such file; {_advice(net)}")
    try:
        tensors = _read(Path(weights))
        return {name.removeprefix("features."): value for name, value in tensors.items() if isinstance(value, Tensor)}
    except Exception as error:  # a file of any bytes makes the readers raise nearly anything
        reason = str(error).split("\n")[0][:120]
        raise UserError(f"--weights lpips={weights}: not a state_dict in safetensors or PyTorch's format ({reason}); "
                        f"{_advice(net)}") from None


def _read(path: Path) -> dict[str, Tensor]:
    with open(path, "rb") as file:
        safetensors = file.read(9)[8:] == b"{"  # a length of 8 bytes, then JSON
    with warnings.catch_warnings(action="ignore"):  # of what it then refuses
        return load_file(path) if safetensors else torch.load(path, map_location="cpu", weights_only=True)


def _advice(net: str) -> str:
    return f"get https://download.pytorch.org/models/{OFFICIAL[net]} and name it with --weights lpips=PATH"
