"""What the autoencoder of keyframes loses at several sizes of its code.

    python -m benchmarks.compression FOLDER_OF_VIDEOS [--steps 6000] [--runs runs/compression]

For each ratio one autoencoder learns from the first two thirds of each film, as benchmarks.interpolation prepares them, and every
eighth frame of the last third is then kept as its code, one byte per value, and made from it again. PSNR in dB of the uint8
frames, mean over frames and then over films; "kept" is values of the code per value of the frame.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from benchmarks.interpolation import TILE, films_in, score, write_tiles
from benchmarks.machine import describe
from configs.cli import parse
from configs.schema import TrainConfig
from training.interpolate_film import Remaker
from training.loop import train
from training.registry import MODELS
from training.restore import load_sampler
from utils.files import write_json

RESULTS = Path(__file__).parent / "results" / "compression.json"
RATIOS = {"1/4": (4, 12), "1/12": (8, 16), "1/48": (8, 4)}  # downsampling and channels of the code
EVERY = 8
RECIPE = ["--config", "configs/keyframes.yaml", "--frames", "3", "--height", str(TILE), "--width", str(TILE), "--batch_size", "8",
          "--lr", "1e-3", "--warmup", "100", "--clip_grad", "1", "--model.crop", "96",
          "--model.learns", "autoencoder", "--model.reconstruction", "psnr:1,l1:1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/compression"))
    parser.add_argument("--tiles", type=Path, help="those of benchmarks.interpolation, if they are there already")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    films = films_in(args.videos)
    tiles = args.tiles or args.runs / "tiles"
    if not tiles.exists():
        write_tiles(films, tiles)
    found = {}
    for ratio, (downsampling, channels) in RATIOS.items():
        run = args.runs / ratio.replace("/", "_")
        given = {"data": tiles, "out": run, "steps": args.steps, "device": args.device, "threads": args.threads,
                 "model.ae_downsampling": downsampling, "model.ae_channels": channels}
        train(parse(TrainConfig, [*RECIPE, *(f"--{name}={value}" for name, value in given.items())], models=MODELS))
        sampler = load_sampler(run, args.device, "fp32")
        remaker = Remaker(sampler, needed=("autoencoder",))
        rows = {name: score([remaker.keep(frame)[0] for frame in shown], shown)
                for name, shown in ((name, film[2 * len(film) // 3::EVERY]) for name, film in films.items())}
        mean = {kind: float(np.mean([row[kind] for row in rows.values()])) for kind in ("psnr", "ssim")}
        found[ratio] = {"kept": remaker.autoencoder.kept, "step": sampler.step, "films": rows, "mean": mean}
        print(f"{ratio:5s} of the values  {mean['psnr']:.2f} dB  {mean['ssim']:.4f}  after {sampler.step} steps", flush=True)
    write_json(args.output, {"machine": describe(), "protocol": " ".join(__doc__.split()), "ratios": found})


if __name__ == "__main__":
    main()
