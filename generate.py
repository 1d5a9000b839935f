"""Films, grids and single frames from a checkpoint.

    python generate.py --checkpoint runs/city --output city.mp4 --num_frames 300 --fps 24 --seed 7
    python generate.py --checkpoint runs/keyframes --input film.mp4 --factor 4 --output slow.mp4
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from configs.cli import parse
from metrics.film import FilmScore
from training.films import check_source, load_image, panels, predictions
from training.interpolate_film import Film, Kept, Remaker, from_keyframes, slowed
from training.restore import Sampler, load_sampler
from utils import images
from utils.errors import UserError, script
from utils.files import write_json
from utils.latent_paths import Crossing, LatentPath, PathKind
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
    interpolate: str | None = None
    """Seeds A:B: one arc from the first latent of the film with --seed A to that with --seed B, instead of `path` and `seed`. A generator
    of clips plays its clip forwards and backwards meanwhile, each frame from the latent of its own moment."""
    label: str | None = None
    """Class to show, of a family that knows classes; without it, cells of the grid (and films) take turns through the classes."""
    keyframe_seconds: float = 2.0
    """Time from one random point of the path to the next: shorter moves faster."""
    grid: str = "1x1"
    """ROWSxCOLUMNS of different samples in one film."""
    num_videos: int = 1
    """Several films: city.mp4 becomes city_000.mp4, city_001.mp4 ...; the first is what a single film would be."""
    truncation: float = 1.0
    """Scales the latents: below 1 gives more typical, less varied samples."""
    best_of: int = 1
    """Draw so many random points for each one of the path and take the one of which the critic is surest that it shows its class:
    fewer clips of the wrong class, and less variety. For a family whose critic names classes."""
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
    input: str | None = None
    """A film to remake, for a model of the family keyframes: with `factor` or `keyframe_interval`."""
    factor: int | None = None
    """Make this many times as many frames of `input`, and play as many times faster, unless `fps` is given."""
    keyframe_interval: int | None = None
    """Keep every so-manieth frame of `input` as the autoencoder's code and make all others; what was lost is measured."""

    def check(self) -> "GenerateConfig":
        """Raises UserError naming the flag. Returns itself."""
        for name in ("num_frames", "num_videos", "batch_size", "best_of"):
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
        self.seeds()
        for name, least in (("factor", 2), ("keyframe_interval", 1)):
            value = getattr(self, name)
            _need(name, value, value is None or _is_whole(value) and value >= least, f"a whole number, at least {least}")
        asked = (self.factor is not None) + (self.keyframe_interval is not None)
        if asked != (self.input is not None):
            raise UserError("--input goes with one of --factor, for more frames, and --keyframe_interval, to keep fewer")
        if self.input is not None and self.num_videos > 1:
            raise UserError(f"--num_videos {self.num_videos}: a film is remade in one way only; leave it at 1")
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

    def seeds(self) -> list[int]:
        """``interpolate`` as numbers; the film's own seed if it is not given."""
        if self.interpolate is None:
            return [self.seed]
        match = re.fullmatch(r"(\d+):(\d+)", str(self.interpolate))
        _need("interpolate", self.interpolate, match is not None and max(map(int, match.groups())) < 2**63, "two seeds A:B, for one 3:14")
        return [int(match[1]), int(match[2])]

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
    if config.input is not None:
        return [remake(sampler, config, quiet)]
    if "interpolator" in sampler.nets:
        raise UserError(f"--checkpoint {config.checkpoint}: {sampler.family} makes films from films; "
                        "give --input FILM and --factor 4, for one")
    if config.best_of > 1 and not sampler.names_classes:
        raise UserError(f"--best_of {config.best_of}: {sampler.family} has no critic that names classes; leave it at 1")
    fps = sampler.fps if config.fps is None else config.fps
    check_source(sampler, config.image, config.streams)
    targets = config.targets()
    for target in targets:
        check_target(target, fps, config.crf)
        if config.image is not None:
            check_new(target, config.image)
    written = []
    with Progress(config.num_frames * len(targets), "generate", "frames", quiet=quiet) as progress:
        for index, target in enumerate(targets):
            with VideoWriter(target, fps, crf=config.crf) as writer:
                for frame in film_frames(sampler, config, fps, index):
                    writer.write(frame)
                    progress.update()
            written.append(writer.path)
    return written


def remake(sampler: Sampler, config: GenerateConfig, quiet: bool = True) -> Path:
    """``config.input`` with more frames, or from its keyframes; the latter's numbers are written beside it, as .json, and
    printed."""
    film, remaker = Film(config.input), Remaker(sampler, config.batch_size)
    fps = config.fps or film.fps * (config.factor or 1)
    kept, score = Kept(), FilmScore()
    target = check_new(config.output, config.input)
    if config.keyframe_interval:
        _refuse_foreign(target.with_suffix(".json"))
    for trouble in film.troubles:
        print(f"{config.input}: {trouble}", file=sys.stderr)
    with (VideoWriter(target, fps, crf=config.crf) as writer,
          Progress(film.length * (config.factor or 1), "generate", "frames", quiet=quiet) as progress):
        if config.factor:
            for frame in slowed(remaker, film.frames(), config.factor):
                writer.write(frame)
                progress.update()
        else:
            for made, real in from_keyframes(remaker, film.frames(), config.keyframe_interval, kept):
                writer.write(made)
                score.add(*map(torch.from_numpy, (made, real)))
                progress.update()
    if not config.factor:
        numbers = {"input": config.input, "checkpoint": str(sampler.path), "keyframe_interval": config.keyframe_interval,
                   **score.numbers(), **asdict(kept)}
        write_json(writer.path.with_suffix(".json"), numbers)
        if not quiet:
            print(json.dumps(numbers, indent=2))
    return writer.path


