"""Numbers with their protocol: a trained model against videos, or one folder of videos or images against another.

    python evaluate.py --checkpoint runs/city --data videos/ --metrics swd --output report/
    python evaluate.py --real a/ --fake b/ --metrics psnr,ssim,swd --output report/
"""

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from configs.cli import parse
from data.dataset import VideoDataset
from data.decode import fit_frame, read_frames, read_image
from data.layouts import IMAGE_ENDINGS, VIDEO_ENDINGS, find_sources
from data.synthetic import is_synthetic
from metrics import pictures, report
from metrics.pairs import compare_pairs, extremes, find_pairs
from metrics.pixel import average
from metrics.prediction import compare_predictions
from metrics.protocol import Protocol, Result, to_uint8
from metrics.registry import COLLECTORS, Metric, choose
from metrics.sets import Crowd, compare_sets
from training.restore import load_sampler
from training.step import to_float
from utils import hardware
from utils.errors import UserError, script
from utils.files import writable_folder
from utils.progress import Progress
from utils.seeds import torch_generator


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
    """Comma-separated: psnr, ssim (pairs, or a model that predicts), swd, swd_color, swd_motion."""
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
        counts = _given(self, "num_samples", "batch_size", "frames_per_clip", "clip_frames", "max_frames_kept",
                        "height", "width", "frame_skip")
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"--{name} {value}: must be at least 1")
        if self.fps is not None and not self.fps > 0:
            raise UserError(f"--fps {self.fps}: must be above 0")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be at least 0 and below 2^63")
        if self.fps is not None and self.frame_skip is not None:
            raise UserError("--frame_skip and --fps exclude each other: give one of them")
        if self.checkpoint is None and (self.real is None or self.fake is None):
            raise UserError("nothing to measure: give --checkpoint for a model, or --real and --fake for two folders")
        if self.checkpoint is not None and (self.real is not None or self.fake is not None):
            raise UserError("--checkpoint measures a model, --real and --fake compare two folders: give one or the other")
        if (self.height is None) != (self.width is None):
            raise UserError("--height and --width belong together: give both or neither")
        if self.checkpoint is not None and (own := _given(self, "height", "width", "clip_frames")):
            raise UserError(f"--{next(iter(own))}: a model has its own; leave it out")
        if self.checkpoint is None and self.data is not None:
            raise UserError("--data goes with --checkpoint; for two folders give --real and --fake")
        return self


@dataclass
class Measured:
    """What goes into the report."""

    results: list[Result]
    pictures: dict[str, bytes]
    notes: list[str]


def main(argv: list[str] | None = None) -> int:
    """Measure, write the report, print the table. Nothing is written before everything is measured."""
    argv = sys.argv[1:] if argv is None else argv
    config = parse(EvaluateConfig, argv, "Measure a model against videos, or one folder against another.")
    metrics = choose(config.metrics)
    output = writable_folder(Path(config.output))
    for name, source in _given(config, "real", "fake", "data").items():
        if not is_synthetic(source) and not Path(source).exists():
            raise UserError(f"--{name} {source}: there is no such file or folder")
    measured = measure_model(config, metrics) if config.checkpoint else measure_folders(config, metrics)
    command = shlex.join(["python", "evaluate.py", *argv])
    report.write(output, measured.results, measured.pictures, measured.notes, command)
    print(report.summary(measured.results, measured.notes))
    print(f"report: {output / 'report.html'}")
    return 0


