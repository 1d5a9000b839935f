"""Pictures and films of a run: real clips, fixed-latent samples, curves."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.dataset import VideoDataset
from training.log import of_reals, read_rows
from training.step import to_float
from training.task import Request, Task
from utils import images
from utils.files import atomic_file
from utils.seeds import torch_generator
from utils.video import MAX_FPS, MIN_FPS, write_video

FILM_FRAMES = 32


def latents(number: int, dim: int, seed: int, start: int = 0, name: str = "sample") -> Tensor:
    """(number, dim), N(0, 1). Row i is a function of (seed, start + i) alone."""
    return torch.stack([torch.randn(dim, generator=torch_generator(seed, name, start + index)) for index in range(number)])


def turns(labels: list[int], number: int, first: int = 0) -> Tensor:
    """The classes of samples ``first`` to ``first + number - 1``, of which each next one takes the next of ``labels``: int64 (number,)."""
    return torch.tensor(labels)[torch.arange(first, first + number) % len(labels)]


def fixed_request(task: Task, dataset: VideoDataset, number: int, seed: int, name: str = "sample", label: int | None = None) -> Request:
    """The same latents and clips for the same seed; labels take turns unless all are to be ``label``."""
    labels = turns(dataset.shown, number) if label is None else torch.full((number,), label)
    video = to_float(real_clips(dataset, number, seed, label), torch.device("cpu")) if task.wants_video else None
    number = number if video is None else len(video)
    return Request(latents(number, task.latent_dim, seed, name=name), labels[:number], video)


@contextmanager
def evaluating(nets: dict):
    """Networks in evaluation mode and without gradients for as long as the context lasts. Gives the device they live on."""
    training = {name: net.training for name, net in nets.items()}
    for net in nets.values():
        net.eval()
    try:
        with torch.no_grad():
            yield next(next(iter(nets.values())).parameters()).device
    finally:
        for name, net in nets.items():
            net.train(training[name])


def generate(task: Task, nets: dict, request: Request, batch_size: int = 16,
             seen_by: Callable[[Tensor], Tensor] = lambda clips: clips) -> Tensor:
    """(B, 3, T, H, W) on the CPU, or what ``seen_by`` makes of it where it was generated; in parts of ``batch_size``, by networks in
    evaluation mode."""
    with evaluating(nets) as device:
        return torch.cat([seen_by(task.sample(nets, request[at:at + batch_size].to(device)).float()).cpu()
                          for at in range(0, len(request.latents), batch_size)])


def real_clips(dataset: VideoDataset, number: int, seed: int, label: int | None = None) -> Tensor:
    """uint8 (number, T, H, W, 3), fewer where there are fewer: the same clips for the same seed,
    spread over all videos, or those of a class."""
    return dataset.gather(_chosen(dataset, number, seed, label))["video"].cpu()


def real_labels(dataset: VideoDataset, number: int, seed: int) -> Tensor:
    """The classes of :func:`real_clips`, int64 (number,)."""
    return dataset.labels()[_chosen(dataset, number, seed, None)]


def _chosen(dataset: VideoDataset, number: int, seed: int, label: int | None) -> Tensor:
    chosen = torch.randperm(len(dataset), generator=torch_generator(seed, "shown reals"))
    if label is not None:
        chosen = chosen[dataset.labels()[chosen] == label]
    return chosen[:number].sort().values


def write_samples(folder: Path, step: int, task: Task, nets: dict, fixed: Request, seed: int, fps: float) -> np.ndarray:
    """``step_N.png``: samples of ``fixed``. ``step_N.mp4``: a generator of frames goes once around a circle through each
    latent, a generator of clips shows its clips. Returns the picture."""
    first = images.to_uint8(generate(task, nets, fixed))
    picture = images.grid(first[:, 0])
    images.save_png(folder / f"step_{step:06d}.png", picture)
    write_video(folder / f"step_{step:06d}.mp4", _film(first, fixed, task, nets, seed), fps=min(max(fps, MIN_FPS), MAX_FPS))
    return picture


def _film(first: np.ndarray, fixed: Request, task: Task, nets: dict, seed: int):
    if first.shape[1] > 1 or not task.latent_dim:
        yield from (images.grid(first[:, t]) for t in range(first.shape[1]))
        return
    few = fixed[:9]
    across = latents(len(few.latents), task.latent_dim, seed, name="across")
    for index in range(FILM_FRAMES):
        angle = 2 * math.pi * index / FILM_FRAMES
        circle = replace(few, latents=few.latents * math.cos(angle) + across * math.sin(angle))
        yield images.grid(images.to_uint8(generate(task, nets, circle))[:, 0])


def plot_losses(path: Path) -> None:
    """``losses.png`` from ``metrics.jsonl`` beside it: losses, verdicts, diversity, distance, gradient norms; thin raw, thick
    smoothed."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_rows(path.parent / "metrics.jsonl")
    groups = [("loss", [name for name in _names(rows) if name.endswith("/loss")]),
              ("discriminator's verdict", [name for name in _names(rows) if name in ("d/real", "d/fake")]),
              ("diversity of samples (real clips = 1)", [name for name in _names(rows) if name == "diversity"]),
              ("distance of samples to real clips", [name for name in _names(rows) if name == "distance"]),
              ("gradient norm", [name for name in _names(rows) if name.endswith("/grad_norm")])]
    groups = [(title, names) for title, names in groups if names]
    if not groups:
        return
    figure, axes = pyplot.subplots(1, len(groups), figsize=(4.2 * len(groups), 3.2), squeeze=False)
    for axis, (title, names) in zip(axes[0], groups):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), (int, float))]
            steps, values = zip(*points)
            (line,) = axis.plot(steps, values, alpha=0.25, linewidth=0.8)
            axis.plot(steps, _smooth(np.array(values)), color=line.get_color(), linewidth=1.6, label=name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
        if title == "gradient norm":
            axis.set_yscale("log")
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=90)
    pyplot.close(figure)


def plot_evaluations(path: Path) -> None:
    """``evaluations.png`` from ``evaluations.jsonl`` beside it: each metric over the steps, and dashed what real clips score
    against each other. Writes nothing where nothing was evaluated."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_rows(path.parent / "evaluations.jsonl")
    better = {name: way for row in rows for name, way in row["better"].items()}
    if not better:
        return
    figure, axes = pyplot.subplots(1, len(better), figsize=(4.2 * len(better), 3.2), squeeze=False)
    for axis, (name, way) in zip(axes[0], better.items()):
        for values, style in (({row["step"]: row.get(name) for row in rows}, {"marker": "o", "markersize": 3, "label": name}),
                              ({row["step"]: row["floors"].get(name) for row in rows},
                               {"linestyle": "--", "color": "grey", "linewidth": 1, "label": of_reals(rows[-1], name)})):
            points = [(step, value) for step, value in values.items() if value is not None]
            if points:
                axis.plot(*zip(*points), **style)
        axis.set_title(f"{name} ({way} is better)", fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
    figure.tight_layout()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=90)
    pyplot.close(figure)


def _names(rows: list[dict]) -> list[str]:
    """Those with at least one number: values that were not finite stand as text."""
    return list(dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, (int, float))))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean over about a thirtieth of the curve; the window shrinks at the ends."""
    half = max(1, len(values) // 60)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
