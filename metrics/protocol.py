"""What a number means: its value and everything one must know to repeat it or to compare it with another."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from metrics.confidence import Interval
from utils import images


@dataclass
class Score:
    """What a metric found: ``value`` (None where it is not a finite number), the parts it is made of, and a remark."""

    value: float | None
    parts: dict[str, float] = field(default_factory=dict)
    note: str = ""
    by_size: list[tuple[int, float]] = field(default_factory=list)
    """Values of subsets by their number of samples, where the part "at infinite N" was read off them."""


@dataclass(frozen=True)
class Protocol:
    """Two values may be compared only if all of this agrees, but for where the generated side came from."""

    metric: str
    definition: str
    """Implementation and its version; the version rises whenever the same frames would give another value."""
    libraries: str
    weights: str | None
    """Feature network as ``name sha256``; None for a metric that needs none."""
    real: str
    fake: str
    split: str | None
    real_clips: int
    fake_clips: int
    floor_clips: int | None
    """Clips on each side of the real-against-real comparison."""
    clip_frames: int
    """Frames per clip; for paired videos, frames compared in all."""
    frames_per_clip: int | None
    """Frames drawn from each clip by metrics that look at single frames."""
    frame_skip: int
    fps: float | None
    height: int
    width: int
    resize: str
    values: str
    seed: int
    precision: str
    """Arithmetic of the generator; metrics themselves compute in float32 or better."""
    settings: dict
    real_content: str | None = None
    """Equal only for the same real clips, wherever they lie; None for pairs."""
    name: str | None = None
    """Of a protocol that was asked for by name."""

    def difference(self, other: "Protocol") -> list[str]:
        """Names of what keeps two values from being compared: all that differs but where the generated side came from, the libraries'
        versions, and the path of the real clips where their content is known."""
        theirs = asdict(other)
        return [name for name, value in self.comparable().items() if value != theirs[name]]

    def comparable(self) -> dict:
        """What must agree, by name."""
        free = {"fake", "libraries", "precision", "name"} | ({"real"} if self.real_content else {"real_content"})
        return {name: value for name, value in asdict(self).items() if name not in free}

    def digest(self) -> str:
        """Equal where :meth:`comparable` is: 16 hexadecimal digits."""
        return hashlib.blake2b(json.dumps(self.comparable(), sort_keys=True).encode(), digest_size=8).hexdigest()


@dataclass
class Result:
    """A measured metric: the score, the score of reals against other reals (the best to hope for), and the protocol."""

    name: str
    score: Score
    floor: Score | None
    unit: str
    better: str
    protocol: Protocol
    interval: Interval | None = None
    draws: list[float] = field(default_factory=list)
    """The values of repeated draws, this one first; empty if there was one."""

    def as_dict(self) -> dict:
        """JSON-ready: numbers that are not finite become None, which JSON can say."""
        return finite_only(asdict(self) | {"protocol_digest": self.protocol.digest()})


def finite_only(value):
    """``value`` with every infinite or undefined float, however deep, replaced by None."""
    if isinstance(value, dict):
        return {key: finite_only(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_only(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_uint8(video: Tensor) -> Tensor:
    """Generated ``(B, 3, T, H, W)`` in [-1, 1] -> uint8 ``(B, T, H, W, 3)``, rounded: metrics see what a viewer would.

    ValueError if a value is not finite.
    """
    if not torch.isfinite(video).all():
        raise ValueError("the generated video holds values that are not finite")
    return torch.from_numpy(images.to_uint8(video))
