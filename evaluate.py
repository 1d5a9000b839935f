"""Numbers with their protocol: a trained model against videos, or one folder of videos or images against another.

    python evaluate.py --checkpoint runs/city --data videos/ --metrics swd --output report/
    python evaluate.py --real a/ --fake b/ --metrics psnr,ssim,swd --output report/
"""

import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from configs.cli import parse
from data.dataset import VideoDataset
from data.decode import fit_frame, read_frames, read_image
from data.layouts import IMAGE_ENDINGS, VIDEO_ENDINGS, kind_of
from metrics import pictures, report
from metrics.pairs import compare_pairs, extremes, find_pairs
from metrics.pixel import average
from metrics.protocol import Protocol, Result, to_uint8
from metrics.registry import COLLECTORS, Metric, choose
from training.restore import load_sampler
from utils import hardware
from utils.errors import UserError, script
from utils.progress import Progress
from utils.seeds import numpy_generator

ENDINGS = VIDEO_ENDINGS | IMAGE_ENDINGS


@dataclass
class EvaluateConfig:
    """What to measure. Either `checkpoint`, or `real` and `fake`."""

    checkpoint: str | None = None
    """Run directory or checkpoint of the model to measure."""
    data: str | None = None
    """Real videos to measure it against; those it was trained on if not given."""
    real: str | None = None
    """Folder (or file) of real videos or images, the reference."""
    fake: str | None = None
    """Folder (or file) of generated ones. For psnr and ssim files pair by name."""
    metrics: str = "swd"
    """Comma-separated: psnr, ssim (pairs only), swd, swd_color, swd_motion."""
    output: str = "report"
    """Folder for metrics.json, metrics.md, report.html and pictures."""
    num_samples: int = 1024
    """Clips on each side; fewer if there are fewer real ones. A model of single frames makes clips of one frame."""
    seed: int = 0
    """Chooses latents, clips, patches and directions."""
    batch_size: int = 16
    """Clips generated at a time, or frames compared at a time."""
    frames_per_clip: int = 1
    """Frames that swd looks at in each clip; neighbours are much alike, so more clips say more than more frames."""
    clip_frames: int | None = None
    """Frames per clip of --real and --fake; the fewest that the metrics need if not given."""
    max_frames_kept: int = 4096
    """swd keeps patches of this many frames at most, a random choice: 75 kB per frame and pyramid level."""
    shortest: bool = False
    """Compare paired videos of unequal length as far as the shorter one goes."""
    height: int | None = None
    """Bring --real and --fake to this size; for swd the size of the first real video if not given."""
    width: int | None = None
    """See `height`."""
    frame_skip: int | None = None
    """Keep every k-th frame; the model's own setting if not given."""
    fps: float | None = None
    """Keep frames at this rate, instead of `frame_skip`."""
    fit: Literal["crop", "pad", "stretch"] | None = None
    """How a video of another shape fills the frame; the model's own setting, or crop."""
    split: Literal["train", "test", "all"] | None = None
    """Part of a data set with official split lists; the model's own setting, or all."""
    cache_dir: str | None = None
    """Where extracted frames are kept."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model runs."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the model; metrics compute in float32 or better."""

    def check(self) -> "EvaluateConfig":
        """Cross-checks; raises UserError naming the flag. Returns itself."""
        for name in ("num_samples", "batch_size", "frames_per_clip", "clip_frames", "max_frames_kept", "height", "width", "frame_skip"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least 1")
        if self.fps is not None and self.fps <= 0:
            raise UserError(f"--fps {self.fps}: must be above 0")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be at least 0 and below 2^63")
        if self.fps is not None and self.frame_skip is not None:
            raise UserError("--frame_skip and --fps exclude each other: give one of them")
        if self.checkpoint is None and (self.real is None or self.fake is None):
            raise UserError("nothing to measure: give --checkpoint for a model, or both --real and --fake for two folders")
        if self.checkpoint is not None and (self.real is not None or self.fake is not None):
            raise UserError("--checkpoint measures a model against --data; --real and --fake are for two folders: give one or the other")
        if (self.height is None) != (self.width is None):
            raise UserError("--height and --width belong together: give both or neither")
        for name in ("height", "width", "clip_frames") if self.checkpoint else ():
            if getattr(self, name) is not None:
                raise UserError(f"--{name}: a model has its own; leave it out")
        if self.checkpoint is None and self.data is not None:
            raise UserError("--data goes with --checkpoint; for two folders give --real and --fake")
        return self


@dataclass
class Crowd:
    """Clips that can be asked for by number. ``get``: int64 ``(B,)`` -> uint8 ``(B, T, H, W, 3)``."""

    name: str
    count: int
    get: Callable[[Tensor], Tensor]


@dataclass
class Sides:
    """What is compared, as sets, and the parts of the protocol that follow from it."""

    real: Crowd
    fake: Crowd
    protocol: dict


def model_sides(config: EvaluateConfig, metrics: dict[str, Metric]) -> Sides:
    """A checkpoint's samples beside real clips extracted as it was trained on them."""
    paired = [name for name, metric in metrics.items() if metric.kind == "pairs"]
    if paired:
        raise UserError(f"--metrics {','.join(paired)}: compares each frame with its reference, and frames invented from noise have none, so the "
                        f"number would mean nothing; for a model use swd, for reconstructions --real and --fake")
    sampler = load_sampler(config.checkpoint, config.device, config.precision)
    trained = sampler.config
    check_frames(metrics, trained.frames, trained.height, trained.width, config.checkpoint)
    settings = trained.data_kwargs() | given(config, "fit", "split", "cache_dir")
    if config.frame_skip or config.fps:
        settings |= {"frame_skip": config.frame_skip or 1, "fps": config.fps, "max_frames": None}
    dataset = VideoDataset(config.data or trained.data, **settings)

    def generate(indices: Tensor) -> Tensor:
        start = int(indices[0])
        try:
            return to_uint8(sampler.sample(sampler.latents(len(indices), config.seed, start)))
        except ValueError as error:
            raise UserError(f"--checkpoint {config.checkpoint}: {error}; its training has diverged, take an earlier checkpoint") from None

    dtype = hardware.pick_dtype(config.precision, hardware.pick_device(config.device))
    return Sides(crowd(config.data or trained.data, dataset), Crowd(f"{config.checkpoint} step {sampler.step}", sys.maxsize, generate),
                 set_protocol(settings, dataset.fps, str(dtype).removeprefix("torch.")))


def folder_sides(config: EvaluateConfig, metrics: dict[str, Metric]) -> Sides:
    """Two folders, extracted alike."""
    height, width = config.height, config.width
    if height is None:
        first = VideoDataset(config.real, 16, 16, scan="quick", split=config.split or "all") if False else None
    frames = config.clip_frames or max(COLLECTORS[metric.collects].needs_frames for metric in metrics.values())
