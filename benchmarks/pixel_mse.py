"""What HRVGAN's pixel term does: the published recipe with its weight at 0, 0.1, 1 and 10.

    python -m benchmarks.pixel_mse [--seconds 240] [--seeds 0 1]          # writes benchmarks/results/pixel_mse.{json,png}

The term compares each generated clip with a real one of its class, chosen at random. The clip that lies nearest to all of them is their
mean, so the larger the weight, the more alike and the flatter should the clips of a class become. "variety": standard deviation of each
pixel over the samples of a class, mean over pixels and classes, as a share of that of real clips. "swd" and "swd_motion": distances of
frames and of differences between frames. Two trainings at a time, one thread each, for the same wall time.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import command, describe
from benchmarks.recipes import DATA, SIZES
from benchmarks.runs import train_together
from metrics.protocol import to_uint8
from metrics.swd import MotionPatches, Patches, swd
from training.restore import load_sampler
from training.setup import read_videos
from utils import images
from utils.files import write_json
from utils.seeds import torch_generator

WEIGHTS = (0, 0.1, 1, 10)
EACH = 16  # clips per class


def variety(clips: Tensor, labels: Tensor) -> float:
    """uint8 (N, T, H, W, 3) and classes (N,) -> mean standard deviation over the clips of a class, in levels of 255."""
    return float(np.mean([clips[labels == label].float().std(0).mean().item() for label in labels.unique()]))


def real_clips(dataset, classes: int) -> tuple[Tensor, Tensor]:
    """``EACH`` clips of every class, drawn at random."""
    order = torch.randperm(len(dataset), generator=torch_generator(0, "clips of every class"))
    batch = dataset.gather(order)
    chosen = torch.cat([torch.nonzero(batch["label"] == label)[:EACH, 0] for label in range(classes)])
    return batch["video"][chosen].cpu(), batch["label"][chosen].cpu()


def distance(kind: type, real: Tensor, made: Tensor) -> float:
    sides = [kind(), kind()]
    for side, clips in zip(sides, (real, made)):
        side.update(clips)
    return swd(*sides, normalise="real").value


def measure(run: Path) -> tuple[dict, Tensor]:
    """A run's numbers, and its samples, uint8 (N, T, H, W, 3), ``EACH`` of every class."""
    sampler = load_sampler(run)
    real, labels = real_clips(read_videos(sampler.config, sampler.device), sampler.num_classes)
    made = torch.cat([to_uint8(sampler.sample(sampler.latents(len(part), 0, at * 16), part))
                      for at, part in enumerate(labels.split(16))])
    return {"step": sampler.step, "variety": variety(made, labels) / variety(real, labels), "swd": distance(Patches, real, made),
            "swd_motion": distance(MotionPatches, real, made)}, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path("runs/pixel_mse"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/pixel_mse.json"))
    options = parser.parse_args()
    found, rows = {str(weight): [] for weight in WEIGHTS}, []
    for seed in options.seeds:
        out = lambda weight: options.work / f"weight_{weight}_seed_{seed}"
        flags = ["--config", "configs/faithful/hrvgan.yaml", *SIZES["hrvgan"], "--data", DATA, "--max_frames", "null", "--seed", str(seed)]
        for pair in (WEIGHTS[:2], WEIGHTS[2:]):
            train_together({out(weight): [*flags, "--pixel_mse", str(weight)] for weight in pair}, options.seconds)
        for weight in WEIGHTS:
            numbers, made = measure(out(weight))
            found[str(weight)].append({"seed": seed, **numbers})
            print(weight, found[str(weight)][-1], flush=True)
            if seed == options.seeds[0]:
                rows.append(images.grid(made[:EACH // 2, made.shape[1] // 2].numpy(), EACH // 2))
    images.save_png(options.output.with_suffix(".png"), np.concatenate(rows))
    write_json(options.output, {"command": command(),
                                "machine": describe(), "data": DATA, "settings": SIZES["hrvgan"], "clips_per_class": EACH,
                                "weights": found})


if __name__ == "__main__":
    main()
