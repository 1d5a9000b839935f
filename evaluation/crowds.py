"""Metrics of crowds of clips, with their protocols, pictures and remarks."""

from dataclasses import replace

import torch

from data.cache import cache_folder
from evaluation.about import describe_clips
from evaluation.config import EvaluateConfig
from evaluation.measured import Measured
from evaluation.sources import resize, stabilized
from metrics import plots, report
from metrics.of_features import AT_INFINITY
from metrics.protocol import Protocol, Result
from metrics.registry import Metric
from metrics.sets import Crowd, How, compare_sets, key_of
from metrics.shelf import Shelf
from utils import distributed
from utils.errors import UserError


def measure_sets(config: EvaluateConfig, metrics: dict[str, Metric], networks: dict, real: Crowd, fake: Crowd, settings: dict,
                 precision: str, classes: list[str] = ()) -> Measured | None:
    """In the first process; where several work together the others help and get None."""
    shelf = Shelf(cache_folder(config.cache_dir) / "features")
    how = How(num_samples=config.num_samples, seed=config.seed, batch_size=config.batch_size, frames_per_clip=config.frames_per_clip,
              max_frames=config.max_frames_kept, max_features=config.max_features_kept, floor=config.floor, resamples=config.resamples,
              one_per_video=config.one_per_video)
    _enough_for_protocol(config, real, fake)
    _enough_clips(config, metrics, real, fake)
    found = compare_sets(metrics, real, fake, how, networks, shelf)
    draws: dict[str, list[float]] = {name: [] for name in metrics}
    alike = {"real", "fake"} if config.draws > 1 else set()
    for number in range(1, config.draws):
        again = replace(how, seed=config.seed + number, generated_from=number * config.num_samples, floor=False, resamples=0)
        other = compare_sets(metrics, real, fake, again, networks, shelf)
        for name in metrics if other else ():
            draws[name].append(other.scores[name].value)
        alike &= {side for side in alike if other and torch.equal(other.numbers[side], found.numbers[side])}
    if not distributed.is_main():
        return None
    results, notes, images = [], found.notes, {}
    for name, metric in metrics.items():
        score, floor = found.scores[name], found.floors[name]
        network = networks.get(metric.needs)
        protocol = Protocol(
            metric=name, definition=metric.definition, libraries=report.libraries(), weights=network.identity if network else None,
            real=real.name, real_content=real.content, fake=fake.name, split=settings["split"], real_clips=found.clips,
            fake_clips=found.clips, floor_clips=found.floor_clips if metric.kind == "sets" else None, clip_frames=settings["frames"],
            frames_per_clip=config.frames_per_clip, frame_skip=settings["frame_skip"], fps=settings["fps"], height=settings["height"],
            width=settings["width"], resize=resize(settings["fit"]), values="uint8 RGB", seed=config.seed, precision=precision,
            settings=_settings(config, metric) | stabilized(settings), name=config.protocol)
        spread = [score.value, *draws[name]] if config.draws > 1 else []
        results.append(Result(name, score, floor, metric.unit, metric.better, protocol, found.intervals[name], spread))
        notes += [f"{name}: {score.note}"] if score.note else []
        if score.by_size:
            images[f"{name}_by_size.png"] = plots.fit_line(*zip(*score.by_size), score.parts[AT_INFINITY], name)
        if metric.collects in ("patches", "motion_patches"):
            groups = {"fake against real": score.parts} | ({"real against real": floor.parts} if floor else {})
            images[f"{name}.png"] = plots.bars(f"{name} by pyramid level ({metric.better} is better)", f"{name} {metric.unit}", groups)
    if alike:
        which = " and ".join(f"no other {name} clips" for side, name in (("fake", "generated"), ("real", "real")) if side in alike)
        notes.append(f"{config.draws} draws: there are {which}, so their standard deviation is too small to say how far the value may be "
                     "off")
    for name, metric in metrics.items():
        rows = found.collected["fake"][key_of(metric)].rows
        if metric.collects == "features" and rows < found.clips and (metric.of_kept_features or config.resamples):
            what = name if metric.of_kept_features else f"{name}, its interval"
            notes.append(f"{what}: of {rows} of the {found.clips} clips, a random choice; --max_features_kept takes more")
    about = describe_clips(found, real, fake, list(classes), metrics)
    return Measured(results, about.pictures | images, notes + about.notes, about.tables)


def _enough_for_protocol(config: EvaluateConfig, real: Crowd, fake: Crowd) -> None:
    """A number by a protocol's name has its number of clips, or it is not given."""
    for crowd in (real, fake) if config.protocol else ():
        if (most := crowd.most(config.one_per_video)) < config.num_samples:
            what = "clips of as many videos" if config.one_per_video else "clips"
            raise UserError(f"--protocol {config.protocol}: needs {config.num_samples} {what}, {crowd.name} has {most}; give more, or "
                            f"measure without --protocol, --metrics {config.metrics}")


def _enough_clips(config: EvaluateConfig, metrics: dict[str, Metric], real: Crowd, fake: Crowd) -> None:
    """Refused before any work, not after it."""
    clips = int(min([config.num_samples, *(crowd.most(config.one_per_video) for crowd in (real, fake))]))
    for name, metric in metrics.items():
        kept = min(clips, config.max_features_kept) if metric.collects == "features" else clips
        if kept < metric.fewest:
            limit = "--max_features_kept keeps" if kept < clips else f"--num_samples {config.num_samples} and the videos give"
            raise UserError(f"--metrics {name}: needs {metric.fewest} clips on each side or more, {limit} {kept}; give more, or "
                            f"leave {name} out")


def _settings(config: EvaluateConfig, metric: Metric) -> dict:
    """What else the value depends on."""
    if metric.collects in ("patches", "motion_patches"):
        return {"max_frames_kept": config.max_frames_kept} | ({"one_per_video": True} if config.one_per_video else {})
    return {"max_features_kept": config.max_features_kept, "one_per_video": config.one_per_video}