def check_new(output: str | Path, source: str) -> Path:
    """``output``; UserError if writing it would destroy what it is made from."""
    written = [Path(output)]
    if Path(output).suffix.lower() == ".png":
        written.append(Path(output).with_suffix(""))  # the folder of several frames
    if Path(source).resolve() in [path.resolve() for path in written]:
        raise UserError(f"--output {output}: would replace {source}, which it is made from; choose another path")
    return Path(output)


def _refuse_foreign(numbers: Path) -> None:
    """UserError if the file that is to hold a film's numbers holds something else."""
    try:
        known = "keyframe_interval" in json.loads(numbers.read_text()) if numbers.exists() else True
    except (OSError, ValueError, TypeError):
        known = False
    if not known:
        raise UserError(f"--output: the film's numbers go to {numbers}, which holds something else; choose another path")


def film_frames(sampler: Sampler, config: GenerateConfig, fps: float, film: int = 0) -> Iterator[np.ndarray]:
    """The frames of film number ``film``, uint8 RGB ``(rows * H, columns * W, 3)``, one by one.

    A generator of clips (T > 1) plays clip after clip, each from the path's latent at the clip's first frame. Between two seeds
    (``interpolate``) every frame has a clip of its own, and shows of it the moment that a clip played to and fro would show. One that
    predicts goes on from its own last frame. With ``streams`` a frame is four times as wide.
    """
    if config.image is not None:
        image = load_image(config.image, sampler.config.height, sampler.config.width)
        clips = predictions(sampler, image, config.streams)
        return islice((frame for clip in clips for frame in _pictures(clip, config)[0]), config.num_frames)
    rows, columns = config.rows_columns()
    cells = rows * columns
    sample = partial(panels, sampler) if config.streams else sampler.sample
    period = config.keyframe_seconds * float(fps)
    labels = class_numbers(sampler, config.label, film * cells, cells)
    paths = [_path(sampler, config, period, film, cell, labels) for cell in range(cells)]
    length = sampler.config.frames
    starts = range(0, config.num_frames, 1 if config.interpolate else length)
    clips_at_once = max(1, config.batch_size // cells)

    def frames():
        for first in range(0, len(starts), clips_at_once):
            batch = starts[first:first + clips_at_once]
            latents = torch.stack([path.at(batch) for path in paths], dim=1).flatten(0, 1) * config.truncation
            wanted = [None] * len(latents) if labels is None else labels.repeat(len(batch)).split(config.batch_size)
            samples = torch.cat([sample(*pair) for pair in zip(latents.split(config.batch_size), wanted)])
            for start, clip in zip(batch, np.split(_pictures(samples, config), len(batch))):
                for time in [to_and_fro(start, length)] if config.interpolate else range(clip.shape[1]):
                    yield images.grid(clip[:, time], columns, gap=0)

    return islice(frames(), config.num_frames)


def class_numbers(sampler: Sampler, label: str | None, first: int, number: int) -> torch.Tensor | None:
    """The classes that ``number`` cells show, (number,) int64, the first of them cell ``first`` over all films; None without classes."""
    if not sampler.takes_labels:
        if label is not None:
            raise UserError(f"--label {label}: this checkpoint was trained without classes; leave it out")
        return None
    if label is None:
        return torch.arange(first, first + number) % len(sampler.classes)
    if label not in sampler.classes:
        raise UserError(f"--label {label}: must be one of {', '.join(sampler.classes)}")
    return torch.full((number,), sampler.classes.index(label))


def to_and_fro(frame: int, length: int) -> int:
    """0, 1 ... length - 1, length - 2 ... 1, 0, 1 ...: a clip played forwards and backwards has no jump."""
    part = frame % max(1, 2 * length - 2)
    return min(part, 2 * length - 2 - part) if length > 1 else 0


def _path(sampler: Sampler, config: GenerateConfig, period: float, film: int, cell: int,
          labels: torch.Tensor | None) -> LatentPath | Crossing:
    def latent(seed: int, index: int) -> torch.Tensor:
        drawn = sampler.latents(1, derive(seed, "film", film, cell), start=index)
        if config.best_of == 1:
            return drawn[0]
        drawn = torch.cat([drawn, sampler.latents(config.best_of - 1, derive(seed, "candidates", film, cell, index))])
        return drawn[sampler.surest(drawn[None] * config.truncation, labels[cell:cell + 1])[0]]

    if config.interpolate:
        return Crossing(*(latent(seed, 0) for seed in config.seeds()), config.num_frames)
    return LatentPath(config.path, lambda index: latent(config.seed, index), period, config.num_frames)


def _pictures(samples: torch.Tensor, config: GenerateConfig) -> np.ndarray:
    """(B, 3, T, H, W) in [-1, 1] -> uint8 (B, T, H, W, 3); UserError if they are not finite."""
    if not torch.isfinite(samples).all():
        raise UserError(f"--checkpoint {config.checkpoint}: its samples are not finite; take an earlier one")
    return images.to_uint8(samples)


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
