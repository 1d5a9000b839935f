"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738): differentiable augmentation of real and generated clips alike.

Each clip gets one draw that holds for all its frames: augmenting frames apart would teach the discriminator that motion flickers.
Strengths are the paper's: brightness +-0.5 (of the range [-1, 1]), saturation 0..2, contrast 0.5..1.5, translation by up to 1/8
of each side, a cut-out half as high and wide.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from training.task import Noise
from utils import hardware
from utils.errors import UserError

COUNTS = {"color": 3, "translation": 2, "cutout": 2}


def parse_policy(policy: str) -> list[str]:
    """``"color,cutout"`` -> its names; UserError on an unknown one."""
    names = [name.strip() for name in policy.split(",") if name.strip()]
    for name in names:
        if name not in COUNTS:
            raise UserError(f"--augment {policy}: {name!r} is not one of {', '.join(COUNTS)}")
    return names


def draw(noise: Noise, name: str, policy: list[str]) -> Tensor:
    """One row of uniform numbers per clip, on the CPU: the first decides whether the clip is augmented at all, the rest how."""
    return replace(noise, device=torch.device("cpu")).uniform(name, 1 + sum(COUNTS[part] for part in policy))


def augment(video: Tensor, policy: list[str], draws: Tensor, share: float = 1.0) -> Tensor:
    """(B, 3, T, H, W) -> the same shape. ``draws`` from :func:`draw`; ``share`` of the clips is augmented."""
    if not policy:
        return video
    chosen = draws[:, 0] < share
    at = 1
    for name in policy:
        numbers = draws[:, at:at + COUNTS[name]]
        at += COUNTS[name]
        # A clip that is left alone gets the draw that changes nothing.
        numbers = torch.where(chosen[:, None], numbers, torch.full_like(numbers, float("nan") if name == "cutout" else 0.5))
        # Where a clip is moved to is needed on the CPU: asking a graphics card for it would wait for all that it has to do.
        video = _FUNCTIONS[name](video, numbers if name == "translation" else hardware.upload(numbers, video.device))
    return video


def _color(video: Tensor, numbers: Tensor) -> Tensor:
    brightness, saturation, contrast = numbers.view(-1, 3, 1, 1, 1, 1).unbind(1)
    # Rounding, in reduced precision, would tell generated clips from real ones.
    video = video.to(torch.promote_types(video.dtype, torch.float32)) + (brightness - 0.5)
    gray = video.mean(1, keepdim=True)
    video = gray + (video - gray) * (saturation * 2)
    mean = video.mean((1, 2, 3, 4), keepdim=True)
    return mean + (video - mean) * (contrast + 0.5)


def _translation(video: Tensor, numbers: Tensor) -> Tensor:
    height, width = video.shape[-2:]
    reach_y, reach_x = int(height / 8 + 0.5), int(width / 8 + 0.5)
    shift_y = (numbers[:, 0] * (2 * reach_y + 1)).long().clamp(max=2 * reach_y)
    shift_x = (numbers[:, 1] * (2 * reach_x + 1)).long().clamp(max=2 * reach_x)
    padded = F.pad(video, (reach_x, reach_x, reach_y, reach_y))
    # Slicing clip by clip is a plain copy; a gather over an index grid has a slow scatter as its gradient. Unbound first: the gradient of
    # padded[i] is as large as the batch, for every clip.
    shifts = zip(padded.unbind(), shift_y.tolist(), shift_x.tolist())
    return torch.stack([clip[:, :, y:y + height, x:x + width] for clip, y, x in shifts])


def _cutout(video: Tensor, numbers: Tensor) -> Tensor:
    height, width = video.shape[-2:]
    # Centres of the pixels, so that no side is favoured.
    rows = torch.arange(height, device=video.device).view(1, -1) + 0.5
    columns = torch.arange(width, device=video.device).view(1, -1) + 0.5
    # The centre may lie anywhere, so the hole may hang over the edge. Comparisons with NaN are false: no hole.
    from_row, from_column = rows - numbers[:, :1] * height, columns - numbers[:, 1:] * width
    in_rows = (from_row >= -height / 4) & (from_row < height / 4)
    in_columns = (from_column >= -width / 4) & (from_column < width / 4)
    hole = (in_rows[:, :, None] & in_columns[:, None, :])[:, None, None]
    return video.masked_fill(hole, 0.0)


_FUNCTIONS = {"color": _color, "translation": _translation, "cutout": _cutout}
