"""Videos from a hand-held camera as if it had stood still: each frame is warped onto an earlier one.

As Vondrick et al. 2016 (arXiv 1609.02612, section 4; their extra/stabilize_videos_many.py) did: features matched from frame to
frame, a homography by RANSAC, accumulated back to the first frame of a stretch, and what no longer lies in the picture filled from the
frame before. One thing more: while a frame matches the first one itself and that match agrees with the accumulated one, it is used, as
its errors do not add up. A stretch ends after ``STRETCH`` frames, where matching fails or the size changes, and where the camera has
moved too far: a picture of fillings is none.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

RATIO = 0.7  # Lowe's test: a match counts if the second best is that much worse
FEWEST_MATCHES = 10
REPROJECTION = 5.0  # pixels by which RANSAC lets a match be off, and by which two ways to the first frame may differ
STRETCH = 64  # frames; theirs had at most 34
FEATURES = 1000
LOOKED_AT = 512  # pixels of the longer side: features are found in a copy of at most this size
LEAST_VISIBLE = 0.6  # share of the picture that the warped frame must still fill
_SEED = 0

Picked = tuple[np.ndarray, int, bool]


def stabilized(pictures: Iterable[Picked], stretch: int = STRETCH) -> Iterator[Picked]:
    """(uint8 BGR (H, W, 3), how often to repeat it, whether time breaks before it), as :func:`data.decode.pick` gives them -> the
    same, with the camera's motion taken out and a break before each new stretch. The result depends on the pictures alone."""
    current = None
    for picture, repeats, broken in pictures:
        steady = None
        if current is not None and not broken and current.length + repeats <= stretch and current.shape == picture.shape:
            steady = current.warp(picture, repeats)
        if steady is None:
            broken, current, steady = broken or current is not None, Stretch(picture, repeats), picture
        yield steady, repeats, broken


def _apart(one: np.ndarray, other: np.ndarray, height: int, width: int) -> float:
    """How far from each other two homographies put a picture's corners, at most, in pixels."""
    corners = np.float64([[[x, y]] for x in (0, width - 1) for y in (0, height - 1)])
    return float(np.linalg.norm(cv2.perspectiveTransform(corners, one) - cv2.perspectiveTransform(corners, other), axis=-1).max())


class Stretch:
    """Frames seen from where the first one, uint8 BGR (H, W, 3), was taken, all of its ``shape``. ``length`` counts them with their
    repeats."""

    def __init__(self, first: np.ndarray, repeats: int = 1):
        self._sift, self._matcher = cv2.SIFT_create(FEATURES), cv2.BFMatcher(cv2.NORM_L2)
        self._first = self._last = self._features(first)
        self._shown, self._to_first, self.length, self.shape = first, np.eye(3), repeats, first.shape

    def warp(self, frame: np.ndarray, repeats: int = 1) -> np.ndarray | None:
        """The next frame, or None where it does not match the one before or shows too little of the first one's view."""
        features = self._features(frame)
        to_last = self._homography(features, self._last)
        if to_last is None:
            return None
        to_first, direct = self._to_first @ to_last, self._homography(features, self._first)
        height, width = frame.shape[:2]
        # Far from the first frame a direct match may rest on a few features of a thing that has moved by itself.
        if direct is not None and _apart(to_first, direct, height, width) < REPROJECTION:
            to_first = direct
        # Two pixels less than what is covered: the outermost ones are mixed with what lies beyond them.
        covered = cv2.warpPerspective(np.ones((height, width), np.uint8), to_first, (width, height))
        inside = cv2.erode(covered, np.ones((5, 5), np.uint8)).astype(bool)
        if inside.mean() < LEAST_VISIBLE:
            return None
        # Replicated, as the outermost pixels would else be mixed with black.
        warped = cv2.warpPerspective(frame, to_first, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self._shown = np.where(inside[..., None], warped, self._shown)
        self._last, self._to_first = features, to_first / to_first[2, 2]
        self.length += repeats
        return self._shown

    def _features(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        scale = min(1.0, LOOKED_AT / max(frame.shape[:2]))
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if scale < 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        keypoints, descriptors = self._sift.detectAndCompute(gray, None)
        ratio = np.float32([frame.shape[1] / gray.shape[1], frame.shape[0] / gray.shape[0]])
        # Pixel centres, not corners, lie at whole numbers.
        return (np.float32([point.pt for point in keypoints]).reshape(-1, 2) + 0.5) * ratio - 0.5, descriptors

    def _homography(self, here: tuple, there: tuple) -> np.ndarray | None:
        """From the frame of one set of features to that of the other, if enough of them agree."""
        if min(len(here[0]), len(there[0])) < FEWEST_MATCHES:
            return None
        pairs = self._matcher.knnMatch(here[1], there[1], k=2)
        good = [best for best, second in pairs if best.distance < RATIO * second.distance]
        if len(good) < FEWEST_MATCHES:
            return None
        cv2.setRNGSeed(_SEED)
        ours, theirs = here[0][[match.queryIdx for match in good]], there[0][[match.trainIdx for match in good]]
        matrix, agree = cv2.findHomography(ours, theirs, cv2.RANSAC, REPROJECTION)
        return matrix if matrix is not None and agree.sum() >= FEWEST_MATCHES else None
