"""Controls: real clips damaged on purpose, and which metric notices.

Real clips are cut in two halves. One stays as it is, the other is damaged, and each metric compares them; what it says of the halves
undamaged, split at random again and again, is what chance does. A damage is caught when its value lies beyond 95% of those.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.config import EvaluateConfig
from evaluation.folders import clip_settings
from evaluation.measured import Measured
from evaluation.sources import check_clips, crowd, read_clips, resize, unusable
from metrics import plots, report
from metrics.collect import Collector
from metrics.confidence import permutation_threshold
from metrics.controls import DAMAGES, mode_drop
from metrics.diversity import BYTES_OF_FRAME, KEPT_BYTES
from metrics.intervals import statistic_of
from metrics.protocol import Protocol, Result, Score
from metrics.registry import Metric
from metrics.sets import Crowd, How, key_of, look_at_all, new_collector
from metrics.tables import number
from utils import distributed
from utils.errors import UserError
from utils.progress import Progress
from utils.seeds import numpy_generator

CLIP_FRAMES = 8  # frames per clip if nothing else is asked for: a damage of time needs some
FEWEST = 20  # clips of each half
FEWEST_SPLITS = 39  # of undamaged clips, to know what chance gives
UNDAMAGED, BOTH = "none", "both halves"


def measure_controls(config: EvaluateConfig, metrics: dict[str, Metric], networks: dict) -> Measured | None:
    """A table of damages by metrics, each value beside what chance gives, and a picture of it."""
    if pairs := [name for name, metric in metrics.items() if metric.kind == "pairs"]:
        raise UserError(f"--metrics {','.join(pairs)}: compares pairs of frames, so every damage shows; controls are for metrics of sets")
    settings = clip_settings(config, metrics, networks)
    settings["frames"] = config.clip_frames or max(CLIP_FRAMES, settings["frames"])
    check_clips(metrics, networks, settings, config.real)
    dataset = read_clips(config.real, settings, "--real")
    real = crowd(config.real, dataset)
    order = torch.from_numpy(numpy_generator(config.seed, "controls").permutation(real.separate))
    # Both halves are split anew again and again, so details of all their clips must be kept.
    collected = {metric.collects for metric in metrics.values()}
    limits = [("--num_samples", config.num_samples)]
    if "features" in collected:
        limits.append(("--max_features_kept", config.max_features_kept // 2))
    if collected & {"patches", "motion_patches"}:
        limits.append(("--max_frames_kept", config.max_frames_kept // config.frames_per_clip // 2))
    if "thumbnails" in collected:
        limits.append(("--num_samples", KEPT_BYTES // (2 * BYTES_OF_FRAME * settings["frames"])))
    flag, most = min(limits, key=lambda limit: limit[1])
    half = min(most, len(order) // 2)
    if most < FEWEST:
        raise UserError(f"{flag}: leaves {most} clips in each half; controls need {FEWEST}; raise it")
    if half < FEWEST:
        raise UserError(f"--real {config.real}: {len(order)} clips without common frames; controls need {2 * FEWEST}; "
                        f"give more videos, or fewer --clip_frames than {settings['frames']}")
    kept, others = order[:half].sort().values, order[half:]
    how = How(num_samples=half, seed=config.seed, batch_size=config.batch_size, frames_per_clip=config.frames_per_clip,
              max_frames=config.max_frames_kept, max_features=config.max_features_kept)
    sides = {name: (_damaged(real, name, config.seed), others[:half]) for name in DAMAGES}
    sides["mode drop"] = real, _with_fewer_modes(real, others, config.seed)[:half]
    seen = {}
    with Progress(half * (len(sides) + 2), "controls", "clip", quiet=not distributed.is_main()) as progress:
        for name, (clips, numbers) in {BOTH: (real, torch.cat([kept, others[:half]])), **sides}.items():
            seen[name] = {key: new_collector(key, how, len(numbers), networks) for key in dict.fromkeys(map(key_of, metrics.values()))}
            look_at_all(clips, numbers, seen[name], config.batch_size, progress)
    if not distributed.is_main():
        return None
    protocol = {"libraries": report.libraries(), "real": config.real, "real_content": real.content, "split": settings["split"],
                "real_clips": half, "fake_clips": half, "floor_clips": half, "clip_frames": settings["frames"],
                "frames_per_clip": config.frames_per_clip, "height": settings["height"], "width": settings["width"],
                "resize": resize(settings["fit"]), "values": "uint8 RGB", "seed": config.seed, "precision": "none",
                "frame_skip": dataset.frame_skip, "fps": dataset.fps}
    measured = _judge(metrics, networks, seen, protocol, max(FEWEST_SPLITS, config.resamples), config.seed)
    measured.notes += unusable(dataset)
    return measured


def _judge(metrics: dict[str, Metric], networks: dict, seen: dict[str, dict[tuple, Collector]], protocol: dict, splits: int,
           seed: int) -> Measured:
    damages = [UNDAMAGED if side == BOTH else side for side in seen]
    table = [["damage", *metrics, "seen by"]]
    values = {damage: {} for damage in damages}
    caught = {damage: [] for damage in damages}
    ratios, results = np.zeros((len(damages), len(metrics))), []
    with Progress(len(metrics) * (len(damages) + 1), "controls", "comparison") as progress:
        for column, (name, metric) in enumerate(metrics.items()):
            found = {side: collectors[key_of(metric)] for side, collectors in seen.items()}
            both = found[BOTH]
            kept, others = torch.arange(both.rows).tensor_split(2)
            chance = permutation_threshold(_between(metric, both, both), both.rows, (len(kept), len(others)), splits, seed)
            progress.update()
            usual = float(np.mean(chance.values))
            for row, damage in enumerate(damages):
                other = both if damage == UNDAMAGED else found[damage]
                value = _between(metric, both, other)(kept, others if damage == UNDAMAGED else torch.arange(other.rows))
                values[damage][name] = _sign(metric) * value
                ratios[row, column] = (value - usual) / max(chance.threshold - usual, 1e-12)
                if damage != UNDAMAGED and chance.exceeded_by(value):
                    caught[damage].append(name)
                progress.update()
            network = networks.get(metric.needs)
            parts = {damage: values[damage][name] for damage in damages} | {"95% of chance": _sign(metric) * chance.threshold}
            results.append(Result(
                name, Score(_sign(metric) * usual, parts), None, metric.unit, metric.better,
                Protocol(metric=name, definition=f"{metric.definition}; controls", weights=network.identity if network else None,
                         fake="real clips, damaged", settings={"splits": splits}, **protocol)))
    for damage in damages:
        cells = [number(values[damage][name]) + (" *" if name in caught[damage] else "") for name in metrics]
        table.append([damage, *cells, ", ".join(caught[damage]) or "-"])
    picture = plots.controls(damages, list(metrics), ratios, np.array([[name in caught[damage] for name in metrics] for damage in damages]),
                             neutral=0, label="distance from what chance gives, in units of its 95% point")
    return Measured(results, {"controls.png": picture}, [
        f"controls: value of damaged clips against other real clips; * worse than 95% of {splits} random splits of undamaged ones, "
        "what chance gives; the value of a metric is the mean of those splits",
        *(f"{name}: how far the damaged clips' own value is from that of the other real clips" for name, metric in metrics.items()
          if metric.kind == "samples"),
        *(f"{damage}: no metric here sees it" for damage in damages if damage != UNDAMAGED and not caught[damage])], {"controls": table})


def _between(metric: Metric, a: Collector, b: Collector) -> Callable[[Tensor, Tensor], float]:
    """How far rows of ``b`` are from rows of ``a``, larger being worse."""
    if metric.kind == "samples":
        of_a, of_b = statistic_of(metric, a), statistic_of(metric, b)
        return lambda rows, others: abs(of_a(rows) - of_b(others))
    statistic = statistic_of(metric, a, b)
    return lambda rows, others: _sign(metric) * statistic(rows, others)


def _sign(metric: Metric) -> int:
    return -1 if metric.kind == "sets" and metric.better == "higher" else 1


def _damaged(real: Crowd, name: str, seed: int) -> Crowd:
    return Crowd(name, lambda numbers: DAMAGES[name](real.get(numbers), numbers, seed))


def _with_fewer_modes(real: Crowd, numbers: Tensor, seed: int) -> Tensor:
    """As many of ``numbers``, from half of them that are alike in colour and layout: lost ones are replaced by others of that half."""
    small = torch.cat([F.adaptive_avg_pool2d(real.get(part)[:, 0].permute(0, 3, 1, 2).float(), 4).flatten(1) for part in numbers.split(64)])
    return numbers[mode_drop(small, seed)]
