"""Pictures that go with numbers: samples side by side and over time, nearest neighbours, differences."""

import math

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor

from metrics.plots import INK, plain, png
from utils.images import evenly, grid

_GAP = 4  # white pixels between tiles
_LINE = 26  # pixels a caption takes
_SIDE = 640  # pixels that one side of a comparison is wide
_WIDE = 1040  # pixels that a picture of many tiles is wide
_TILE = 150  # pixels of one of those tiles
_LETTER = 7.6  # pixels that a letter of a caption takes at most, on average
_STRIPS, _TIMES = 4, 8  # clips of each side, and frames of each clip, that are shown over time


def side_by_side(real: list[np.ndarray], fake: list[np.ndarray], real_name: str, fake_name: str) -> bytes:
    """Two grids of frames under their names, as a PNG: as many of each, at most 4 columns and 4 rows a side."""
    columns = 3 if real[0].shape[1] > 1.2 * real[0].shape[0] else 4
    count = min(len(real), len(fake), 4 * columns)
    columns = min(columns, count)
    grids = [grid(np.stack([_resized(side[place], _SIDE // columns - _GAP) for place in evenly(len(side), count)]), columns, _GAP)
             for side in (real, fake)]
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


def strips(real: list[Tensor], fake: list[Tensor]) -> bytes:
    """A few clips of each side, uint8 ``(T, H, W, 3)``, as rows of up to 8 frames from first to last, as a PNG. For T > 1."""
    count = min(len(real), len(fake), _STRIPS)
    rows = []
    for name, clips in (("real", real), ("fake", fake)):
        times = evenly(len(clips[0]), _TIMES).tolist()
        chosen = [clips[place] for place in evenly(len(clips), count)]
        width = min(_TILE, _WIDE // len(times)) - _GAP
        frames = [_resized(clip[time].numpy(), width) for clip in chosen for time in times]
        rows.append(([grid(np.stack(frames), len(times), _GAP)], [f"{name}, frames {', '.join(map(str, times))}"]))
    return _rows(rows)


def neighbours(fake: list[np.ndarray], real: list[np.ndarray], captions: list[str]) -> bytes:
    """Generated frames uint8 ``(H, W, 3)``, beneath each the real frame most like it with its caption, say the distance, as a PNG."""
    below = [f"nearest real: {caption}" for caption in captions]
    width = max(_TILE, math.ceil(_LETTER * max(map(len, below))))
    columns = max(1, _WIDE // (width + 4 * _GAP))
    columns = math.ceil(len(fake) / math.ceil(len(fake) / columns))  # the last row about as long as the others
    rows = []
    for start in range(0, len(fake), columns):
        for side, texts in ((fake, ["generated"] * len(fake)), (real, below)):
            part = slice(start, start + columns)
            frames = [_resized(frame, width) for frame in side[part]]
            blank = [np.full_like(frames[0], 255)] * (columns - len(frames))
            rows.append((frames + blank, texts[part] + [""] * len(blank)))
    return _rows(rows)


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
            figure.text(left / width, 1 - (top + _LINE - 5) / height, plain(caption), va="bottom", fontsize=9.5, color=INK)
            figure.figimage(picture, left, height - top - _LINE - picture.shape[0], origin="upper")
            left += column + gap
        top += row_height
    return png(figure)
