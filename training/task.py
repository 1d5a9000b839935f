"""What the loop asks of a family: phases of optimiser steps, losses, samples."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from utils import hardware
from utils.seeds import torch_generator


@dataclass
class Phase:
    """One kind of optimiser step."""

    name: str
    """Handed back to ``Task.losses``: "d", "g", "ae", "flow"."""
    module: nn.Module
    """The only thing this step may change; all else is frozen."""
    optimizer: Optimizer
    repeats: int = 1
    """Optimiser steps per training step, each on a fresh batch."""
    clamp: float | None = None
    """Keep every weight within +- this after each step."""
    every: int = 1
    """Run at every N-th training step."""

    def due(self, step: int) -> bool:
        """Whether it runs at training step ``step``, counted from 1."""
        return step % self.every == 0


@dataclass
class Noise:
    """Random numbers for one optimiser step: a pure function of (seed, step, phase, repeat, name).

    Every process draws the numbers of the whole batch and keeps its own rows, so that one process or several, or a batch
    in parts, see the same numbers.
    """

    keys: tuple
    rows: slice
    batch_size: int
    device: torch.device

    def normal(self, name: str, *shape: int) -> Tensor:
        """N(0, 1) of shape (rows, *shape), float32."""
        return self._mine(torch.randn(self.batch_size, *shape, generator=torch_generator(*self.keys, name)))

    def uniform(self, name: str, *shape: int) -> Tensor:
        """U(0, 1) of shape (rows, *shape), float32."""
        return self._mine(torch.rand(self.batch_size, *shape, generator=torch_generator(*self.keys, name)))

    def _mine(self, numbers: Tensor) -> Tensor:
        return hardware.upload(numbers[self.rows], self.device)


@dataclass
class Batch:
    """What a phase trains on."""

    video: Tensor
    """Real clips (B, 3, T, H, W) in [-1, 1]."""
    label: Tensor
    """Class indices (B,), int64."""
    noise: Noise
    step: int
    """Training step, counted from 1."""


@dataclass
class Request:
    """What to sample: ``latents`` (B, latent_dim); for families that know classes, ``labels`` (B,), int64; for those that answer to
    real clips, ``video`` (B, 3, T, H, W) in [-1, 1]."""

    latents: Tensor
    labels: Tensor | None = None
    video: Tensor | None = None

    def __getitem__(self, rows: slice) -> "Request":
        return Request(*(None if value is None else value[rows] for value in (self.latents, self.labels, self.video)))

    def to(self, device: torch.device) -> "Request":
        return Request(*(None if value is None else value.to(device) for value in (self.latents, self.labels, self.video)))


@dataclass
class DataInfo:
    """What a family may need to know of the data."""

    classes: list[str] = field(default_factory=lambda: [""])
    fps: float = 24.0
    frame_skip: int | None = None
    """Every k-th frame of the videos is kept; None where that is not known (older checkpoints)."""
    mean: Callable[[], Tensor] | None = None
    """Gives the mean of the training frames, (3, H, W) in [-1, 1]."""
    clip_distance: Callable[[int], list[float]] | None = None
    """Gives the mean absolute difference between two real clips of one class, of each its mean over time, values from -1 to 1: as they
    are, and after each of so many halvings of height and width."""
    components: Callable[[int], Tensor] | None = None
    """Gives so many principal components of the training frames, (N, 3, H, W)."""
    shown: list[int] | None = None
    """The labels that training clips have: a list of classes may name some of which there is no video. None: all of them."""

    @property
    def num_classes(self) -> int:
        """Videos without classes are all of one."""
        return max(1, len(self.classes))

    def as_dict(self) -> dict:
        """For JSON; what is computed from the frames is left out."""
        return {"classes": self.classes, "fps": self.fps, "frame_skip": self.frame_skip, "shown": self.shown}


class Task(Protocol):
    """All that the loop asks of a family. One that has a ``get_ready()`` is asked, before the videos are read to train on, to raise
    UserError for what training could not use or would miss, and for the SHA-256 of each file that it reads, by the flag that names it;
    samples are made without it."""

    nets: dict[str, nn.Module]
    """What a checkpoint holds."""
    ema: tuple[str, ...]
    """Which of them get an averaged copy."""
    phases: list[Phase]
    latent_dim: int
    """0 for a family that makes nothing from noise."""
    step: int
    """The training step its weights come from, set by whoever loads them: networks that grow depend on it."""
    wants_video: bool
    """Whether samples are made from real clips: ``Request.video`` is given then."""

    def losses(self, phase: str, batch: Batch) -> dict[str, Tensor]:
        """Named scalars; "loss" is differentiated, all are logged."""

    def sample(self, nets: dict[str, nn.Module], request: Request) -> Tensor:
        """(B, 3, T, H, W) in [-1, 1] from ``nets`` (the averaged copies where there are any)."""
