"""The recommended recipe beside the published one, family by family: sliced Wasserstein distance over wall time.

    python -m benchmarks.recipes --families dcgan vgan --budget 80 --seeds 0 1     # writes benchmarks/results/recipes.{json,png}

Both recipes of a family train at the same time, one thread each, on the same synthetic videos, at the same size and batch, to three times
the budget: the bests tell which is ahead, within the budget and in all; how far the last is from the best tells which is stable.
About a dozen checkpoints on the way are measured and divided by what real clips score against real clips. Strips of samples are written
beside the figures. Families and seeds already in the results stay there and are not trained again, so a long comparison can be made in
parts.
"""

import argparse
import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.runs import seconds_at, train_together
from evaluate import EvaluateConfig
from evaluate import measure as evaluate
from metrics.protocol import Result
from training import checkpoint, samples
from training.alarms import ending, worsening
from training.restore import load_sampler
from training.setup import read_videos
from training.step import to_float
from utils import images
from utils.files import write_json

DATA = "synthetic:num_videos=32,frames=48"
# The published sizes need a GPU; both recipes of a family get the same smaller ones. Widths stay each recipe's own unless named here.
SIZES = {
    "dcgan": ["--height", "64", "--width", "64", "--batch_size", "32"],
    "mlp_gan": ["--height", "64", "--width", "64", "--batch_size", "32", "--model.widths", "[256,512,1024]"],
    "vgan": ["--height", "32", "--width", "32", "--frames", "16", "--batch_size", "16", "--model.depth", "3", "--model.time_depth", "3"],
    "hrvgan": ["--height", "32", "--width", "32", "--frames", "8", "--batch_size", "16", "--grow_from", "0",
               "--model.g_width", "8", "--model.d_width", "8", "--model.max_width", "64"],
    # The published code keeps 4/3 values per value of the frame; less would lose more, whatever the recipe.
    "keyframes": ["--height", "64", "--width", "64", "--frames", "7", "--batch_size", "8", "--model.crop", "null",
                  "--model.ae_downsampling", "4", "--model.ae_channels", "64"],
}
# Steps between checkpoints, recommended and published: about one in 20 seconds of one thread; of those that are logged, every tenth.
EVERY = {"dcgan": (160, 30), "mlp_gan": (500, 150), "vgan": (100, 40), "hrvgan": (80, 50), "keyframes": (90, 400)}
RECIPES = {"recommended": "configs/{}.yaml", "published": "configs/faithful/{}.yaml"}


def folders(family: str, seed: int, work: str) -> dict[str, Path]:
    """Where both recipes train."""
    return {recipe: Path(work) / f"{family}_{recipe}_{seed}" for recipe in RECIPES}


def train(family: str, seed: int, seconds: float, outs: dict[str, Path], settings: list[str], every: tuple[int, int]) -> None:
    """Train both recipes side by side in their folders until each has trained for ``seconds``, or go on from where they are."""
    flags = {outs[recipe]: ["--config", config.format(family), *settings, "--data", DATA, "--seed", str(seed), "--max_frames", "null",
                            "--checkpoint_every", str(steps), "--keep", "1000"]
             for (recipe, config), steps in zip(RECIPES.items(), every)}
    train_together(flags, seconds)


def measure(path: Path, count: int, **settings) -> Result:
    """The SWD of that checkpoint."""
    (result,) = evaluate(EvaluateConfig(checkpoint=str(path), metrics="swd", num_samples=count, resamples=0, **settings).check()).results
    return result


def real_against_real(path: Path, count: int) -> float:
    """SWD between ``count`` real frames and as many others of the videos of that checkpoint. SWD looks at one frame of each clip, and clips
    without common frames may be fewer: a floor of fewer would lie too high beside values of ``count``."""
    found = measure(path, count, clip_frames=1)
    if found.protocol.floor_clips < count:
        raise SystemExit(f"error: --samples {count}: the videos have {2 * found.protocol.floor_clips} frames, two sides need {2 * count}")
    return found.floor.value


def add_points(points: list[dict], out: Path, count: int) -> list[dict]:
    """``points`` and those of checkpoints that were not there yet, as {"step", "seconds", "swd", "floor"}."""
    seconds, known = seconds_at(out), {point["step"] for point in points}
    steps = {path: checkpoint.order(path)[1] for path in checkpoint.listed(out / "checkpoints")}
    new = {path: step for path, step in steps.items() if step and step in seconds and step not in known}
    if not new:
        return points
    floor = points[0]["floor"] if points else real_against_real(next(iter(new)), count)
    return points + [{"step": step, "seconds": seconds[step], "swd": measure(path, count, floor=False).score.value, "floor": floor}
                     for path, step in new.items()]


def curve(out: Path, seconds: float, count: int) -> list[dict]:
    """The points of every checkpoint up to ``seconds``; all checkpoints but the last are deleted."""
    points = [point for point in add_points([], out, count) if point["seconds"] <= 1.02 * seconds]
    for path in checkpoint.listed(out / "checkpoints")[:-1]:
        shutil.rmtree(path)
    return points


def of_points(points: list[dict]) -> list[str]:
    """The alarms that ``--eval_every`` would have raised: evaluating beside training would have slowed both recipes down."""
    given = [point["step"] for point in points], [point["swd"] for point in points], "swd"
    return [f"{alarm.kind} at {alarm.step}" for alarm in worsening(*given) + ending(*given)]


