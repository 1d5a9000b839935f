"""What comparisons gather from clips as they pass: small things kept for each clip, in memory that does not grow with them.

A collector's ``look`` is a pure function of clips and of the number of the first, so several processes may each look at some of
the batches; ``add`` takes what they saw, in order, in one process. Which frames are looked at, and of which clips details are
kept, depends on (seed, number of the clip) alone: the n-th real and the n-th generated clip are treated alike.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from utils.seeds import numpy_generator


class Collector(Protocol):
    """What a collector offers; ``rows`` and ``select`` only those of features and patches, from which resamples are drawn. Rows are
    clips whose details are kept, in order."""

    needs_frames: int

    def look(self, clips: Tensor, first: int) -> dict[str, Tensor]:
        """uint8 ``(B, T, H, W, 3)``, the number of the first -> tensors of B rows or, if details are kept of some clips only,
        of fewer."""

    def add(self, seen: dict[str, Tensor]) -> None:
        """What :meth:`look` gave for the batch that follows."""

    @property
    def rows(self) -> int:
        """Clips that :meth:`select` chooses from."""

    def select(self, rows: Tensor) -> "Collector":
        """A collector that saw these rows alone, int64 ``(N,)``; a row may come twice."""


@dataclass(frozen=True)
class Draw:
    """Which frames a comparison looks at, and of which clips it keeps details."""

    seed: int = 0
    frames_per_clip: int = 1
    clips: int | None = None
    """How many will come; None if that is not known, then details of all are kept."""
    most: int = 10_000
    """Clips whose details are kept, a random choice of all."""

    def frames(self, clip: int, choices: int) -> Tensor:
        """Frames to look at in clip number ``clip`` out of ``choices``: int64, sorted."""
        order = numpy_generator(self.seed, "frames of clip", clip).permutation(choices)
        return torch.from_numpy(np.sort(order[:self.frames_per_clip]))

    def keeps(self, clip: int) -> bool:
        return self._kept is None or clip in self._kept

    @cached_property
    def _kept(self) -> frozenset[int] | None:
        if self.clips is None or self.clips <= self.most:
            return None
        return frozenset(numpy_generator(self.seed, "clips to keep").permutation(self.clips)[:self.most].tolist())


@dataclass
class Rows:
    """Tensors of equal length that grow by appending."""

    parts: dict[str, list[Tensor]] = field(default_factory=dict)

    def append(self, new: dict[str, Tensor]) -> None:
        for name, tensor in new.items():
            # Nothing is kept of nothing: small things left between large ones would keep the memory of these from being used again.
            if len(tensor) or name not in self.parts:
                self.parts.setdefault(name, []).append(tensor)

    def get(self, name: str) -> Tensor:
        """All rows so far, joined once."""
        joined = torch.cat(self.parts[name])
        self.parts[name] = [joined]
        return joined

    def __contains__(self, name: str) -> bool:
        return name in self.parts

    def __len__(self) -> int:
        return sum(len(part) for part in next(iter(self.parts.values()), []))

    def select(self, rows: Tensor) -> "Rows":
        return Rows({name: [self.get(name)[rows]] for name in self.parts})


def check_clips(clips: Tensor, needs_frames: int) -> None:
    """ValueError if ``clips`` are not uint8 ``(B, T >= needs_frames, H, W, 3)``."""
    if clips.dim() != 5 or clips.dtype != torch.uint8 or clips.shape[-1] != 3 or clips.shape[1] < needs_frames:
        raise ValueError(f"clips must be uint8 (B, T >= {needs_frames}, H, W, 3), got {clips.dtype} {tuple(clips.shape)}")
