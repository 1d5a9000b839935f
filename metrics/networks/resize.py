"""Frames of any size brought to a network's size exactly as the tools do whose numbers one compares with.

Every one of these resizes is linear and treats rows and columns alike, so it is two matrices: what the tool's own function makes of
unit vectors. Two matrix products then do for a whole batch what the functions do picture by picture, to within rounding.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from metrics.fidelity import fidelity

Kind = Literal["tf1", "pytorch", "clean", "opencv_cubic"]


def resize(frames: Tensor, kind: Kind, size: int) -> Tensor:
    """uint8 ``(B, H, W, 3)`` -> float32 ``(B, 3, size, size)``, 0 to 255 (beyond for "opencv_cubic", which overshoots).

    "tf1": bilinear as TensorFlow 1 and torch-fidelity; "pytorch": bilinear as pytorch-fid, align_corners=False, no antialiasing;
    "clean": bicubic, antialiased, not rounded, clipped, as clean-fid (Parmar et al. 2022, arXiv 2104.11222); "opencv_cubic":
    INTER_CUBIC on floats.
    """
    used_rows, rows = _weights(kind, frames.shape[1], size, frames.device)
    used_columns, columns = _weights(kind, frames.shape[2], size, frames.device)
    if len(used_rows) < frames.shape[1]:
        frames = frames[:, used_rows]
    if len(used_columns) < frames.shape[2]:
        frames = frames[:, :, used_columns]
    planes = frames.permute(0, 3, 1, 2).contiguous().float()
    resized = rows @ (planes @ columns.T)
    return resized.clamp_(0, 255) if kind == "clean" else resized


@lru_cache(maxsize=32)
def _weights(kind: Kind, before: int, after: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Which of ``before`` pixels count, int64 ``(K,)``, and how much each does for each of ``after``, float32 ``(after, K)``."""
    matrix = torch.eye(before) if before == after else _WIDEN[kind](np.eye(before, dtype=np.float32), after).T
    used = matrix.ne(0).any(0).nonzero()[:, 0]
    return used.to(device), matrix[:, used].contiguous().to(device)


def _tf1(picture: np.ndarray, width: int) -> Tensor:
    narrow_or_widen = fidelity("interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    return narrow_or_widen(torch.from_numpy(picture)[None, None], (len(picture), width), align_corners=False)[0, 0]


def _pytorch(picture: np.ndarray, width: int) -> Tensor:
    return F.interpolate(torch.from_numpy(picture)[None, None], (len(picture), width), mode="bilinear", align_corners=False)[0, 0]


def _clean(picture: np.ndarray, width: int) -> Tensor:
    return torch.from_numpy(np.array(Image.fromarray(picture).resize((width, len(picture)), Image.Resampling.BICUBIC)))


def _opencv_cubic(picture: np.ndarray, width: int) -> Tensor:
    return torch.from_numpy(cv2.resize(picture, (width, len(picture)), interpolation=cv2.INTER_CUBIC))


_WIDEN: dict[str, Callable[[np.ndarray, int], Tensor]] = {"tf1": _tf1, "pytorch": _pytorch, "clean": _clean,
                                                          "opencv_cubic": _opencv_cubic}
