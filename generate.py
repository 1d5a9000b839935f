"""Films, grids and single frames from a checkpoint.

    python generate.py --checkpoint runs/city --output city.mp4 --num_frames 300 --fps 24 --seed 7
    python generate.py --checkpoint runs/keyframes --input film.mp4 --factor 4 --output slow.mp4
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path

import numpy as np
import torch

from configs.cli import parse
from configs.generate import GenerateConfig
from metrics.film import FilmScore
from training.films import PANELS, check_source, load_image, panels, predictions
from training.interpolate_film import NETWORKS, Film, Kept, Remaker, from_keyframes, slowed
from training.restore import Sampler, load_sampler
from training.samples import turns
from utils import images
from utils.errors import UserError, script
from utils.files import holds, write_json
from utils.latent_paths import Crossing, LatentPath
from utils.progress import Progress, note
from utils.seeds import derive
from utils.video import MAX_FPS, VideoWriter, check_target


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
        raise UserError(f"--best_of {config.best_of}: this checkpoint has no critic that names classes; leave it at 1")
    fps = sampler.fps if config.fps is None else config.fps
    check_source(sampler, config.image, config.streams)
    targets = config.targets()
    if config.grid == "classes" and not sampler.takes_labels:
        raise UserError("--grid classes: this checkpoint was trained without classes; give ROWSxCOLUMNS")
    cells = (1, 1) if config.image is not None else config.rows_columns(len(sampler.shown))
    at_once = prod(cells) * len(targets)
    if sampler.takes_labels and config.label is None and 1 < at_once < len(sampler.shown) and not quiet:
        note(f"{at_once} of {len(sampler.shown)} classes are shown; --grid classes shows all")
    size = cells[0] * sampler.config.height, cells[1] * sampler.config.width * (len(PANELS) if config.streams else 1)
    for target in targets:
        check_target(target, fps, config.crf, size)
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
    needed = ("interpolator",) if config.factor else ("autoencoder",) if config.keyframe_interval == 1 else NETWORKS
    film, remaker = Film(config.input), Remaker(sampler, config.batch_size, needed)
    fps = config.fps or film.fps * (config.factor or 1)
    kept, score = Kept(), FilmScore()
    if config.fps is None and fps > MAX_FPS:
        raise UserError(f"--factor {config.factor}: makes {fps:g} frames a second of {film.fps:g}; --fps gives the film a rate of up to "
                        f"{MAX_FPS}")
    target = check_new(config.output, config.input)
    numbers_file = target.with_suffix(".json")
    if config.keyframe_interval and not holds(numbers_file, "keyframe_interval"):
        raise UserError(f"--output: the film's numbers go to {numbers_file}, which holds something else; choose another path")
    if config.factor and numbers_file.exists() and holds(numbers_file, "keyframe_interval"):
        note(f"warning: {numbers_file} tells of another film, written before")
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
        numbers = {"input": str(config.input), "checkpoint": str(sampler.path), "keyframe_interval": config.keyframe_interval,
                   **score.numbers(), **asdict(kept)}
        write_json(numbers_file, numbers)
        if not quiet:
            print(json.dumps(numbers, indent=2))
    return writer.path


def check_new(output: str | Path, source: str) -> Path:
    """``output``; UserError if writing it would destroy what it is made from."""
    written = [Path(output)]
    if Path(output).suffix.lower() == ".png":
        written.append(Path(output).with_suffix(""))  # the folder of several frames
    given = Path(source).resolve()
    holders = [path for path in (given, *given.parents) if path.exists()]
    # The same file may have several names: links, mounts, disks to which capitals are small letters.
    if any(path.resolve() in (given, *given.parents) or path.exists() and any(map(path.samefile, holders)) for path in written):
        raise UserError(f"--output {output}: would replace {source}, which it is made from; choose another path")
    return Path(output)


def film_frames(sampler: Sampler, config: GenerateConfig, fps: float, film: int = 0) -> Iterator[np.ndarray]:
    """The frames of film number ``film``, uint8 RGB ``(rows * H, columns * W, 3)``, one by one.

    A generator of clips (T > 1) plays clip after clip, each from the path's latent at the clip's first frame. Between two seeds
    (``interpolate``) every frame has a clip of its own, and shows of it the moment that a clip played to and fro would show. One that
    predicts goes on from its own last frame. With ``streams`` a frame is four times as wide.
    """
    if config.image is not None:
        image = load_image(config.image, sampler.config.height, sampler.config.width, sampler.config.fit)
        clips = predictions(sampler, image, config.streams)
        return islice((frame for clip in clips for frame in _pictures(clip, config)[0]), config.num_frames)
    rows, columns = config.rows_columns(len(sampler.shown))
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
        return turns(sampler.shown, number, first)
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


def main() -> None:
    config = parse(GenerateConfig, description=__doc__)
    for path in generate(config, quiet=False):
        print(path)


if __name__ == "__main__":
    script(main)
