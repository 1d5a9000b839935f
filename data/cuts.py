"""Hard scene cuts: places that a clip must not cross.

Deliberately reluctant: a missed cut costs a few odd clips, while false ones take good clips away from every video with
quick motion. A cut must be much larger than the changes around it, and either change layout and colours of the whole picture
much, or leave no likeness between the two frames where the picture changes at all. So a flash, which goes as it came, is none,
and neither is a caption.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

_SIDE = 16  # frames are compared as 16x16 averages: noise and small motion vanish
SHAPE = (_SIDE, _SIDE, 3)  # of a thumbnail
_BINS = 8  # of each channel's histogram, which motion inside the frame hardly touches
_LAYOUT, _COLOURS = 0.07, 0.12  # share of the full range, and of the pixels: a change of both by more is large in itself
_OUTSTANDING = 2.5  # a cut is this many times the changes around it
_NEIGHBOURS = 4
_ACTIVE_LAYOUT = 0.06  # share of the full range, over the cells that change at all: a scene gives way to another
_EXTENT = 0.3  # of the picture, which such a cut changes at least: captions and passers-by stay below
_STILL, _DARK = 6, 24  # levels of 255: a cell that moves by no more stands still; rows and columns no brighter are bars
# Unlikeness of the two frames (see :func:`_unlike`) that tells a cut from motion. More is asked where changes as large are near:
# these are short shots, or quick motion in drawings on twos.
_UNLIKE_ALONE, _UNLIKE_CROWDED = 0.6, 0.7
_CONTRAST = 0.04  # standard deviation, share of the full range: less is no scene but a flash or a moment of black
_BLOCK = 1024


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (16, 16, 3)."""
    return cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def find_cuts(thumbnails: np.ndarray, beat=lambda count: None) -> list[int]:
    """uint8 (N, 16, 16, 3) of consecutive frames -> numbers of the frames with which a new scene begins. ``beat`` is called now and
    then: a day's film takes minutes."""
    if len(thumbnails) < 4:  # too few to tell a cut from quick motion
        return []
    blocks = []
    for start in range(0, len(thumbnails) - 1, _BLOCK):
        blocks.append(_changes(thumbnails[start:start + _BLOCK + 1]))
        beat(0)
    layout, colours = np.concatenate(blocks, axis=1)
    change = layout + colours
    cuts = []
    for number, place in enumerate(np.flatnonzero(_stands_out(change))):
        if number % _BLOCK == 0:
            beat(0)
        around = np.concatenate([change[max(0, place - _NEIGHBOURS):place], change[place + 1:place + 1 + _NEIGHBOURS]])
        alone = change[place] > _OUTSTANDING * around.max()
        if alone and layout[place] > _LAYOUT and colours[place] > _COLOURS:
            cuts.append(int(place) + 1)
        # Half of the changes around lie inside shots even where these last only two frames.
        elif change[place] > _OUTSTANDING * np.sort(around)[(len(around) - 1) // 2]:
            first = max(0, place - _NEIGHBOURS)
            if _parts_scenes(thumbnails[first:place + _NEIGHBOURS + 2], place - first, alone):
                cuts.append(int(place) + 1)
    return cuts


def _stands_out(change: np.ndarray) -> np.ndarray:
    """bool (N - 1,): whether each change is much larger than those right before and after it, which lie inside the shots."""
    edged = np.pad(change, 1)
    return change > _OUTSTANDING * np.maximum(edged[:-2], edged[2:])


def _parts_scenes(window: np.ndarray, place: int, alone: bool) -> bool:
    """Whether frames ``place`` and ``place + 1`` of the uint8 thumbnails (N, 16, 16, 3) around them show different scenes, judged
    where the picture changes within the window: what stands still, as bars do, would hide the cut. ``alone``: no change in the
    window is about as large."""
    window = window.astype(np.int16)
    lit = window.max(axis=(0, 3)) > _DARK
    picture = np.outer(lit.any(axis=1), lit.any(axis=0))
    active = picture & (np.ptp(window, axis=0).max(axis=-1) > _STILL)
    step = np.abs(window[place + 1] - window[place])
    changed = picture & (step.max(axis=-1) > _STILL)
    if not active.any() or changed.sum() < _EXTENT * picture.sum() or step[active].mean() <= 255 * _ACTIVE_LAYOUT:
        return False
    before, after = (window[index][active].astype(np.float32) / 255 for index in (place, place + 1))
    if alone:
        return _unlike(before, after) > _UNLIKE_ALONE
    return min(_contrast(before), _contrast(after)) > _CONTRAST and _unlike(before, after) > _UNLIKE_CROWDED


def _unlike(before: np.ndarray, after: np.ndarray) -> float:
    """How far two pictures, float (cells, 3) in [0, 1], differ once light and contrast are made equal: mean difference of the same
    cells, in units of that of any two cells. 0 if alike, about 1 if they have nothing to do with each other."""
    before, after = ((cells - cells.mean(axis=0)) / (_contrast(cells) + 0.02) for cells in (before, after))
    return float(np.abs(before - after).mean() / max(np.abs(before[:, None] - after).mean(), 1e-6))


def _contrast(cells: np.ndarray) -> float:
    """Standard deviation of float (cells, 3) about each channel's mean."""
    return float(np.sqrt(cells.var(axis=0).mean()))


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
