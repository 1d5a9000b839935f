"""Metrics of one crowd of clips: what they are like, to be read beside the same of real ones."""

from collections.abc import Callable

from torch import Tensor

from metrics.diversity import Thumbnails
from metrics.protocol import Score
from metrics.warping import WarpingErrors
