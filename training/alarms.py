"""Training that goes wrong says so: non-finite values, a discriminator that has won or given up, samples all alike or drifting away."""

import math
import statistics
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

# A discriminator this sure, for long, learns no more, and the generator from one that stands still.
SURE_ACCURACY, SURE_LOSS = 0.995, 0.02
# Logits this close together tell nothing apart.
FLAT_SPREAD = 1e-3
# Samples this much more alike than real clips are one sample; those that have differed this much no longer are as at the beginning.
LOW_DIVERSITY, VARIED = 0.1, 0.2
# Samples this far from real clips are no nearer to them than one still of their mean, which is about sqrt(2) - 1 away; they drift if they
# have been nearer by this factor.
FAR, NEARER = 0.5, 2.0
# Evaluations get worse when the middle one of the last three is this many times the least such middle one before, and a run ends worse when
# its last evaluation is this many times its least.
WORSE = 1.1


@dataclass
class Alarm:
    """``kind``: "non-finite", "discriminator won", "discriminator flat", "samples alike", "samples drift", "evaluations worsen"
    or "ends worse". ``since``: first step of the trouble."""

    kind: str
    step: int
    since: int
    message: str

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass
class Watch:
    """Looks at each logged row; raises an alarm once when a condition has held for ``patience`` rows that could show it. ``after``: the
    step from which samples should differ; those that have differed before are watched from then on. ``nearest``: the smallest distance of
    samples to real clips so far, the middle one of any three in a row; ``last``: the last two."""

    patience: int
    after: int
    started: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    varied: bool = False
    nearest: float | None = None
    last: list[float] = field(default_factory=list)

    def as_dict(self) -> dict:
        """What it has seen so far, for a checkpoint."""
        return {"started": self.started, "counts": self.counts, "varied": self.varied, "nearest": self.nearest, "last": self.last}

    def anew(self) -> "Watch":
        """One that remembers all of it, but counts from the beginning, so that trouble that lasts is told again."""
        return Watch(self.patience, self.after, **self.as_dict() | {"counts": {}})

    def check(self, row: dict[str, float]) -> list[Alarm]:
        """``row``: one object of metrics.jsonl. Every alarm that is due now."""
        step = row["step"]
        raised = non_finite(row)
        if {"d/accuracy", "d/adversarial"} <= row.keys():
            won = row["d/accuracy"] >= SURE_ACCURACY and row["d/adversarial"] <= SURE_LOSS
            raised += self._held("discriminator won", won, row, self.patience,
                                 "the discriminator tells all real clips from all generated ones and stops learning")
        if "d/spread" in row:
            raised += self._held("discriminator flat", row["d/spread"] <= FLAT_SPREAD, row, self.patience,
                                 "the discriminator gives every clip the same logit")
        self.varied |= row.get("diversity", 0) >= VARIED
        if "diversity" in row and (self.varied or step >= self.after):
            # Diversity is measured rarely and is steady: three in a row suffice.
            raised += self._held("samples alike", row["diversity"] <= LOW_DIVERSITY, row, min(3, self.patience),
                                 f"samples differ by {row['diversity']:.1%} of what real clips do: mode collapse")
        if "distance" in row:
            raised += self._drift(row)
        return raised

    def _drift(self, row: dict) -> list[Alarm]:
        """Looks as rare and as steady as those for diversity."""
        distance, before = row["distance"], self.nearest
        away = before is not None and distance >= max(FAR, NEARER * before)
        if len(self.last) == 2:
            middle = sorted([*self.last, distance])[1]
            self.nearest = middle if before is None else min(before, middle)
        self.last = [*self.last, distance][-2:]
        return self._held("samples drift", away, row, min(3, self.patience),
                          f"the distance of samples to real clips is {distance:.2f}, and has been {self.nearest or 0:.2f} (0: alike): "
                          "mode collapse or divergence")

    def _held(self, kind: str, now: bool, row: dict, needed: int, message: str) -> list[Alarm]:
        if not now:
            self.started.pop(kind, None)
            self.counts.pop(kind, None)
            return []
        since = self.started.setdefault(kind, row["step"])
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return [Alarm(kind, row["step"], since, f"{message} (since step {since})")] if self.counts[kind] == needed else []


