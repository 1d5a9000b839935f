"""The interpolator beside classical ways to put a frame between two: blending, OpenCV's DIS flow, ffmpeg's minterpolate.

    python -m benchmarks.interpolation FOLDER_OF_VIDEOS [--steps 6000] [--run runs/interpolation]

It learns from the first two thirds of each film and is measured on frames of the last third, which it never saw: frames are
scaled down to 320 pixels of width, every second one is dropped and made again from its neighbours, rounded to uint8 and compared
with the real one. PSNR in dB and SSIM, means over frames (RGB, range 255; at most 100 frames of a film). Without the program ffmpeg,
minterpolate is left out. The run continues where it was left.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.machine import describe
from configs.cli import parse
from configs.schema import TrainConfig
from data.decode import read_frames
from data.layouts import VIDEO_ENDINGS
from metrics.pixel import capped, psnr, ssim
from training.loop import train
from training.registry import MODELS
from training.restore import load_sampler
from training.step import to_float
from utils import hardware, images
from utils.files import write_json
from utils.seeds import numpy_generator

RESULTS = Path(__file__).parent / "results" / "interpolation.json"
WIDTH, FRAMES, LEAST = 320, 100, 4
TILE, TILES_OF = 128, 1600  # side of the squares trained on; each film gives about as many frames of them
# Few steps, so large ones, and frames only as far apart as they will be when it is measured, by what it will be measured in.
RECIPE = ["--config", "configs/keyframes.yaml", "--frames", "3", "--batch_size", "12", "--lr", "1e-3", "--warmup", "100",
          "--clip_grad", "1", "--sample_every", "1000", "--checkpoint_every", "250", "--model.crop", "80",
          "--model.learns", "interpolator", "--model.interpolation", "psnr:1,laplacian:1"]
METHODS = ("blend", "dis", "minterpolate", "ours")
Frames = list[np.ndarray]


def read_film(path: Path) -> Frames:
    """Every frame, uint8 RGB, at most ``WIDTH`` wide, of even height where that was changed."""
    film = []
    for frame in read_frames(path):
        height, width = frame.shape[:2]
        if width > WIDTH:
            frame = cv2.resize(frame, (WIDTH, round(height * WIDTH / width / 2) * 2), interpolation=cv2.INTER_AREA)
        film.append(frame)
    return film


def films_in(folder: Path) -> dict[str, Frames]:
    """The folder's films by name, those too short to be measured left out."""
    films = {path.stem: read_film(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_ENDINGS}
    return {name: film for name, film in films.items() if len(film) // 3 > 2 * LEAST}


def write_tiles(films: dict[str, Frames], folder: Path) -> None:
    """Squares from the first two thirds of each film, as folders of lossless images: more places where a film is shorter."""
    for name, film in films.items():
        film = [_at_least(frame, TILE) for frame in film[:2 * len(film) // 3]]
        random = numpy_generator(0, "tiles", name)
        height, width = film[0].shape[:2]
        for tile in range(max(6, min(24, TILES_OF // len(film)))):
            y, x = random.integers(height - TILE + 1), random.integers(width - TILE + 1)
            place = folder / f"{name}_{tile:02d}"
            place.mkdir(parents=True)
            for index, frame in enumerate(film):
                cv2.imwrite(str(place / f"{index:05d}.png"), frame[y:y + TILE, x:x + TILE, ::-1])


def _at_least(frame: np.ndarray, side: int) -> np.ndarray:
    """Mirrored at its edges as far as a square of ``side`` needs."""
    missing = [max(0, side - length) for length in frame.shape[:2]]
    return np.pad(frame, (*((lack // 2, lack - lack // 2) for lack in missing), (0, 0)), mode="symmetric")


def blend(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.rint((first.astype(np.float32) + second) / 2).astype(np.uint8)


def dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Both frames moved half way along the dense flow to the other (Kroeger et al. 2016, arXiv 1603.03590), and averaged."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    rows, columns = np.indices(greys[0].shape, np.float32)
    halves = []
    for frame, here, there in ((first, *greys), (second, *greys[::-1])):
        flow = search.calc(here, there, None) / 2
        places = columns - flow[..., 0], rows - flow[..., 1]
        halves.append(cv2.remap(frame, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return blend(*halves)


def minterpolate(kept: Frames) -> Frames:
    """ffmpeg's motion-compensated film of twice the rate."""
    options = "fps=20:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"
    with tempfile.TemporaryDirectory() as folder:
        for index, frame in enumerate(kept):
            images.save_png(Path(folder) / f"in{index:05d}.png", frame)
        subprocess.run(["ffmpeg", "-v", "error", "-framerate", "10", "-i", f"{folder}/in%05d.png",
                        "-vf", f"minterpolate={options}", f"{folder}/out%05d.png"], check=True)
        return [cv2.imread(str(path))[..., ::-1] for path in sorted(Path(folder).glob("out*.png"))]


def network(run: Path, device: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The run's averaged interpolator as a function of two frames, which restores the one between."""
    chosen = hardware.pick_device(device)
    net = load_sampler(run, device, "fp32").nets["interpolator"].eval()

    @torch.no_grad()
    def middle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        ends = to_float(torch.from_numpy(np.stack([first, second]))[:, None], chosen)[:, :, 0]
        return images.to_uint8(net.restore(ends[:1], ends[1:], torch.full((1,), 0.5, device=chosen))[:, :, None])[0, 0]
    return middle


def score(made: Frames, real: Frames) -> dict[str, float]:
    """Means over the frames."""
    pairs = [torch.from_numpy(np.stack(frames)) for frames in (made, real)]
    return {"psnr": capped(psnr(*pairs, data_range=255)).mean().item(),
            "ssim": ssim(*pairs, data_range=255).mean().item()}


def measure(film: Frames, middle: Callable) -> dict[str, dict[str, float]]:
    """Every method on the last third of a film."""
    start = 2 * len(film) // 3
    kept, dropped = film[start:start + FRAMES:2], film[start + 1:start + FRAMES:2]
    dropped = dropped[:len(kept) - 1]
    scores = {name: score([function(*pair) for pair in zip(kept, kept[1:])], dropped)
              for name, function in (("blend", blend), ("dis", dis), ("ours", middle))}
    if shutil.which("ffmpeg"):
        scores["minterpolate"] = best_alignment(minterpolate(kept), dropped)
    return {name: scores[name] for name in METHODS if name in scores}


def best_alignment(made: Frames, dropped: Frames) -> dict[str, float]:
    """The program's first frames may lag: the alignment that suits it best counts."""
    found = []
    for lag in (-2, -1, 0):
        places = range(1 + lag, 1 + lag + 2 * len(dropped), 2)
        found.append(score(*zip(*[(made[place], real) for place, real in zip(places, dropped) if 0 <= place < len(made)])))
    return max(found, key=lambda scores: scores["psnr"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--run", type=Path, default=Path("runs/interpolation"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--evaluate", action="store_true", help="only measure what the run has learnt so far")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    films = films_in(args.videos)
    tiles = args.run.with_name(args.run.name + "_tiles")
    if not tiles.exists():
        write_tiles(films, tiles)
    if not args.evaluate:
        threads = ["--threads", str(args.threads)] if args.threads else []
        train(parse(TrainConfig, [*RECIPE, "--data", str(tiles), "--height", str(TILE), "--width", str(TILE),
                                  "--steps", str(args.steps), "--device", args.device, "--out", str(args.run), *threads],
                    models=MODELS))
    began, middle = time.perf_counter(), network(args.run, args.device)
    rows = {name: measure(film, middle) for name, film in films.items()}
    methods = [name for name in METHODS if all(name in row for row in rows.values())]
    mean = {name: {kind: float(np.mean([row[name][kind] for row in rows.values()])) for kind in ("psnr", "ssim")}
            for name in methods}
    for name, row in [*rows.items(), ("mean", mean)]:
        print(f"{name:24s}" + "".join(f"  {method} {row[method]['psnr']:6.2f} {row[method]['ssim']:.4f}" for method in methods))
    write_json(args.output, {"machine": describe(), "protocol": " ".join(__doc__.split()), "step": load_sampler(args.run).step,
                             "parameters": sum(p.numel() for p in load_sampler(args.run).nets["interpolator"].parameters()),
                             "seconds_to_measure": time.perf_counter() - began, "films": rows, "mean": mean})


if __name__ == "__main__":
    main()
