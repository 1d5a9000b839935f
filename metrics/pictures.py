"""Pictures that go with numbers: samples side by side, differences, bars."""

import math
from io import BytesIO

import cv2
import numpy as np
from matplotlib.figure import Figure

_GAP = 4  # white pixels between tiles
_CAPTION = 30  # pixels above a panel
_INK = "#333333"


def grid(frames: list[np.ndarray], columns: int) -> np.ndarray:
    """uint8 ``(H, W, 3)`` frames of one size, row by row on white."""
    height, width = frames[0].shape[:2]
    rows = math.ceil(len(frames) / columns)
    canvas = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        canvas[top:top + height, left:left + width] = frame
    return canvas


def panels(pictures: list[np.ndarray], captions: list[str]) -> bytes:
    """Pictures side by side, each under its caption, as a PNG; no pixel is resampled."""
    gap = 5 * _GAP
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    figure = Figure(figsize=(width / 100, (height + _CAPTION) / 100), dpi=100)
    left = 0
    for picture, caption in zip(pictures, captions):
        figure.figimage(picture, left, height - picture.shape[0], origin="upper")
        figure.text(left / width, 1 - 9 / (height + _CAPTION), caption, va="top", fontsize=9, color=_INK)
        left += picture.shape[1] + gap
    return _png(figure)


def side_by_side(real: list[np.ndarray], fake: list[np.ndarray], real_name: str, fake_name: str) -> bytes:
    """Two grids of frames, at most 24 each, shown no wider than 1000 pixels a side."""
    columns = 3 if real[0].shape[1] > 1.2 * real[0].shape[0] else 4
    count = min(len(real), len(fake), 24)
    grids = [grid([_shown(frame, 1000 // columns) for frame in side[:count]], min(columns, count)) for side in (real, fake)]
    return panels(grids, [real_name, fake_name])


def differences(rows: list[tuple[str, np.ndarray, np.ndarray]]) -> bytes:
    """For each (caption, reference, result), uint8 ``(H, W, 3)``: both, and the size of their difference as a heat map.

    All maps share one scale, printed under the picture: white is no difference.
    """
    maps = [np.abs(reference.astype(np.int16) - result).mean(axis=2) for _, reference, result in rows]
    top = max(1.0, max(float(np.percentile(difference, 99.9)) for difference in maps))
    height, width = (max(row[1].shape[axis] for row in rows) for axis in (0, 1))
    shown = 3.6 * max(0.35, min(1.5, height / width))
    figure = Figure(figsize=(11.4, (shown + 0.35) * len(rows) + 0.5), dpi=110, layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for (caption, reference, result), difference, line in zip(rows, maps, axes):
        for axis, picture, title in zip(line, (reference, result, difference), (f"real: {caption}", "fake", "difference")):
            image = axis.imshow(picture, cmap="magma_r", vmin=0, vmax=top)
            axis.set_title(title, fontsize=8.5, color=_INK, loc="left")
            axis.set_axis_off()
    figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.03, aspect=60,
                    label="mean absolute difference over colours (of 255)")
    return _png(figure)


def bars(title: str, unit: str, groups: dict[str, dict[str, float]]) -> bytes:
    """Bars per part, one colour per group: ``{"generated": {"64x64": 12.3, ...}, "real against real": {...}}``."""
    figure = Figure(figsize=(7, 3.4), dpi=110, layout="constrained")
    axis = figure.subplots()
    parts = list(next(iter(groups.values())))
    width = 0.8 / len(groups)
    for number, ((name, values), color) in enumerate(zip(groups.items(), ("#3b6fb6", "#b9c4d0"))):
        bar = axis.bar(np.arange(len(parts)) + (number - (len(groups) - 1) / 2) * width,
                       [values[part] for part in parts], width, label=name, color=color)
        axis.bar_label(bar, fmt="%.3g", fontsize=8, color=_INK, padding=2)
    axis.set_xticks(range(len(parts)), parts)
    axis.set_title(title, fontsize=10, color=_INK, loc="left")
    axis.set_ylabel(unit)
    axis.margins(y=0.18)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    return _png(figure)


def _shown(frame: np.ndarray, widest: int) -> np.ndarray:
    """Small frames are magnified by whole factors, wide ones reduced."""
    height, width = frame.shape[:2]
    if width > widest:
        return cv2.resize(frame, (widest, max(1, round(height * widest / width))), interpolation=cv2.INTER_AREA)
    factor = max(1, min(3, widest // width))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