def non_finite(row: dict[str, float]) -> list[Alarm]:
    """An alarm that names every loss that is NaN or infinite, if any is."""
    bad = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    return [Alarm("non-finite", row["step"], row["step"], f"{', '.join(bad)} not finite at step {row['step']}")] if bad else []


def worsening(steps: list[int], values: list[float], name: str, better: str = "lower") -> list[Alarm]:
    """Alarms of a metric's ``values`` at ``steps``, one each time it has become worse by a tenth for good: the middle one of three in a row
    counts, as single evaluations tremble. ``better``: "lower" or "higher". Of what is at most zero a tenth means nothing."""
    alarms, best, standing = [], None, False
    for end in range(3, len(values) + 1):
        seen, middle = steps[end - 3:end], statistics.median(values[end - 3:end])
        worse = best is not None and _is_worse(middle, best, better)
        if worse and not standing:
            alarms.append(Alarm("evaluations worsen", seen[-1], seen[0],
                                f"{name} is {middle:.4g} by the middle one of three evaluations, and has been {best:.4g}"))
        standing = worse
        best = middle if best is None else (max if better == "higher" else min)(best, middle)
    return alarms


def ending(steps: list[int], values: list[float], name: str, better: str = "lower") -> list[Alarm]:
    """An alarm if the last of a metric's ``values`` is worse than the best of them by a tenth: of a run that is over the last checkpoint
    is what everybody takes, tremor and all."""
    best = (max if better == "higher" else min)(values, default=0)
    if not values or not _is_worse(values[-1], best, better):
        return []
    at = steps[values.index(best)]
    return [Alarm("ends worse", steps[-1], at, f"{name} is {values[-1]:.4g} at its last evaluation, and was {best:.4g} at step {at}")]


def _is_worse(value: float, best: float, better: str) -> bool:
    return best > 0 and (value * WORSE < best if better == "higher" else value > WORSE * best)


def variety(video: Tensor) -> float:
    """Mean absolute difference between pairs of clips (B, 3, T, H, W), frames shrunk to about 16 pixels: what collapse lowers."""
    small = thumbnails(video).flatten(1)
    return _between(small, norm=1) / small.shape[1]


def distance(video: Tensor, real: Tensor) -> float:
    """Energy distance 2 E|x-y| - E|x-x'| - E|y-y'| of clips x to real ones y, both (B, 3, T, H, W) and shrunk as for
    :func:`variety`, as a share of E|y-y'| (Szekely & Rizzo 2013, doi 10.1016/j.jspi.2013.03.018). Without bias: 0 on average, now
    and then below, where both are alike."""
    made, known = thumbnails(video).flatten(1), thumbnails(real).flatten(1)
    own = _between(known)
    return (2 * _distances(made, known, 2).mean().item() - _between(made)) / own - 1


def thumbnails(video: Tensor) -> Tensor:
    """Clips (B, 3, T, H, W) shrunk to at most 4 frames of 16 x 16; thumbnails themselves stay as they are."""
    video = video.cpu() if video.device.type == "mps" else video  # which knows no such pooling
    return F.adaptive_avg_pool3d(video.float(), (min(video.shape[2], 4), min(video.shape[3], 16), min(video.shape[4], 16)))


def _between(rows: Tensor, norm: float = 2) -> float:
    """Mean distance of two different ones of the rows (N, D); 0 where there is but one."""
    return (_distances(rows, rows, norm).sum() / max(len(rows) * (len(rows) - 1), 1)).item()


def _distances(a: Tensor, b: Tensor, norm: float) -> Tensor:
    return torch.cdist(a, b, p=norm, compute_mode="donot_use_mm_for_euclid_dist")  # by products of matrices equal rows would be apart
