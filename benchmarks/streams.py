"""Do the two streams of a `vgan` trained on a fixed camera part what stands still from what moves?

    python train.py --config configs/vgan.yaml --data vtest.avi --frame_skip 2 --height 48 --width 64 --frames 16 --out runs/streams
    python -m benchmarks.streams --checkpoint runs/streams                  # writes benchmarks/results/streams.{json,png}

The background of each sample is compared with the median of the training frames, which shows the empty scene (PSNR in dB; the mean frame,
which people blur, is measured beside it). The mask is compared with where things move: pixels that differ from the median by more than a
tenth of the range in at least one frame of a hundred.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import command, describe
from metrics.pixel import psnr
from metrics.protocol import to_uint8
from training.restore import load_sampler
from training.setup import read_videos
from utils import images
from utils.errors import UserError, script
from utils.files import write_json

MOVED, OFTEN = 25.5, 0.01


def scene(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames uint8 (N, H, W, 3) -> their median and mean, uint8 (H, W, 3), and where things move, bool (H, W)."""
    median = frames.median(0).values
    moved = (frames.float() - median.float()).abs().amax(-1) > MOVED
    return median, frames.float().mean(0).round().byte(), moved.float().mean(0) >= OFTEN


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkpoint", required=True)
    options.add_argument("--samples", type=int, default=64)
    options.add_argument("--output", default="benchmarks/results/streams.json")
    given = options.parse_args()
    sampler = load_sampler(given.checkpoint)
    if not sampler.has_streams or sampler.takes_image:
        raise UserError(f"--checkpoint {given.checkpoint}: {sampler.family} does not make clips of two streams from noise; train vgan")
    dataset = read_videos(sampler.config, sampler.device)
    frames = dataset.gather(torch.linspace(0, len(dataset) - 1, min(1000, len(dataset))).long())["video"][:, 0].cpu()
    median, mean, moves = scene(frames)
    parts = [sampler.streams(sampler.latents(16, 0, start)) for start in range(0, given.samples, 16)]
    streams = {name: torch.cat([part[name] for part in parts])[:given.samples] for name in parts[0]}
    background, mask = to_uint8(streams["background"])[:, 0], streams["mask"][:, 0].float()  # (N, H, W, 3), (N, T, H, W)
    compare = lambda picture: psnr(picture, median.expand_as(picture), data_range=255)
    found = {"background_psnr": compare(background).mean().item(), "mean_frame_psnr": compare(mean[None]).item(),
             "mask_where_things_move": mask[..., moves].mean().item(), "mask_elsewhere": mask[..., ~moves].mean().item(),
             "share_of_pixels_where_things_move": moves.float().mean().item()}
    result = {"command": command(), "machine": describe(), "step": sampler.step,
              "samples": len(background), "clip": [mask.shape[1], *background.shape[1:3]], **found}
    write_json(Path(given.output), result)
    images.save_png(Path(given.output).with_suffix(".png"), strip(median, streams))
    print(json.dumps(result, indent=2))


def strip(median: Tensor, streams: dict[str, Tensor], clips: int = 4) -> np.ndarray:
    """A row for each clip: the median frame, the background, then foreground, mask and film at two moments."""
    times, rows = [streams["film"].shape[2] // 4, 3 * streams["film"].shape[2] // 4], []
    shown = {name: to_uint8(part.expand(-1, 3, -1, -1, -1) * 2 - 1 if name == "mask" else part)[:clips] for name, part in streams.items()}
    for clip in range(clips):
        rows += [median, shown["background"][clip, 0],
                 *(shown[name][clip, time] for time in times for name in ("foreground", "mask", "film"))]
    return images.grid(torch.stack(rows).numpy(), 8)


if __name__ == "__main__":
    script(main)
