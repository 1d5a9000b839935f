"""Predicted futures against the real ones, frame by frame, beside the simplest prediction: that nothing moves."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metrics import report
from metrics.confidence import Interval
from metrics.intervals import interval_of_mean
from metrics.pixel import average, capped
from metrics.protocol import Protocol, Result, Score
from metrics.registry import Metric
from metrics.sets import Crowd, draw_clips, of_intervals
from utils.images import evenly
from utils.progress import Progress

STILL = "repeating the first frame"
SHOWN = 8  # clips, evenly spread, whose last frames are kept for the picture


@dataclass
class Predictions:
    """What :func:`compare_predictions` found."""

    real: str
    content: str | None
    clips: int
    clip_frames: int
    seed: int
    scores: dict[str, Score]
    """Each with the score of ``STILL`` as a part."""
    remarks: list[str]
    """On the clips that were compared."""
    intervals: dict[str, Interval | None] = field(default_factory=dict)
    shown: dict[str, list[np.ndarray]] = field(default_factory=lambda: {"real": [], "predicted": []})
    """Last frames, uint8 ``(H, W, 3)``."""

    def results(self, metrics: dict[str, Metric], shared: dict, settings: dict) -> tuple[list[Result], list[str]]:
        """One result for each metric, and remarks. ``shared``: the rest of each :class:`Protocol`; ``settings``: further ones."""
        settings = {"compared": f"frames 2 to {self.clip_frames} of each clip, predicted from its first"} | settings
        results = []
        for name, metric in metrics.items():
            protocol = Protocol(
                metric=name, definition=metric.definition, libraries=report.libraries(), weights=metric.weights, real=self.real,
                real_content=self.content, real_clips=self.clips, fake_clips=self.clips, floor_clips=None,
                clip_frames=self.clips * (self.clip_frames - 1), frames_per_clip=None, values="uint8 RGB, data range 255", seed=self.seed,
                settings=settings, **shared)
            results.append(Result(name, self.scores[name], None, metric.unit, metric.better, protocol, self.intervals[name]))
        return results, self.remarks + [f"{name}: {score.note}" for name, score in self.scores.items() if score.note]


def compare_predictions(metrics: dict[str, Metric], real: Crowd, predict: Callable[[Tensor], Tensor], num_samples: int,
                        seed: int = 0, batch_size: int = 16, resamples: int = 0) -> Predictions:
    """``num_samples`` clips of ``real`` (as many as there are, if fewer) with at least 2 frames. ``predict``: clips uint8
    ``(B, T, H, W, 3)`` -> as many made from their first frames alone.

    All frames but the first are compared; the mean is over frames, and ``resamples`` of the clips give its interval. ValueError where the
    two differ in shape. """
    numbers, _ = draw_clips(real, int(min(num_samples, real.count)), seed)
    remarks = [f"{len(numbers)} clips, not {num_samples}: there are no more"] if len(numbers) < num_samples else []
    remarks += of_intervals(real, len(numbers)) if resamples else []
    wanted = set(evenly(len(numbers), SHOWN).tolist())
    values: dict[str, list[Tensor]] = {name: [] for name in metrics}
    still: dict[str, list[Tensor]] = {name: [] for name in metrics}
    result = Predictions(real.name, real.content, len(numbers), 0, seed, {}, remarks)
    with Progress(len(numbers), "evaluate", "clip") as progress:
        for part, places in zip(numbers.split(batch_size), torch.arange(len(numbers)).split(batch_size)):
            clips = real.get(part)
            made = predict(clips)
            if made.shape != clips.shape:
                raise ValueError(f"predictions are {tuple(made.shape)}, real clips {tuple(clips.shape)}")
            future, first = clips[:, 1:], clips[:, :1].expand_as(clips[:, 1:])
            for name, metric in metrics.items():
                values[name].append(metric.function(made[:, 1:], future, data_range=255).flatten())
                still[name].append(metric.function(first, future, data_range=255).flatten())
            result.clip_frames = clips.shape[1]
            for side, films in (("real", clips), ("predicted", made)):
                result.shown[side] += [film[-1].numpy() for film, place in zip(films, places.tolist()) if place in wanted]
            progress.update(len(part))
    for name, metric in metrics.items():
        score, baseline = (average(torch.cat(of[name]), metric.better) for of in (values, still))
        notes = [score.note, f"{STILL}: {baseline.note}" if baseline.note else ""]
        result.scores[name] = Score(score.value, {STILL: baseline.value}, "; ".join(filter(None, notes)))
        films = torch.arange(len(numbers)).repeat_interleave(result.clip_frames - 1).tolist()
        result.intervals[name] = interval_of_mean(capped(torch.cat(values[name])), films, resamples, seed)
    return result
