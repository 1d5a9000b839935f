"""All metrics by name. A new one is one line in METRICS, and one more in COLLECTORS if it looks at something no other does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from metrics import ms_ssim, of_features, of_samples, pixel, swd
from metrics.diversity import Thumbnails
from metrics.features import Features
from metrics.networks.load import NETWORKS
from metrics.warping import WarpingErrors
from utils.errors import UserError


@dataclass(frozen=True)
class Metric:
    """How a metric is computed and what it needs."""

    kind: Literal["pairs", "sets", "samples"]
    """"pairs" compares each frame with its own reference, "sets" a crowd of clips with another crowd, "samples" looks at one crowd,
    generated or real."""
    function: Callable
    """pairs: ``(frames, reference, data_range=255) -> values per frame``; sets: ``(real, fake)``, two collectors ``->
    Score``; samples: one collector -> Score."""
    better: Literal["higher", "lower", "near real"]
    unit: str
    summary: str
    definition: str
    """Implementation and version, for the protocol."""
    smallest: int = 1
    """Shortest side of a frame it can measure, in pixels."""
    collects: str = ""
    """Which of COLLECTORS a metric of sets or samples looks at; metrics that name the same one share it."""
    network: str | None = None
    """The feature network it takes if none is named; None for a metric that needs none."""
    resample: Callable | None = None
    """For intervals: the collectors -> a function of their rows, faster than the whole metric and as spread out."""


COLLECTORS = {"patches": swd.Patches, "motion_patches": swd.MotionPatches, "features": Features, "warping": WarpingErrors,
              "thumbnails": Thumbnails}

_SWD = "metrics.swd 2: 7x7 patches, 128 per frame and level, 4 x 128 directions"
_sets = partial(Metric, "sets")
METRICS = {
    "psnr": Metric("pairs", pixel.psnr, "higher", "dB", "peak signal-to-noise ratio, mean over frames",
                   "metrics.pixel.psnr 1"),
    "ssim": Metric("pairs", pixel.ssim, "higher", "", "structural similarity, mean over frames",
                   "metrics.pixel.ssim 1: 11x11 Gaussian, sigma 1.5, per channel, valid windows", pixel.WINDOW),
}
