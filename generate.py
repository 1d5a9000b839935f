"""Films, grids and single frames from a checkpoint.

    python generate.py --checkpoint runs/city --output city.mp4 --num_frames 300 --fps 24 --seed 7
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from configs.cli import parse
from training.films import check_source, load_image, panels, predictions
from training.restore import Sampler, load_sampler
from utils import images
from utils.errors import UserError, script
from utils.latent_paths import LatentPath, PathKind
from utils.progress import Progress
from utils.seeds import derive
from utils.video import VideoWriter, check_target

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass
class GenerateConfig:
    """Which film to make. The same settings give the same film, byte for byte."""

    checkpoint: str = "runs/default"
    """Run directory, or one of its checkpoints/step_* folders."""
    output: str = "output.mp4"
    """The film: .mp4 or .avi (H.264), .gif, or .png (one frame: that file; more: a folder named without .png)."""
    num_frames: int = 300
    """Length of each film in frames."""
    fps: float | None = None
    """Frames per second; the rate of the training frames if not given."""
    seed: int = 0
    """Another seed, another film."""
    path: PathKind = "slerp"
    """Way through latent space: arcs between random points, a smooth random walk, or a closed walk."""
    keyframe_seconds: float = 2.0
    """Time from one random point of the path to the next: shorter moves faster."""
    grid: str = "1x1"
    """ROWSxCOLUMNS of different samples in one film."""
    num_videos: int = 1
    """Several films: city.mp4 becomes city_000.mp4, city_001.mp4 ...; the first is what a single film would be."""
    truncation: float = 1.0
    """Scales the latents: below 1 gives more typical, less varied samples."""
    image: str | None = None
    """What the film begins with, of any size, for a model that predicts; a longer film goes on from its own last frame."""
    streams: bool = False
    """Show background, foreground, mask and film side by side, for a model made of two streams."""
    crf: int = 18
    """Quality of H.264, from 0 (lossless) to 51 (worst)."""
    batch_size: int = 16
    """Samples computed at a time."""
    device: Device = "auto"
    """auto takes CUDA, then MPS, then the CPU."""
    precision: Precision = "auto"
    """auto takes bf16 where the hardware computes in it."""

    def check(self) -> "GenerateConfig":
        """Raises UserError naming the flag. Returns itself."""
        for name in ("num_frames", "num_videos", "batch_size"):
            value = getattr(self, name)
            _need(name, value, _is_whole(value) and value >= 1, "a whole number, at least 1")
        _need("seed", self.seed, _is_whole(self.seed) and 0 <= self.seed < 2**63, "a whole number from 0 to 2^63 - 1")
        for name in ("keyframe_seconds", "truncation"):
            value = getattr(self, name)
            _need(name, value, isinstance(value, (int, float)) and 0 < value < float("inf"), "a number above 0")
        for name, kind in (("path", PathKind), ("device", Device), ("precision", Precision)):
            value, accepted = getattr(self, name), get_args(kind)
            _need(name, value, value in accepted, f"one of {', '.join(accepted)}")
        rows, columns = self.rows_columns()
        if self.image is not None and (rows * columns > 1 or self.num_videos > 1):
            name, value = ("num_videos", self.num_videos) if self.num_videos > 1 else ("grid", self.grid)
            raise UserError(f"--{name} {value}: an image has one predicted future; with --image leave it at its default")
        check_target(self.output, 24 if self.fps is None else self.fps, self.crf)
        return self

    def rows_columns(self) -> tuple[int, int]:
        """``grid`` as numbers."""
        match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", str(self.grid))
        _need("grid", self.grid, match is not None, "ROWSxCOLUMNS, for one 3x4")
        return int(match[1]), int(match[2])

    def targets(self) -> list[Path]:
        """The path of each film."""
        output = Path(self.output)
        if self.num_videos == 1:
            return [output]
        return [output.with_name(f"{output.stem}_{video:03d}{output.suffix}") for video in range(self.num_videos)]


def generate_video(num_frames: int = 300, fps: float | None = None, output_file: str | Path = "output.mp4",
                   model_path: str | Path = "runs/default", **options) -> Path | list[Path]:
    """Make a film as the command line does; ``options`` are the other fields of :class:`GenerateConfig`.

    Returns the film's path, a list of them for ``num_videos`` above 1. Raises UserError on a mistake of the caller.
    """
    config = GenerateConfig(str(model_path), str(output_file), num_frames, fps, **options)
    written = generate(config.check())
    return written if config.num_videos > 1 else written[0]


def generate(config: GenerateConfig, quiet: bool = True) -> list[Path]:
    """Write the films; returns their paths. Memory does not grow with ``num_frames``."""
    sampler = load_sampler(config.checkpoint, device=config.device, precision=config.precision)
    fps = sampler.fps if config.fps is None else config.fps
    check_source(sampler, config.image, config.streams)
    targets = config.targets()
    for target in targets:
        check_target(target, fps, config.crf)
    written = []
    with Progress(config.num_frames * len(targets), "generate", "frames", quiet=quiet) as progress:
        for index, target in enumerate(targets):
            with VideoWriter(target, fps, crf=config.crf) as writer:
                for frame in film_frames(sampler, config, fps, index):
                    writer.write(frame)
                    progress.update()
            written.append(writer.path)
    return written


def film_frames(sampler: Sampler, config: GenerateConfig, fps: float, film: int = 0) -> Iterator[np.ndarray]:
    """The frames of film number ``film``, uint8 RGB ``(rows * H, columns * W, 3)``, one by one.

    A generator of clips (T > 1) plays clip after clip, each from the path's latent at the clip's first frame. One that predicts
    goes on from its own last frame. With ``streams`` a frame is four times as wide.
    """
    if config.image is not None:
        image = load_image(config.image, sampler.config.height, sampler.config.width)
        clips = predictions(sampler, image, config.streams)
        return islice((frame for clip in clips for frame in _pictures(clip, config)[0]), config.num_frames)
    rows, columns = config.rows_columns()
    cells = rows * columns
    sample = partial(panels, sampler) if config.streams else sampler.sample
    period = config.keyframe_seconds * float(fps)
    paths = [_path(sampler, config, period, derive(config.seed, "film", film, cell)) for cell in range(cells)]
    starts = range(0, config.num_frames, sampler.config.frames)
    clips_at_once = max(1, config.batch_size // cells)

    def frames():
        for first in range(0, len(starts), clips_at_once):
            batch = starts[first:first + clips_at_once]
            latents = torch.stack([path.at(batch) for path in paths], dim=1).flatten(0, 1) * config.truncation
            samples = torch.cat([sample(part) for part in latents.split(config.batch_size)])
            for clip in np.split(_pictures(samples, config), len(batch)):
                for time in range(clip.shape[1]):
                    yield images.grid(clip[:, time], columns, gap=0)

    return islice(frames(), config.num_frames)


def _pictures(samples: torch.Tensor, config: GenerateConfig) -> np.ndarray:
    """(B, 3, T, H, W) in [-1, 1] -> uint8 (B, T, H, W, 3); UserError if they are not finite."""
    if not torch.isfinite(samples).all():
        raise UserError(f"--checkpoint {config.checkpoint}: its samples are not finite; take an earlier one")
    return images.to_uint8(samples)


def _path(sampler: Sampler, config: GenerateConfig, period: float, seed: int) -> LatentPath:
    return LatentPath(config.path, lambda index: sampler.latents(1, seed, start=index)[0], period, config.num_frames)


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _need(name: str, value, good: bool, what: str) -> None:
    if not good:
        raise UserError(f"--{name} {value}: must be {what}")


def main() -> None:
    config = parse(GenerateConfig, description=__doc__)
    for path in generate(config, quiet=False):
        print(path)


if __name__ == "__main__":
    script(main)
