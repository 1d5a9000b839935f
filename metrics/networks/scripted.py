"""Networks that come as TorchScript files: the I3D of FVD as StyleGAN-V publishes it, and any other that a user has."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from metrics.networks.reading import read_script
from utils.errors import UserError


def build_i3d(path: Path, device: torch.device) -> Callable[[Tensor], dict[str, Tensor]]:
    """uint8 ``(B, T, H, W, 3)`` -> "features" ``(B, 400)``: I3D's Kinetics-400 logits, which are what FVD compares (Unterthiner et
    al. 2019; the file and the way it is called are those of StyleGAN-V, Skorokhodov et al. 2022, arXiv 2112.14683).

    The network brings 0..255 to its own range and frames to 224x224 itself.
    """
    net = read_script("i3d", path, device)

    def features(clips: Tensor) -> dict[str, Tensor]:
        inputs = clips.permute(0, 4, 1, 2, 3).contiguous().float()
        return {"features": _run("i3d", path, net, inputs, rescale=True, resize=True, return_features=True)}
    return features


def build_script(path: Path, device: torch.device) -> Callable[[Tensor], dict[str, Tensor]]:
    """A network of the user's: called with float32 ``(B, 3, T, H, W)`` for clips, ``(B, 3, H, W)`` for frames, pixels in [-1, 1], at
    the size of the videos; must return ``(B, D)``. uint8 frames or clips -> "features" ``(B, D)``."""
    net = read_script("script", path, device)

    def features(videos: Tensor) -> dict[str, Tensor]:
        inputs = videos.movedim(-1, 1).contiguous().float().div_(127.5).sub_(1)
        return {"features": _run("script", path, net, inputs)}
    return features


def _run(name: str, path: Path, net: torch.jit.ScriptModule, inputs: Tensor, **options) -> Tensor:
    """The script's answer. UserError if it stops, or answers with something else than ``(B, D)``."""
    asked = f"weights of {name}, {path}: given float32 {tuple(inputs.shape)}"
    try:
        found = net(inputs, **options)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, torch.jit.Error) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{asked} the network stops: {reason[:160]}; give one that takes such videos") from None
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(inputs) or not found.shape[1]:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"{asked} the network returns {shape}, not ({len(inputs)}, features); give one that does")
    return found.float()
