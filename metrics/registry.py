"""All metrics by name. A new one is one line in METRICS, and one more in COLLECTORS if it looks at something no other does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from metrics import lpips, of_features, pixel, swd, warping
from metrics.diversity import Diversity
from metrics.features import Features
from metrics.networks.network import KINDS
from metrics.temporal import Profiles
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
    """The feature network it takes if its name tells no other; None for a metric that needs none."""
    looks_at: Literal["frames", "clips"] = "frames"
    """What the network is shown, where it takes either."""
    resample: Callable | None = None
    """The collectors -> a function of their rows, faster than the whole metric and as spread out."""
    repeats_count: bool = False
    """Whether a sample that comes twice changes it, as one in whose neighbourhood of radius 0 none lies: intervals then repeat none."""
    fewest: int = 1
    """Clips it needs on each side."""
    name: str = ""
    weights: str | None = None
    """Of a metric of pairs whose network is loaded: which weights."""

    @property
    def needs(self) -> tuple[str, str] | None:
        """The network and what it is shown: equal where metrics can share it."""
        return (self.network, self.looks_at) if self.network else None

    @property
    def of_kept_features(self) -> bool:
        """Whether the value is of the clips alone whose features are kept; a Frechet distance counts all."""
        return self.collects == "features" and self.function is not of_features.frechet


COLLECTORS = {"patches": swd.Patches, "motion_patches": swd.MotionPatches, "features": Features,
              "warping": warping.WarpingErrors, "thumbnails": Diversity, "profiles": Profiles}

_SWD = "metrics.swd 2: 7x7 patches, 128 per frame and level, 4 x 128 directions"
_sets = partial(Metric, "sets")
_features = partial(_sets, unit="", collects="features", network="inception")
METRICS = {
    "psnr": Metric("pairs", pixel.psnr, "higher", "dB", "peak signal-to-noise ratio, mean over frames",
                   "metrics.pixel.psnr 2: a frame counts at most 100 dB"),
    "ssim": Metric("pairs", pixel.ssim, "higher", "", "structural similarity, mean over frames",
                   "metrics.pixel.ssim 1: 11x11 Gaussian, sigma 1.5, per channel, valid windows", pixel.WINDOW),
    "ms_ssim": Metric("pairs", pixel.ms_ssim, "higher", "", "SSIM over five scales, mean over frames", "metrics.ms_ssim 1",
                      pixel.MS_SSIM_SMALLEST),
    "lpips": Metric("pairs", None, "lower", "", "distance of AlexNet's features, mean over frames", "torchmetrics' linear weights, v0.1",
                    lpips.SMALLEST["alex"], network="lpips"),
    "swd": _sets(swd.swd, "lower", "x1e3", "sliced Wasserstein distance, as published: texture and layout",
                 f"{_SWD}, each side normalised by itself", swd.PATCH, "patches", resample=swd.resampler),
    "swd_color": _sets(partial(swd.swd, normalise="real"), "lower", "x1e3", "the same, sensitive to colour and contrast too",
                       f"{_SWD}, both normalised by the real side", swd.PATCH, "patches",
                       resample=partial(swd.resampler, normalise="real")),
    "swd_motion": _sets(partial(swd.swd, normalise="real"), "lower", "x1e3", "the same on frame differences",
                        f"{_SWD}, frame differences, both normalised by the real side", swd.PATCH, "motion_patches",
                        resample=partial(swd.resampler, normalise="real")),
    "fid": _features(of_features.frechet, "lower", fewest=2, summary="Frechet distance of frames' features", definition="metrics.frechet 1",
                     resample=of_features.frechet_resampler),
    "kid": _features(of_features.kid, "lower", fewest=2, summary="kernel distance of frames' features: no bias with few samples",
                     definition="torch-fidelity's, 100 subsets of 1000", resample=of_features.kid_resampler),
    "precision": _features(of_features.precision, "higher", fewest=4, summary="share of generated frames that lie where real ones do",
                           definition="torch-fidelity's, 3 nearest neighbours", repeats_count=True),
    "recall": _features(of_features.recall, "higher", fewest=4, summary="share of real frames that lie where generated ones do",
                        definition="torch-fidelity's, 3 nearest neighbours", repeats_count=True),
    "density": _features(of_features.density, "higher", fewest=6, summary="real neighbourhoods that a generated frame lies in, over 5",
                         definition="metrics.precision_recall 1, 5 nearest neighbours", repeats_count=True),
    "coverage": _features(of_features.coverage, "higher", fewest=6, summary="share of real neighbourhoods that hold a generated frame",
                          definition="metrics.precision_recall 1, 5 nearest neighbours", repeats_count=True),
    "is": Metric("samples", of_features.inception_score, "higher", "", "Inception score",
                 "torch-fidelity's, 10 splits of frames, 1 of clips", fewest=10, collects="features", network="inception",
                 resample=of_features.inception_resampler),
    "fvd": _features(of_features.frechet, "lower", fewest=2, summary="Frechet distance of clips' features",
                     definition="metrics.frechet 1", resample=of_features.frechet_resampler, network="i3d", looks_at="clips"),
    "kvd": _features(of_features.kid, "lower", fewest=2, summary="kernel distance of clips' features",
                     definition="torch-fidelity's, 100 subsets of 1000", resample=of_features.kid_resampler,
                     network="i3d", looks_at="clips"),
    "warping_error": Metric("samples", warping.WarpingErrors.score, "near real", "",
                            "change from frame to frame that motion does not explain, and the motion",
                            "metrics.warping 1: DIS flow of the clip itself", warping.SMALLEST, "warping",
                            resample=lambda side: side.resampled),
    "diversity": Metric("samples", Diversity.score, "near real", "", "how different clips are from each other: RMS of thumbnails",
                        "metrics.diversity 1", fewest=2, collects="thumbnails", resample=lambda side: side.resampled),
}
# What a network looks at; None: frames or clips, as the metric asks.
_LOOKS = {name: kind.looks_at[0] if len(kind.looks_at) == 1 else None for name, kind in KINDS.items()} | {"own": "clips"}
_CLASSIFY = ("inception", "r3d_18", "s3d", "c3d")


def choose(names: str, flag: str | None = None) -> dict[str, Metric]:
    """The metrics of a comma-separated list. A feature network may follow a name, as in ``fid_random``, ``fvd_r3d_18``, ``is_c3d``.

    UserError names the known ones if one is not."""
    flag = flag or f"--metrics {names}"
    wanted = list(dict.fromkeys(name.strip().lower() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UserError(f"{flag}: empty; known are {', '.join(METRICS)}")
    return {name: _named(name, flag) for name in wanted}


def describe() -> str:
    """A line for each metric, and one on networks."""
    lines = [f"{name:14} {metric.better:9} {metric.summary}{f' [{metric.network}]' if metric.network else ''}"
             for name, metric in METRICS.items()]
    return "\n".join([*lines, "", f"[network]: another one by its name after an underscore: {', '.join(_LOOKS)}"])


def _named(name: str, flag: str) -> Metric:
    if name in METRICS:
        return replace(METRICS[name], name=name)
    for base, metric in METRICS.items():
        network = name.removeprefix(base + "_")
        if name.startswith(base + "_") and network in _LOOKS and metric.collects == "features":
            looks_at = _LOOKS[network] or metric.looks_at
            if base in ("fid", "fvd", "kvd") and looks_at != metric.looks_at:
                right = {"fid": "fvd", "fvd": "fid", "kvd": "kid"}[base]
                raise UserError(f"{flag}: {network} looks at {looks_at}; ask for {right}_{network}")
            if base == "is" and network not in _CLASSIFY:
                raise UserError(f"{flag}: {network} does not classify; the Inception score needs one of {', '.join(_CLASSIFY)}")
            return replace(metric, name=name, network=network, looks_at=looks_at)
    raise UserError(f"{flag}: unknown {name}; known are {', '.join(METRICS)}, those of features also with another network, as fid_random")
