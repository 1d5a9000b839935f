"""Metrics of one crowd of clips: what they are like, to be read beside the same of real ones."""

from metrics.diversity import Thumbnails
from metrics.protocol import Score
from metrics.warping import WarpingErrors


def warping_error(side: WarpingErrors) -> Score:
    """Change that motion does not explain, with the motion."""
    return side.score()


def diversity(side: Thumbnails) -> Score:
    """How different clips are from each other."""
    return side.score()
