"""Pictures that go with numbers: samples side by side, differences, bars."""

import math
from io import BytesIO

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

_GAP = 4  # white pixels between tiles
_LINE = 26  # pixels a caption takes
_INK = "#333333"
_SIDE = 640  # pixels that one side of a comparison is wide


def grid(frames: list[np.ndarray], columns: int) -> np.ndarray:
    """uint8 ``(H, W, 3)`` frames of one size, row by row on white."""
    height, width = frames[0].shape[:2]
    rows = math.ceil(len(frames) / columns)
    canvas = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        canvas[top:top + height, left:left + width] = frame
    return canvas


def side_by_side(real: list[np.ndarray], fake: list[np.ndarray], real_name: str, fake_name: str) -> bytes:
    """Two grids of frames under their names, as a PNG: as many of each, at most 4 columns and 4 rows a side."""
    columns = 3 if real[0].shape[1] > 1.2 * real[0].shape[0] else 4
    count = min(len(real), len(fake), 4 * columns)
    columns = min(columns, count)
    spread = [np.linspace(0, len(side) - 1, count).round().astype(int) for side in (real, fake)]
    grids = [grid([_resized(side[place], _SIDE // columns - _GAP) for place in places], columns)
             for side, places in zip((real, fake), spread)]
    return _rows([(grids, [real_name, fake_name])])


def differences(rows: list[tuple[str, np.ndarray, np.ndarray]]) -> bytes:
    """For each (caption, reference, result), uint8 ``(H, W, 3)``: both, and the size of their difference as a heat map,
    as a PNG.

    All maps share one scale, shown under them: white is no difference.
    """
    maps = [np.abs(reference.astype(np.int16) - result).mean(axis=2) for _, reference, result in rows]
    top = max(1.0, *(float(np.percentile(difference, 99.9)) for difference in maps))
    colours = lambda values: (colormaps["hot_r"](values)[..., :3] * 255).round().astype(np.uint8)
    lines = []
    for (caption, reference, result), difference in zip(rows, maps):
        pictures = [_resized(picture, _SIDE * 2 // 3) for picture in (reference, result, colours(difference / top))]
        lines.append((pictures, [f"real: {caption}", "fake", "difference"]))
    ramp = np.linspace(0, 1, lines[0][0][0].shape[1])[None].repeat(12, axis=0)
    scale = f"mean difference over colours, 0 to {top:.0f} of 255"
    return _rows([*lines, ([np.full_like(colours(ramp), 255)] * 2 + [colours(ramp)], ["", "", scale])])


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


def _resized(frame: np.ndarray, width: int) -> np.ndarray:
    """To ``width`` pixels: wide frames averaged, narrow ones magnified as visible pixels."""
    size = (width, max(1, round(frame.shape[0] * width / frame.shape[1])))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA if frame.shape[1] > width else cv2.INTER_NEAREST)


def _rows(rows: list[tuple[list[np.ndarray], list[str]]]) -> bytes:
    """Rows of pictures, each picture under its caption, pixel for pixel."""
    gap = 4 * _GAP
    widths = [max(row[0][column].shape[1] for row in rows) for column in range(len(rows[0][0]))]
    heights = [max(picture.shape[0] for picture in pictures) + _LINE + _GAP for pictures, _ in rows]
    width, height = sum(widths) + gap * (len(widths) + 1), sum(heights) + gap
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    top = 0
    for (pictures, captions), row_height in zip(rows, heights):
        left = gap
        for picture, caption, column in zip(pictures, captions, widths):
            figure.text(left / width, 1 - (top + _LINE - 5) / height, caption, va="bottom", fontsize=9.5, color=_INK)
            figure.figimage(picture, left, height - top - _LINE - picture.shape[0], origin="upper")
            left += column + gap
        top += row_height
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
