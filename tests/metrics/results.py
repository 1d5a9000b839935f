"""Measured results to write reports of."""

from metrics.confidence import Interval
from metrics.protocol import Protocol, Result, Score


def protocol(metric: str = "swd", **other) -> Protocol:
    """Of a metric of sets, unless ``other`` says otherwise."""
    usual = dict(definition=f"{metric} 1", libraries="torch 2", weights=None, real="videos/", fake="runs/a, step 2", split="train",
                 real_clips=64, fake_clips=64, floor_clips=32, clip_frames=16, frames_per_clip=1, frame_skip=1, fps=24.0, height=32,
                 width=48, resize="crop", values="uint8 RGB", seed=0, precision="float32", settings={"max_frames_kept": 9},
                 real_content="c0ffee")
    return Protocol(**({"metric": metric} | usual | other))


def result(metric: str = "swd", value: float | None = 20.0, *, low: float | None = None, high: float | None = None, draws: tuple = (),
           floor: float | None = 5.0, parts: dict | None = None, better: str = "lower", **other) -> Result:
    """A result with an interval if ``low`` is given."""
    interval = None if low is None else Interval(low, high, 0.95, 50)
    real = None if floor is None else Score(floor, {name: 1.5 for name in parts or {}})
    return Result(metric, Score(value, parts or {}), real, "x 1e-3", better, protocol(metric, **other), interval, list(draws))
