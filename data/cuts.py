"""Hard scene cuts: places that a clip must not cross.

Deliberately reluctant: a missed cut costs a few odd clips, while false ones take good clips away from every video with
quick motion. A cut must be a change of layout and of colours that is large in itself and much larger than all changes around
it. So a flash, which goes as it came, is none.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

_SIDE = 16  # frames are compared as 16x16 averages: noise and small motion vanish
_BINS = 8  # of each channel's histogram, which motion inside the frame hardly touches
_LAYOUT, _COLOURS = 0.07, 0.12  # share of the full range, and of the pixels, below which nothing counts as a cut
_OUTSTANDING = 2.5  # a cut is this many times the largest change around it
_NEIGHBOURS = 4
_BLOCK = 1024


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (16, 16, 3)."""
    return cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def find_cuts(thumbnails: np.ndarray) -> list[int]:
    """uint8 (N, 16, 16, 3) of consecutive frames -> numbers of the frames with which a new scene begins."""
    if len(thumbnails) < 4:  # too few to tell a cut from quick motion
        return []
    blocks = [_changes(thumbnails[start:start + _BLOCK + 1]) for start in range(0, len(thumbnails) - 1, _BLOCK)]
    layout, colours = np.concatenate(blocks, axis=1)
    change = layout + colours
    cuts = []
    for place in np.flatnonzero((layout > _LAYOUT) & (colours > _COLOURS)):
        around = np.concatenate([change[max(0, place - _NEIGHBOURS):place], change[place + 1:place + 1 + _NEIGHBOURS]])
        if change[place] > _OUTSTANDING * around.max():
            cuts.append(int(place) + 1)
    return cuts


def _changes(thumbnails: np.ndarray) -> np.ndarray:
    """From each frame to the next, mean absolute difference and share of pixels that change colour: float (2, N - 1)."""
    frames = thumbnails.astype(np.float32) / 255
    layout = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    # Each value is shared between the two nearest bins, so that a slow change of light moves no pixel at once.
    places = frames.reshape(len(frames), -1, 3) * (_BINS - 1)
    histogram = np.stack([np.clip(1 - np.abs(places - level), 0, 1).mean(axis=1) for level in range(_BINS)], axis=-1)
    return np.stack([layout, np.abs(np.diff(histogram, axis=0)).sum(axis=-1).mean(axis=-1) / 2])


def with_cuts(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Each of the film's frames, uint8 (H, W, 3), and whether a new scene begins with it: what :func:`find_cuts` says of the
    whole film, but told a few frames late and with no more than those in memory."""
    frames = iter(frames)
    seen: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=2 * _NEIGHBOURS + 2)  # (frame, thumbnail); changes lie between
    told = 0  # frames of ``seen`` that were handed on
    while True:
        frame = next(frames, None)
        if frame is not None:
            told -= len(seen) == seen.maxlen
            seen.append((frame, thumbnail(frame)))
        while told < (len(seen) - _NEIGHBOURS if frame is not None else len(seen)):
            first = max(0, told - _NEIGHBOURS - 1)
            around = np.stack([small for _, small in list(seen)[first:told + _NEIGHBOURS + 1]])
            yield seen[told][0], told - first in find_cuts(around)
            told += 1
        if frame is None:
            return
