"""From tensors to pictures: uint8 conversion, what to show, grids, PNG."""

from math import ceil, sqrt
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from utils.files import atomic_file


def to_uint8(video: Tensor) -> np.ndarray:
    """(B, 3, T, H, W) in [-1, 1] -> uint8 (B, T, H, W, 3), rounded and clipped."""
    scaled = ((video.detach().float() + 1) * 127.5).round_().clamp_(0, 255)
    return scaled.byte().permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()


def grid(frames: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """uint8 (N, H, W, 3) -> one picture, row by row, about as wide as high on screen; white gaps of ``gap`` pixels."""
    number, height, width, _ = frames.shape
    columns = columns or max(1, min(number, round(sqrt(number * height / width)) or 1))
    rows = ceil(number / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[y:y + height, x:x + width] = frame
    return sheet


def evenly(count: int, most: int) -> np.ndarray:
    """Which of ``count`` things to show, at most ``most`` of them, spread evenly from the first to the last: int64, in order."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def encode_png(picture: np.ndarray) -> bytes:
    """uint8 RGB (H, W, 3) -> the bytes of a PNG file."""
    good, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not good:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded as PNG")
    return data.tobytes()


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write uint8 RGB (H, W, 3) atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(encode_png(picture))
