"""The recommended recipe beside the published one, family by family: sliced Wasserstein distance over wall time.

    python -m benchmarks.recipes --families dcgan vgan --seconds 240 --seeds 3      # writes benchmarks/results/recipes.{json,png}

Both recipes of a family train on the same synthetic videos, at the same size and batch, each for the same wall time and one after the
other, alone on the machine. Every checkpoint on the way is measured; what counts is the best and the last one, divided by what real clips
score against real clips. Strips of samples are written beside the figures. Families already in the results stay there.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe
from evaluate import EvaluateConfig, measure_model
from metrics.registry import choose
from training import checkpoint
from training.log import read_rows
from training.restore import load_sampler
from utils import images
from utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
DATA = "synthetic:num_videos=32,frames=48"
# The published sizes need a GPU; both recipes of a family get the same smaller ones. Widths stay each recipe's own unless named here.
SIZES = {
    "dcgan": ["--height", "64", "--width", "64", "--batch_size", "32"],
    "mlp_gan": ["--height", "64", "--width", "64", "--batch_size", "32", "--model.widths", "[256,512,1024]"],
    "vgan": ["--height", "32", "--width", "32", "--frames", "16", "--batch_size", "16", "--model.depth", "3", "--model.time_depth", "3"],
    "hrvgan": ["--height", "32", "--width", "32", "--frames", "8", "--batch_size", "16", "--grow_from", "0"],
    "keyframes": ["--height", "64", "--width", "64", "--frames", "7", "--batch_size", "8", "--model.crop", "null"],
}
RECIPES = {"recommended": "configs/{}.yaml", "published": "configs/faithful/{}.yaml"}


def train(family: str, recipe: str, seed: int, seconds: float, every: int, out: Path, threads: int) -> list[dict]:
    """Train for ``seconds`` of training time (not counting start-up); the logged rows."""
    command = [sys.executable, "train.py", "--config", RECIPES[recipe].format(family), *SIZES[family], "--data", DATA, "--seed", str(seed),
               "--out", str(out), "--steps", "1000000", "--checkpoint_every", str(every), "--keep", "1000", "--sample_every", "1000000",
               "--tensorboard", "false", "--threads", str(threads), "--max_frames", "null"]
    with open(out.with_suffix(".log"), "a") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        rows: list[dict] = []
        while process.poll() is None and (not rows or rows[-1]["seconds"] < seconds):
            time.sleep(0.5)
            rows = read_rows(out / "metrics.jsonl") if (out / "metrics.jsonl").exists() else []
        process.send_signal(signal.SIGTERM)
        if process.wait() not in (0, 3, 75):
            raise SystemExit(f"{' '.join(command)}\nfailed: see {out.with_suffix('.log')}")
    return read_rows(out / "metrics.jsonl")


def measure(path: Path, samples: int) -> tuple[float, float]:
    """(SWD of that checkpoint, real against real)."""
    config = EvaluateConfig(checkpoint=str(path), metrics="swd", num_samples=samples).check()
    (result,) = measure_model(config, choose("swd")).results
    return result.score.value, result.floor.value


def curve(out: Path, rows: list[dict], samples: int) -> list[dict]:
    """Every checkpoint as {"step", "seconds", "swd"}."""
    at = {row["step"]: row["seconds"] for row in rows}
    points = []
    for path in checkpoint.listed(out / "checkpoints"):
        step = checkpoint.order(path)[1]
        if step:
            swd, floor = measure(path, samples)
            points.append({"step": step, "seconds": at.get(step, max(at.values())), "swd": swd, "floor": floor})
    return points


def strip(path: Path, columns: int = 8) -> np.ndarray:
    """The same latents of every checkpoint's generator: uint8 rows of frames; of clips the first, middle and last frame."""
    sampler = load_sampler(path)
    clips = images.to_uint8(sampler.sample(sampler.latents(columns, 0), torch.arange(columns) % sampler.num_classes))
    times = sorted({0, clips.shape[1] // 2, clips.shape[1] - 1})
    return np.concatenate([images.grid(clips[:, place], columns) for place in times])


def compare(family: str, options) -> dict:
    runs: dict[str, list] = {recipe: [] for recipe in RECIPES}
    for seed in range(options.seeds):
        for recipe in RECIPES:
            out = Path(options.work) / f"{family}_{recipe}_{seed}"
            out.parent.mkdir(parents=True, exist_ok=True)
            rows = train(family, recipe, seed, options.seconds, options.every, out, options.threads)
            points = curve(out, rows, options.samples)
            alarms = [json.loads(line) for line in (out / "alarms.jsonl").read_text().splitlines()]
            runs[recipe].append({"seed": seed, "points": points, "alarms": [f"{alarm['kind']} at {alarm['step']}" for alarm in alarms]})
            best = min(points, key=lambda point: point["swd"])
            print(f"{family} {recipe} seed {seed}: best {best['swd']:.1f} at step {best['step']}, last {points[-1]['swd']:.1f}, "
                  f"real against real {best['floor']:.1f}, {len(alarms)} alarms", flush=True)
            if seed == 0:
                name = Path(options.output).parent / f"recipes_{family}_{recipe}.png"
                images.save_png(name, strip(checkpoint.latest(out / "checkpoints")))
    return {"settings": SIZES[family], "runs": runs, **summarise(runs)}


def summarise(runs: dict[str, list]) -> dict:
    """Best and last SWD over the floor, each as median and range over the seeds, and how much closer the recommended recipe comes."""
    found = {}
    for recipe, several in runs.items():
        best = [min(point["swd"] / point["floor"] for point in run["points"]) for run in several]
        last = [run["points"][-1]["swd"] / run["points"][-1]["floor"] for run in several]
        found[recipe] = {name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
                         for name, values in (("best_over_floor", best), ("last_over_floor", last))}
    closer = {seed: (min(point["swd"] - point["floor"] for point in published["points"])
                     / max(1e-9, min(point["swd"] - point["floor"] for point in recommended["points"])))
              for seed, (recommended, published) in enumerate(zip(runs["recommended"], runs["published"]))}
    return {"summary": found, "times_closer_to_the_floor": closer}


def plot(results: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(results), 3.4), dpi=100, layout="constrained")
    for axis, (family, result) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items()):
        for recipe, colour in (("recommended", "tab:blue"), ("published", "tab:orange")):
            for run in result["runs"][recipe]:
                axis.plot([point["seconds"] for point in run["points"]], [point["swd"] / point["floor"] for point in run["points"]],
                          color=colour, label=recipe if run["seed"] == 0 else None, alpha=0.8)
        axis.axhline(1, color="grey", linestyle=":")
        axis.set(title=family, xlabel="seconds of training", ylabel="SWD, real against real = 1", yscale="log")
        axis.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, default=100, help="steps between measured checkpoints")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", default="runs/recipes", help="where the runs go")
    parser.add_argument("--output", default="benchmarks/results/recipes.json")
    options = parser.parse_args()
    output = Path(options.output)
    results = json.loads(output.read_text())["families"] if output.exists() else {}
    for family in options.families:
        results[family] = compare(family, options) | {"seconds": options.seconds}
        write_json(output, {"command": f"python -m benchmarks.recipes --seconds {options.seconds:g} --seeds {options.seeds}", "data": DATA,
                            "metric": f"swd, {options.samples} clips a side", "machine": describe(), "families": results})
        plot(results, output.with_suffix(".png"))


if __name__ == "__main__":
    main()
