"""Two folders (or files): frame by frame where metrics need pairs, as crowds where they do not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.decode import fit_frame, read_frames
from data.layouts import IMAGE_ENDINGS, VIDEO_ENDINGS, Source, find_sources, find_split_lists
from data.synthetic import is_synthetic
from evaluation.config import EvaluateConfig, once
from evaluation.crowds import measure_sets
from evaluation.measured import Measured
from evaluation.sources import (check_clips, crowd, extracted, flags_of_evaluate, frames_of, rates, read_clips, resize, unusable,
                                usual_frames)
from metrics import pictures, plots, report
from metrics.intervals import interval_of_mean
from metrics.pairs import Pair, compare_pairs, curves, extremes, find_pairs
from metrics.pixel import average, capped
from metrics.protocol import Protocol, Result
from metrics.registry import Metric
from utils.errors import UserError
from utils.progress import Progress


def clip_settings(config: EvaluateConfig, metrics: dict[str, Metric], networks: dict) -> dict:
    """How clips of --real and --fake are extracted; their size is that of the first real video unless --height and --width are given."""
    split = config.split or "all"
    height, width = config.height, config.width
    if height is None:
        if is_synthetic(config.real):
            raise UserError(f"--real {config.real}: is drawn at any size; give --height and --width")
        with flags_of_evaluate("--real"):
            height, width = _first_size(find_sources(config.real, split).sources)
    frames = config.clip_frames or max(config.frames_per_clip, *(usual_frames(metric, networks) for metric in metrics.values()))
    return {"height": height, "width": width, "frames": frames, "frame_skip": config.frame_skip or 1, "fps": config.fps,
            "fit": config.fit or "crop", "split": split, "cache_dir": config.cache_dir}


def _first_size(sources: list[Source]) -> tuple[int, int]:
    """Height and width of the first video that can be read; UserError of the last one where none can."""
    for source in sources:
        try:
            return next(read_frames(source.path)).shape[:2]
        except UserError:
            if source is sources[-1]:
                raise


def measure_folder_sets(config: EvaluateConfig, metrics: dict[str, Metric], networks: dict) -> Measured | None:
    """--real and --fake as crowds of clips."""
    settings = clip_settings(config, metrics, networks)
    check_clips(metrics, networks, settings, config.real)
    real = read_clips(config.real, settings, "--real")
    lists = None if is_synthetic(config.fake) else find_split_lists(Path(config.fake))
    fake = read_clips(config.fake, settings if lists else settings | {"split": "all"}, "--fake")
    measured = measure_sets(config, metrics, networks, crowd(config.real, real), crowd(config.fake, fake),
                            extracted(settings, real), "none")
    if measured:
        measured.notes += rates(real.fps, fake.fps, settings["frames"])
        measured.notes += [f"{flag}: {said}" for flag, dataset in (("--real", real), ("--fake", fake)) for said in unusable(dataset)]
    return measured


def measure_pairs(config: EvaluateConfig, metrics: dict[str, Metric]) -> Measured:
    """Every frame against its own reference, at its own size unless --height and --width are given."""
    found, notes = find_pairs(Path(config.real), Path(config.fake), VIDEO_ENDINGS | IMAGE_ENDINGS)

    def read(path: Path) -> Iterator[np.ndarray]:
        for frame in frames_of(path, config.frame_skip or 1, config.fps):
            yield fit_frame(frame, config.height, config.width, config.fit or "crop") if config.height else frame

    notes += once(config, metrics)
    with Progress(len(found), "evaluate", "pair") as progress:
        compared = compare_pairs(found, metrics, read, shortest=config.shortest, batch_size=config.batch_size,
                                 on_pair=progress.update)
    height, width = max(compared.sizes)
    notes += compared.notes
    if len(compared.sizes) > 1:
        notes.append(f"frames of {len(compared.sizes)} sizes, up to {height}x{width}")
    films, results = _films([pair for pair, _ in compared.frames]), []
    for name, metric in metrics.items():
        score = average(compared.values[name], metric.better)
        protocol = Protocol(
            metric=name, definition=metric.definition, libraries=report.libraries(), weights=metric.weights,
            real=config.real, real_content=compared.content, fake=config.fake, split=None, real_clips=len(found), fake_clips=len(found),
            floor_clips=None, clip_frames=len(compared.frames), frames_per_clip=None, frame_skip=config.frame_skip or 1,
            fps=config.fps, height=height, width=width, resize=resize(config.fit or "crop") if config.height else "none",
            values="uint8 RGB, data range 255", seed=config.seed, precision="none", settings={})
        interval = interval_of_mean(capped(compared.values[name]), films, config.resamples, config.seed)
        results.append(Result(name, score, None, metric.unit, metric.better, protocol, interval))
        notes += [f"{name}: {score.note}"] if score.note else []
    images = {"differences.png": pictures.differences(extremes(compared, *next(iter(metrics.items())), read))}
    over_time = {name: curves(compared, name) for name in metrics}
    if max(len(values) for films in over_time.values() for values in films.values()) > 1:
        images["over_time.png"] = plots.over_time(over_time, {name: metric.unit for name, metric in metrics.items()})
    return Measured(results, images, notes)


def _films(pairs: list[Pair]) -> list[str]:
    """The film that each frame is of: images that lie in several folders are taken for a film a folder."""
    folders = {pair.real.parent for pair in pairs}
    of_folders = len(folders) > 1 and all(pair.real.suffix.lower() in IMAGE_ENDINGS for pair in pairs)
    return [str(pair.real.parent) if of_folders else pair.name for pair in pairs]