def measure_model(config: EvaluateConfig, metrics: dict[str, Metric]) -> Measured:
    """A checkpoint's samples against real clips, extracted as those it was trained on."""
    pairs, sets = _kinds(metrics)
    sampler = load_sampler(config.checkpoint, config.device, config.precision)
    if pairs and not sampler.takes_image:
        raise UserError(f"--metrics {','.join(pairs)}: compares each frame with its reference, and frames made from noise "
                        f"have none, so the number would mean nothing; take swd for a model, --real and --fake for "
                        f"reconstructions")
    trained = sampler.config
    source = config.data or trained.data
    settings = trained.data_kwargs() | _given(config, "fit", "split", "cache_dir")
    if config.frame_skip or config.fps:
        settings |= {"frame_skip": config.frame_skip or 1, "fps": config.fps, "max_frames": None}
    _check_clips(metrics, settings, config.checkpoint)
    dataset = VideoDataset(source, **settings)

    # A model that answers to real clips is asked about clips from everywhere, not from the beginning of the first video.
    asked = torch.randperm(len(dataset), generator=torch_generator(config.seed, "clips to answer to"))

    def generate(numbers: Tensor) -> Tensor:
        clips = dataset.gather(asked[numbers % len(dataset)])["video"] if sampler.wants_video else None
        return answer(clips, sampler.latents(len(numbers), config.seed, int(numbers[0])), numbers % sampler.num_classes)

    def answer(clips: Tensor | None, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        video = sampler.sample(latents, labels, None if clips is None else to_float(clips, torch.device("cpu")))
        if not torch.isfinite(video).all():
            raise UserError(f"--checkpoint {config.checkpoint}: generates values that are not finite; take an earlier one")
        return to_uint8(video)

    precision = str(hardware.pick_dtype(config.precision, hardware.pick_device(config.device))).removeprefix("torch.")
    name, real, extracted = f"{config.checkpoint}, step {sampler.step}", _crowd(source, dataset), _extracted(settings, dataset)
    parts = []
    if pairs:
        predict = lambda clips: answer(clips, sampler.latents(len(clips), config.seed))
        parts.append(_measure_predictions(config, pairs, real, name, predict, extracted, precision))
        if config.data is None and settings["split"] == trained.split:
            parts[-1].notes.append("predicted: videos that the model was trained on; --data names others")
    if sets:
        parts.append(_measure_sets(config, sets, real, Crowd(name, generate), extracted, precision))
    return _together(metrics, parts)


def measure_folders(config: EvaluateConfig, metrics: dict[str, Metric]) -> Measured:
    """Two folders (or files): frame by frame where metrics need pairs, as crowds where they do not."""
    pairs, sets = _kinds(metrics)
    parts = [_measure_pairs(config, pairs)] if pairs else []
    if sets:
        split = config.split or "all"
        height, width = config.height, config.width
        if height is None:
            height, width = next(read_frames(find_sources(config.real, split).sources[0].path)).shape[:2]
        frames = config.clip_frames or max(COLLECTORS[metric.collects].needs_frames for metric in sets.values())
        settings = {"height": height, "width": width, "frames": frames, "frame_skip": config.frame_skip or 1,
                    "fps": config.fps, "fit": config.fit or "crop", "split": split, "cache_dir": config.cache_dir}
        _check_clips(sets, settings, config.real)
        real, fake = (VideoDataset(path, **settings) for path in (config.real, config.fake))
        parts.append(_measure_sets(config, sets, _crowd(config.real, real), _crowd(config.fake, fake),
                                   _extracted(settings, real), "none"))
    return _together(metrics, parts)


def _kinds(metrics: dict[str, Metric]) -> tuple[dict[str, Metric], dict[str, Metric]]:
    """Those that compare pairs, and those that compare sets."""
    return tuple({name: metric for name, metric in metrics.items() if metric.kind == kind} for kind in ("pairs", "sets"))


def _together(metrics: dict[str, Metric], parts: list[Measured]) -> Measured:
    """One report, its numbers in the order that was asked for."""
    results = {result.name: result for part in parts for result in part.results}
    images = {name: png for part in parts for name, png in part.pictures.items()}
    return Measured([results[name] for name in metrics], images, [note for part in parts for note in part.notes])


def _measure_predictions(config: EvaluateConfig, metrics: dict[str, Metric], real: Crowd, name: str,
                         predict: Callable[[Tensor], Tensor], settings: dict, precision: str) -> Measured:
    """What a model makes of the first frames of real clips against how they went on."""
    found = compare_predictions(metrics, real, predict, config.num_samples, config.seed, config.batch_size)
    shared = {key: settings[key] for key in ("split", "frame_skip", "fps", "height", "width")}
    shared |= {"fake": name, "resize": _resize(settings["fit"]), "precision": precision}
    results, notes = found.results(metrics, shared, _stabilized(settings))
    picture = pictures.side_by_side(found.shown["real"], found.shown["predicted"], "real last frames", "predicted last frames")
    return Measured(results, {"predictions.png": picture}, notes)


def _measure_sets(config: EvaluateConfig, metrics: dict[str, Metric], real: Crowd, fake: Crowd, settings: dict,
                  precision: str) -> Measured:
    found = compare_sets(metrics, real, fake, num_samples=config.num_samples, seed=config.seed,
                         batch_size=config.batch_size, frames_per_clip=config.frames_per_clip,
                         max_frames=config.max_frames_kept)
    names = f"real: {Path(real.name).name}", f"fake: {Path(fake.name).name}"
    images = {"samples.png": pictures.side_by_side(found.shown["real"], found.shown["fake"], *names)}
    results, notes = [], found.notes
    for name, metric in metrics.items():
        score, floor = found.scores[name], found.floors[name]
        protocol = Protocol(
            metric=name, definition=metric.definition, libraries=report.libraries(), weights=metric.weights,
            real=real.name, fake=fake.name, split=settings["split"], real_clips=found.clips, fake_clips=found.clips,
            floor_clips=found.floor_clips, clip_frames=settings["frames"], frames_per_clip=config.frames_per_clip,
            frame_skip=settings["frame_skip"], fps=settings["fps"], height=settings["height"], width=settings["width"],
            resize=_resize(settings["fit"]), values="uint8 RGB", seed=config.seed, precision=precision,
            settings={"max_frames_kept": config.max_frames_kept} | _stabilized(settings))
        results.append(Result(name, score, floor, metric.unit, metric.better, protocol))
        notes += [f"{name}: {score.note}"] if score.note else []
        groups = {"fake against real": score.parts} | ({"real against real": floor.parts} if floor else {})
        title = f"{name} by pyramid level ({metric.better} is better)"
        images[f"{name}.png"] = pictures.bars(title, f"{name} {metric.unit}", groups)
    return Measured(results, images, notes)


def _measure_pairs(config: EvaluateConfig, metrics: dict[str, Metric]) -> Measured:
    """Every frame against its own reference, at its own size unless --height and --width are given."""
    found, notes = find_pairs(Path(config.real), Path(config.fake), VIDEO_ENDINGS | IMAGE_ENDINGS)

    def read(path: Path) -> Iterator[np.ndarray]:
        for frame in _frames_of(path, config.frame_skip or 1, config.fps):
            yield fit_frame(frame, config.height, config.width, config.fit or "crop") if config.height else frame

    with Progress(len(found), "evaluate", "pair") as progress:
        compared = compare_pairs(found, metrics, read, shortest=config.shortest, batch_size=config.batch_size,
                                 on_pair=progress.update)
    height, width = max(compared.sizes)
    notes += compared.notes
    if len(compared.sizes) > 1:
        notes.append(f"frames of {len(compared.sizes)} sizes, up to {height}x{width}")
    results = []
    for name, metric in metrics.items():
        score = average(compared.values[name])
        protocol = Protocol(
            metric=name, definition=metric.definition, libraries=report.libraries(), weights=metric.weights,
            real=config.real, fake=config.fake, split=None, real_clips=len(found), fake_clips=len(found), floor_clips=None,
            clip_frames=len(compared.frames), frames_per_clip=None, frame_skip=config.frame_skip or 1, fps=config.fps,
            height=height, width=width, resize=_resize(config.fit or "crop") if config.height else "none",
            values="uint8 RGB, data range 255", seed=config.seed, precision="none", settings={})
        results.append(Result(name, score, None, metric.unit, metric.better, protocol))
        notes += [f"{name}: {score.note}"] if score.note else []
    picture = pictures.differences(extremes(compared, next(iter(metrics)), read))
    return Measured(results, {"differences.png": picture}, notes)


def _frames_of(path: Path, frame_skip: int, fps: float | None) -> Iterator[np.ndarray]:
    """Frames of a video, or the one of an image, uint8 RGB ``(H, W, 3)``."""
    if path.suffix.lower() not in IMAGE_ENDINGS:
        return read_frames(path, frame_skip=frame_skip, fps=fps)
    picture = read_image(path)
    if picture is None:
        raise UserError(f"{path}: cannot be read as an image")
    return iter([np.ascontiguousarray(picture[..., ::-1])])


def _crowd(name: str, dataset: VideoDataset) -> Crowd:
    get = lambda numbers: dataset.gather(numbers)["video"].cpu()
    return Crowd(name, get, len(dataset), dataset.consecutive_clips())


def _extracted(settings: dict, dataset: VideoDataset) -> dict:
    return settings | {"fps": dataset.fps, "frame_skip": dataset.frame_skip}


def _given(config: EvaluateConfig, *names: str) -> dict:
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


def _resize(fit: str) -> str:
    return f"{fit}, area averages down, bicubic up"


def _stabilized(settings: dict) -> dict:
    """For the protocol; nothing where frames stand as they were taken."""
    return {"stabilized": True} if settings.get("stabilize") else {}


def _check_clips(metrics: dict[str, Metric], settings: dict, source: str) -> None:
    """Too small or too short clips are refused before any work."""
    height, width, frames = settings["height"], settings["width"], settings["frames"]
    for name, metric in metrics.items():
        if min(height, width) < metric.smallest:
            raise UserError(f"--metrics {name}: needs at least {metric.smallest}x{metric.smallest} pixels; "
                            f"frames of {source} have {height}x{width}")
        needed = COLLECTORS[metric.collects].needs_frames if metric.kind == "sets" else 2
        if frames < needed:
            raise UserError(f"--metrics {name}: needs clips of {needed} frames or more; those of {source} have {frames}")


if __name__ == "__main__":
    script(main)
