"""Training that goes wrong says so: non-finite values, a discriminator that has won or given up, samples all alike."""

import math
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

# A discriminator this sure, for long, leaves the generator without a gradient.
SURE_ACCURACY, SURE_LOSS = 0.995, 0.02
# Logits this close together tell nothing apart.
FLAT_SPREAD = 1e-3
# Samples this much more alike than real clips are one sample; those that have differed this much no longer are as at the beginning.
LOW_DIVERSITY, VARIED = 0.1, 0.2


@dataclass
class Alarm:
    """``kind``: "non-finite", "discriminator won", "discriminator flat" or "samples alike". ``since``: first step of the trouble."""

    kind: str
    step: int
    since: int
    message: str

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass
class Watch:
    """Looks at each logged row; raises an alarm once when a condition has held for ``patience`` rows that could show it. ``after``: the step
    from which samples should differ; those that have differed before are watched from then on."""

    patience: int
    after: int
    started: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    varied: bool = False

    def as_dict(self) -> dict:
        """What it has seen so far, for a checkpoint."""
        return {"started": self.started, "counts": self.counts, "varied": self.varied}

    def check(self, row: dict[str, float]) -> list[Alarm]:
        """``row``: one object of metrics.jsonl. Every alarm that is due now."""
        step = row["step"]
        raised = non_finite(row)
        if {"d/accuracy", "d/adversarial"} <= row.keys():
            won = row["d/accuracy"] >= SURE_ACCURACY and row["d/adversarial"] <= SURE_LOSS
            raised += self._held("discriminator won", won, row, self.patience,
                                 "the discriminator tells every clip apart; the generator gets no gradient")
        if "d/spread" in row:
            raised += self._held("discriminator flat", row["d/spread"] <= FLAT_SPREAD, row, self.patience,
                                 "the discriminator gives every clip the same verdict")
        self.varied |= row.get("diversity", 0) >= VARIED
        if "diversity" in row and (self.varied or step >= self.after):
            # Diversity is measured rarely and is steady: three in a row suffice.
            raised += self._held("samples alike", row["diversity"] <= LOW_DIVERSITY, row, min(3, self.patience),
                                 f"samples differ by {row['diversity']:.1%} of what real clips do: mode collapse")
        return raised

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


def variety(video: Tensor) -> float:
    """Mean absolute difference between pairs of clips (B, 3, T, H, W), frames shrunk to about 16 pixels: what collapse lowers."""
    small = F.adaptive_avg_pool3d(video.float(), (min(video.shape[2], 4), min(video.shape[3], 16), min(video.shape[4], 16))).flatten(1)
    pairs = torch.cdist(small, small, p=1) / small.shape[1]
    number = len(small)
    return (pairs.sum() / max(number * (number - 1), 1)).item()
