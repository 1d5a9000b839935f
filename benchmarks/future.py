"""The future from one image: a trained `vgan_conditional` beside the simplest prediction, that nothing moves, on videos it never saw.

    python train.py --config configs/vgan_conditional.yaml --data synthetic:num_videos=256 --height 32 --width 32 --frames 8 \
        --out runs/future_shapes
    python -m benchmarks.future --checkpoint runs/future_shapes --data synthetic:num_videos=96,seed=1   # see --output

No two clips share a frame. PSNR and SSIM are means over all frames but the first, each against the real one; an equal frame has 100 dB.
The gain in PSNR over repeating the frame, by the error of whole clips, has a 95% interval over videos, whose clips are much alike. SWD of
the motion (differences of consecutive frames, the real side's spread for both) compares distributions: it cannot be lowered by a blur
between all possible futures.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import command, describe
from data.dataset import VideoDataset
from metrics.collect import Draw
from metrics.pixel import capped, psnr, ssim
from metrics.protocol import to_uint8
from metrics.swd import MotionPatches, swd
from training.restore import load_sampler
from training.step import to_float
from utils import images
from utils.errors import UserError, script
from utils.files import write_json
from utils.seeds import torch_generator

SHOWN = 6


def clips_of(dataset: VideoDataset, number: int) -> tuple[Tensor, np.ndarray]:
    """uint8 (number, T, H, W, 3), drawn at random from clips without a frame in common, and the video of each, int64 (number,)."""
    apart = dataset.consecutive_clips()
    chosen = apart[torch.randperm(len(apart), generator=torch_generator(0, "futures"))[:number].numpy()]
    return dataset.gather(chosen)["video"], dataset.video_of(chosen)


def gain(made: Tensor, real: Tensor, videos: np.ndarray) -> dict[str, float]:
    """By how many dB the squared error of ``made`` is below that of repeating the frame, a clip at a time (single frames may equal the
    first one, and would count as infinitely good): the mean of the means of ``videos``, and a 95% interval by their spread."""
    def error(clips: Tensor) -> Tensor:
        squares = (clips[:, 1:].double() - real[:, 1:].double()).square().flatten(1).mean(1)
        return squares.clamp(min=1 / 12)  # that of rounding

    above = 10 * torch.log10(error(real[:, :1].expand_as(real)) / error(made)).numpy()
    by_video = np.array([above[videos == video].mean() for video in np.unique(videos)])
    mean, half = by_video.mean(), 1.96 * by_video.std(ddof=1) / len(by_video)**0.5
    return {"mean": float(mean), "low": float(mean - half), "high": float(mean + half), "videos": len(by_video)}


def measure(made: Tensor, real: Tensor, others: Tensor) -> dict[str, float]:
    """``made``: predictions of ``real``; ``others``: further real clips, all uint8 (N, T, H, W, 3)."""
    patches = [MotionPatches(Draw(frames_per_clip=2)), MotionPatches(Draw(frames_per_clip=2))]
    for side, clips in zip(patches, (others, made)):
        side.update(clips)
    return {"psnr": capped(psnr(made[:, 1:], real[:, 1:], data_range=255)).mean().item(),
            "ssim": ssim(made[:, 1:], real[:, 1:], data_range=255).mean().item(),
            "swd_motion": swd(*patches, normalise="real").value}


def strip(real: Tensor, made: Tensor) -> np.ndarray:
    """For each clip the real one above the predicted one, four moments from left to right; three clips side by side."""
    times = torch.linspace(0, real.shape[1] - 1, 4).round().long()
    rows = [torch.cat([real[clip, times], made[clip, times]]) for clip in range(SHOWN)]
    grids = [images.grid(row.numpy(), 4) for row in rows]
    return np.concatenate([np.concatenate(grids[at:at + SHOWN // 2], 1) for at in (0, SHOWN // 2)])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkpoint", required=True)
    options.add_argument("--data", default="synthetic:num_videos=96,seed=1")
    options.add_argument("--clips", type=int, default=256)
    options.add_argument("--output", default="benchmarks/results/future.json")
    given = options.parse_args()
    sampler = load_sampler(given.checkpoint)
    if not sampler.takes_image:
        raise UserError(f"--checkpoint {given.checkpoint}: does not predict from an image; train vgan_conditional")
    dataset = VideoDataset(given.data, **sampler.config.data_kwargs())
    drawn, videos = clips_of(dataset, 2 * given.clips)
    real, others = drawn[:len(drawn) // 2], drawn[len(drawn) // 2:][:len(drawn) // 2]
    made = torch.cat([to_uint8(sampler.sample(sampler.latents(len(part), 0), None, to_float(part, torch.device("cpu"))))
                      for part in real.split(32)])
    found = {"predicted": measure(made, real, others), "repeating the first frame": measure(real[:, :1].expand_as(real), real, others),
             "gain_in_psnr": gain(made, real, videos[:len(real)]),
            "real": {"swd_motion": measure(real, real, others)["swd_motion"]}}
    result = {"command": command(), "machine": describe(),
              "trained_on": sampler.config.data, "step": sampler.step, "clips": len(real), "clip": list(real.shape[1:4]), **found}
    write_json(Path(given.output), result)
    images.save_png(Path(given.output).with_suffix(".png"), strip(real, made))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    script(main)
