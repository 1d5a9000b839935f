"""All metrics by name. A new one is one line here, and one more in COLLECTORS if it looks at something no other metric
does."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from metrics import pixel, swd
from utils.errors import UserError


@dataclass(frozen=True)
class Metric:
    """How a metric is computed and what it needs."""

    kind: Literal["pairs", "sets"]
    """"pairs" compares each frame with its own reference, "sets" a crowd of clips with another crowd."""
    function: Callable
    """pairs: ``(frames, reference, data_range=255) -> values per frame``; sets: ``(real, fake)``, two collectors ``->
    Score``."""
    better: Literal["higher", "lower"]
    unit: str
    summary: str
    definition: str
    """Implementation and version, for the protocol."""
    smallest: int = 1
    """Shortest side of a frame it can measure, in pixels."""
    collects: str = ""
    """Which of COLLECTORS a "sets" metric compares; metrics that name the same one share it."""
    weights: str | None = None
    """The feature network whose weights must be given, if any."""


COLLECTORS = {"patches": swd.Patches, "motion_patches": swd.MotionPatches}

_SWD = "metrics.swd 1: 7x7 patches, 128 per frame and level, 4 x 128 directions"
METRICS = {
    "psnr": Metric("pairs", pixel.psnr, "higher", "dB", "peak signal-to-noise ratio, mean over frames",
                   "metrics.pixel.psnr 1"),
    "ssim": Metric("pairs", pixel.ssim, "higher", "", "structural similarity, mean over frames",
                   "metrics.pixel.ssim 1: 11x11 Gaussian, sigma 1.5, per channel, valid windows", pixel.WINDOW),
    "swd": Metric("sets", swd.swd, "lower", "x1e3", "sliced Wasserstein distance, as published: texture and layout",
                  f"{_SWD}, each side normalised by itself", swd.PATCH, "patches"),
    "swd_color": Metric("sets", partial(swd.swd, normalise="real"), "lower", "x1e3",
                        "the same, sensitive to colour and contrast too",
                        f"{_SWD}, both normalised by the real side", swd.PATCH, "patches"),
    "swd_motion": Metric("sets", partial(swd.swd, normalise="real"), "lower", "x1e3", "the same on frame differences",
                         f"{_SWD}, frame differences, both normalised by the real side", swd.PATCH,
                         "motion_patches"),
}


def choose(names: str) -> dict[str, Metric]:
    """The metrics of a comma-separated list. UserError names the known ones if one is not."""
    wanted = list(dict.fromkeys(name.strip().lower() for name in names.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in METRICS]
    if unknown or not wanted:
        problem = f"unknown {', '.join(unknown)}" if unknown else "empty"
        raise UserError(f"--metrics {names}: {problem}; known are {', '.join(METRICS)}")
    return {name: METRICS[name] for name in wanted}
