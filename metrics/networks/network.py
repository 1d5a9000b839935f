"""Feature networks by name: what a distance between crowds of videos looks through."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metrics.networks import c3d, fixed, scripted
from metrics.networks.weights import find_weights
from utils.errors import UserError
from utils.files import sha256_of
from utils.hardware import full_float32, pick_dtype

LooksAt = Literal["frames", "clips"]
_AT_ONCE = {"frames": 32, "clips": 8}  # keeps memory in bounds whatever the batch; larger is no faster on a CPU


@dataclass(frozen=True)
class Network:
    """A function from videos to features, and what a protocol must say of it."""

    name: str
    identity: str
    """Name, first 16 digits of its weights' SHA-256, what it does to frames before it looks, precision."""
    looks_at: LooksAt
    needs_frames: int
    """The shortest clip it takes; 1 for frames."""
    function: Callable[[Tensor], dict[str, Tensor]]
    """uint8 ``(B, H, W, 3)`` for frames, ``(B, T, H, W, 3)`` for clips, any size, any batch, on any device -> float32 on the CPU:
    "features" ``(B, D)`` and, where it classifies, "logits" ``(B, K)``."""


@dataclass(frozen=True)
class _Kind:
    looks_at: tuple[LooksAt, ...]
    needs_frames: int = 1
    files: tuple[str, ...] = ()
    """Which weights it needs; those of several networks may lie in one folder."""
    resizes: tuple[str, ...] = ()
    """What the user may choose from; the first is the default."""
    sees: str = "frames as they are"
    bf16: bool = True


KINDS = {
    "inception": _Kind(("frames",), files=("inception",), resizes=("tf1", "pytorch", "clean")),
    "i3d": _Kind(("clips",), 11, ("i3d",), sees="resized by the network itself", bf16=False),
    "c3d": _Kind(("clips",), c3d.FRAMES, ("c3d", "c3d_mean"), sees="first 16 frames, OpenCV bicubic to 128, crop 112"),
    "r3d_18": _Kind(("clips",), files=("r3d_18",), sees="bilinear to 128x171, crop 112"),
    "s3d": _Kind(("clips",), 14, ("s3d",), sees="bilinear to 256, crop 224"),
    "script": _Kind(("clips", "frames"), files=("script",), bf16=False),
    "random": _Kind(("frames", "clips"), bf16=False),
}


def load_network(name: str, weights: dict[str, str], *, device="cpu", precision: str = "fp32", resize: str | None = None,
                 looks_at: LooksAt | None = None) -> Network:
    """The network ``name`` (a key of KINDS) on ``device``.

    ``weights``: of :func:`metrics.networks.weights.parse_weights`. ``precision``: fp32, bf16 or auto; TorchScript files and "random"
    always run in fp32, and their identity says so. ``resize``: for "inception" only. ``looks_at``: what the metric wants to show it,
    for those that can look at either. MissingWeights if its weights are nowhere, UserError if what was asked for cannot be.
    """
    if name not in KINDS:
        raise UserError(f"no feature network is called {name}; there are {', '.join(KINDS)}")
    kind, device = KINDS[name], torch.device(device)
    looks_at = looks_at or kind.looks_at[0]
    if looks_at not in kind.looks_at:
        able = ", ".join(each for each, other in KINDS.items() if looks_at in other.looks_at)
        raise UserError(f"the network {name} looks at {kind.looks_at[0]}, not at {looks_at}; those that do are {able}")
    if resize is not None and resize not in kind.resizes:
        allowed = f"one of {', '.join(kind.resizes)}" if kind.resizes else "none: it has its own way"
        raise UserError(f"resize {resize}: the network {name} takes {allowed}")
    dtype = pick_dtype(precision, device) if kind.bf16 else torch.float32
    resize = resize or next(iter(kind.resizes), None)
    files = {file: find_weights(file, weights) for file in kind.files}
    hashes = " ".join(sha256_of(path)[:16] for path in files.values()) or fixed.digest(looks_at)[:16]
    sees = f"{resize} resize" if resize else kind.sees
    identity = f"{name} {hashes}, {looks_at}, {sees}, {'bf16' if dtype is torch.bfloat16 else 'fp32'}"
    function = _build(name, files, device, dtype, resize, looks_at)
    return wrap(name, identity, function, looks_at, kind.needs_frames, device)


def wrap(name: str, identity: str, function: Callable[[Tensor], Tensor | dict[str, Tensor]], looks_at: LooksAt, needs_frames: int = 1,
         device="cpu") -> Network:
    """A Network out of any function of uint8 videos on ``device`` that returns its features ``(B, D)``, or a dict as a Network does.

    Runs without gradients, a few videos at a time, and on CUDA without the shortened float32 of its convolutions.
    """
    device = torch.device(device)
    dimensions = 4 if looks_at == "frames" else 5

    def guarded(videos: Tensor) -> dict[str, Tensor]:
        if videos.dtype != torch.uint8 or videos.dim() != dimensions or videos.shape[-1] != 3 or not len(videos):
            shape = "(B, H, W, 3)" if looks_at == "frames" else "(B, T, H, W, 3)"
            raise ValueError(f"{name} looks at uint8 {shape}, not at {videos.dtype} {tuple(videos.shape)}")
        if looks_at == "clips" and videos.shape[1] < needs_frames:
            raise UserError(f"the network {name} needs clips of at least {needs_frames} frames, these have {videos.shape[1]}; "
                            "give longer ones, or choose another network")
        parts = []
        with torch.no_grad(), full_float32(device):
            for part in videos.split(_AT_ONCE[looks_at]):
                found = function(part.to(device))
                parts.append(found if isinstance(found, dict) else {"features": found})
        joined = {key: torch.cat([part[key].float().cpu() for part in parts]) for key in parts[0]}
        if not all(torch.isfinite(values).all() for values in joined.values()):
            raise UserError(f"the network {identity}: gives values that are not finite; give other weights, or another network")
        return joined
    return Network(name, identity, looks_at, needs_frames, guarded)


def _build(name: str, files: dict, device: torch.device, dtype: torch.dtype, resize: str | None, looks_at: LooksAt) -> Callable:
    if name == "inception":
        from metrics.networks import inception  # like the next, takes seconds to import
        return inception.build(files[name], device, dtype, resize)
    if name in ("r3d_18", "s3d"):
        from metrics.networks import kinetics
        return kinetics.build(name, files[name], device, dtype)
    if name == "c3d":
        return c3d.build(files["c3d"], files["c3d_mean"], device, dtype)
    if name == "i3d":
        return scripted.build_i3d(files[name], device)
    if name == "script":
        return scripted.build_script(files[name], device)
    return fixed.build(looks_at, device)
