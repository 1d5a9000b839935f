"""Hard scene cuts: places that a clip must not cross.

Deliberately reluctant: a missed cut costs one odd clip, while a false one takes good clips away from every video with
quick motion. A cut must be a change that is large in itself, much larger than the changes around it, and lasting (a flash
is none).
"""

import cv2
import numpy as np

_SIDE = 16  # frames are compared as 16x16 averages: noise and small motion vanish
_LARGE = 0.07  # mean absolute change, of the full range, below which nothing counts as a cut
_OUTSTANDING = 3.5  # a cut is this many times the changes around it
_NEIGHBOURS = 4


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (16, 16, 3)."""
    return cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def find_cuts(thumbnails: np.ndarray) -> list[int]:
    """uint8 (N, 16, 16, 3) of consecutive frames -> numbers of the frames with which a new scene begins."""
    if len(thumbnails) < 4:  # too few to tell a cut from quick motion
        return []
    frames = thumbnails.astype(np.float32) / 255
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    cuts = []
    for place in np.flatnonzero(change > _LARGE):
        around = np.concatenate([change[max(0, place - _NEIGHBOURS):place], change[place + 1:place + 1 + _NEIGHBOURS]])
        # The second largest: two cuts may lie close together, but lively motion makes several large changes.
        usual = np.sort(around)[-2] if len(around) > 1 else around.max()
        before, after = frames[max(0, place - 1)], frames[min(len(frames) - 1, place + 2)]
        lasting = np.abs(after - before).mean() > 0.6 * change[place]
        if change[place] > _OUTSTANDING * max(usual, 0.004) and lasting:
            cuts.append(int(place) + 1)
    return cuts
