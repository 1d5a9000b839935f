"""How far a number may be off because other clips could have been drawn."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Where the value lies with probability ``level`` under redrawing of the clips."""

    low: float
    high: float
    level: float
    resamples: int