def settled(points: list[dict]) -> float:
    """The middle one of the last three SWDs over the least middle one of three in a row: drift without the tremor of single checkpoints."""
    values = [point["swd"] for point in points]
    middles = [statistics.median(values[end - 3:end]) for end in range(3, len(values) + 1)] or [statistics.median(values)]
    return middles[-1] / min(middles)


def strip(path: Path, columns: int = 8) -> np.ndarray:
    """The same latents of every checkpoint's generator: uint8 rows of frames; of clips the first, middle and last frame."""
    sampler = load_sampler(path)
    video = None
    if sampler.wants_video:
        video = to_float(samples.real_clips(read_videos(sampler.config, sampler.device), columns, 0), sampler.device)
    clips = images.to_uint8(sampler.sample(sampler.latents(columns, 0), torch.arange(columns) % sampler.num_classes, video))
    times = sorted({0, clips.shape[1] // 2, clips.shape[1] - 1})
    return np.concatenate([images.grid(clips[:, place], columns) for place in times])


def compare(family: str, seed: int, options) -> dict[str, dict]:
    """Both recipes with one seed."""
    outs, runs = folders(family, seed, options.work), {}
    train(family, seed, 3 * options.budget, outs, SIZES[family], EVERY[family])
    for recipe, out in outs.items():
        points = curve(out, 3 * options.budget, options.samples)
        alarms = [json.loads(line) for line in (out / "alarms.jsonl").read_text().splitlines()]
        runs[recipe] = {"seed": seed, "cpu": describe()["cpu"], "points": points,
                        "alarms": [f"{alarm['kind']} at {alarm['step']}" for alarm in alarms] + of_points(points)}
        best = min(points, key=lambda point: point["swd"])
        print(f"{family} {recipe} seed {seed}: best {best['swd']:.1f} at step {best['step']}, last {points[-1]['swd']:.1f} at step "
              f"{points[-1]['step']}, real against real {best['floor']:.1f}, {len(alarms)} alarms", flush=True)
        if seed == 0:
            name = Path(options.output).parent / f"recipes_{family}_{recipe}.png"
            images.save_png(name, strip(checkpoint.latest(out / "checkpoints")))
    return runs


def summarise(runs: dict[str, list], budget: float) -> dict:
    """What the README's table shows, each as median and range over the seeds.

    "recommended" and "published": the best SWD of a run; "times_closer": their distances to the floor, published over recommended;
    "times_closer_within_budget": the same of the bests within a third of the time; "..._end_over_best": a run's last SWD over its best,
    and the same of medians of three ("settled").
    """
    found: dict[str, list] = {}
    add = lambda name, value: found.setdefault(name, []).append(value)
    for recommended, published in zip(runs["recommended"], runs["published"]):
        pair = {"recommended": recommended["points"], "published": published["points"]}
        best = {name: _best(points, 3 * budget) for name, points in pair.items()}
        early = {name: _best(points, budget) for name, points in pair.items()}
        for name, points in pair.items():
            add(name, best[name]["swd"])
            add(f"{name}_end_over_best", points[-1]["swd"] / best[name]["swd"])
            add(f"{name}_settled_end_over_best", settled(points))
        add("times_closer", over_floor(best["published"]) / over_floor(best["recommended"]))
        add("times_closer_within_budget", over_floor(early["published"]) / over_floor(early["recommended"]))
    return {name: {"median": statistics.median(values), "min": min(values), "max": max(values)} for name, values in found.items()}


def _best(points: list[dict], budget: float) -> dict:
    return min([point for point in points if point["seconds"] <= 1.02 * budget] or points[:1], key=lambda point: point["swd"])


def over_floor(point: dict) -> float:
    """How far a point's SWD is from that of real clips against real ones."""
    return max(1e-9, point["swd"] - point["floor"])


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


def measured_before(output: Path, samples: int) -> tuple[dict, str]:
    """What the results hold of each family, and what their values are; SystemExit where these are of another number of samples."""
    known, metric = json.loads(output.read_text()) if output.exists() else {}, f"swd, {samples} clips a side"
    if known.get("metric", metric) != metric:
        raise SystemExit(f"error: --samples {samples}: {output} has {known['metric']}; take as many, or another --output")
    return known.get("families", {}), metric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--budget", type=float, default=80, help="seconds; the runs last three times as long")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--work", default="runs/recipes", help="where the runs go")
    parser.add_argument("--output", default="benchmarks/results/recipes.json")
    options = parser.parse_args()
    output = Path(options.output)
    results, metric = measured_before(output, options.samples)
    budgets = {family: results[family]["budget_seconds"] for family in options.families if family in results}
    if any(budget != options.budget for budget in budgets.values()):
        raise SystemExit(f"error: --budget {options.budget:g}: {output} has seeds of {budgets} seconds; take theirs, or another --output")
    for seed in options.seeds:
        for family in options.families:
            runs = results.get(family, {}).get("runs", {recipe: [] for recipe in RECIPES})
            if any(run["seed"] == seed for run in runs["published"]):
                continue
            for recipe, run in compare(family, seed, options).items():
                runs[recipe] = [*runs[recipe], run]
            results[family] = {"settings": SIZES[family], "budget_seconds": options.budget, "runs": runs,
                               **summarise(runs, options.budget)}
            write_json(output, {"command": "python -m benchmarks.recipes", "data": DATA,
                                "metric": metric, "machine": describe(), "families": results})
            plot(results, output.with_suffix(".png"))


if __name__ == "__main__":
    main()
