"""Do recipes stay as good as they were? Both of a family, trained to three times the time at which the published one is at its best.

    python -m benchmarks.stability --families mlp_gan --seeds 0 1     # writes benchmarks/results/stability.{json,png}

Recommended and published recipe train at the same time, one thread each and in bfloat16, on the same synthetic videos at the same small
size and batch, so that the published one gets as far as it can within minutes. It is at its best when a checkpoint first comes within a
tenth of its least sliced Wasserstein distance, the tenth by which the recommended one may fall back. As long as that was later than a
third of the time so far, both go on, up to ``--limit``. Families and seeds in the results stay there; those that were let go sooner go
on, anew if their folders are gone.
"""

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.machine import describe
from benchmarks.recipes import DATA, RECIPES, add_points, folders, measured_before, of_points, over_floor, plot, train
from benchmarks.runs import trained
from training.alarms import WORSE
from utils.files import write_json

# Small enough that the published recipe, mostly the slower one, sees as much as it can make use of. Widths stay each recipe's own unless
# named here.
SIZES = {
    "dcgan": ["--height", "32", "--width", "32", "--batch_size", "8"],
    "mlp_gan": ["--height", "32", "--width", "32", "--batch_size", "32", "--model.widths", "[128,256,512]"],
    "vgan": ["--height", "32", "--width", "32", "--frames", "8", "--batch_size", "8", "--model.depth", "3", "--model.time_depth", "2",
             "--model.g_width", "16", "--model.d_width", "16"],
    "hrvgan": ["--height", "32", "--width", "32", "--frames", "8", "--batch_size", "8", "--grow_from", "0",
               "--model.g_width", "8", "--model.d_width", "8", "--model.max_width", "64"],
    "keyframes": ["--height", "32", "--width", "32", "--frames", "7", "--batch_size", "8", "--model.crop", "null",
                  "--model.ae_downsampling", "4", "--model.ae_channels", "64"],
}
# Steps between checkpoints, recommended and published: about one in 25 to 30 seconds.
EVERY = {"dcgan": (1200, 400), "mlp_gan": (2000, 2000), "vgan": (600, 600), "hrvgan": (180, 180), "keyframes": (250, 900)}


def at_its_best(points: list[dict]) -> float:
    """Seconds of training at the first point within a tenth of the least SWD."""
    least = min(point["swd"] for point in points)
    return next(point["seconds"] for point in points if point["swd"] <= WORSE * least)


def fallen(points: list[dict]) -> float:
    """The worst SWD after the best one, over the best one."""
    values = [point["swd"] for point in points]
    best = values.index(min(values))
    return max(values[best:]) / values[best]


def until(published: list[dict], options) -> float:
    """Seconds for which both have to train, as far as the points of the published recipe tell."""
    # A hundredth more, so that the last checkpoint is not just short of it.
    return min(max(options.least, 3.03 * at_its_best(published) if published else 0), options.limit)


def pair(family: str, seed: int, known: dict[str, dict], options) -> dict[str, dict]:
    """Both recipes with one seed, each as in the results. ``known``: what they were when last measured, if they were."""
    if known and known["published"]["seconds"] >= until(known["published"]["points"], options):
        return known
    outs = folders(family, seed, options.work)
    going_on = known and all(out.exists() for out in outs.values())
    points = {recipe: known[recipe]["points"] if going_on else [] for recipe in RECIPES}
    # Without points there was an interruption, or nothing yet.
    while trained(outs["published"]) < (goal := until(points["published"], options)) or not points["published"]:
        train(family, seed, goal, outs, [*SIZES[family], "--precision", "bf16"], EVERY[family])
        with ProcessPoolExecutor(len(outs), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            found = [pool.submit(add_points, points[recipe], out, options.samples) for recipe, out in outs.items()]
        points = {recipe: future.result() for recipe, future in zip(outs, found)}
    runs = {}
    for recipe, found in points.items():
        alarms = [json.loads(line) for line in (outs[recipe] / "alarms.jsonl").read_text().splitlines()]
        runs[recipe] = {"seed": seed, "cpu": describe()["cpu"], "seconds": trained(outs[recipe]), "at_its_best": at_its_best(found),
                        "end_over_best": found[-1]["swd"] / min(point["swd"] for point in found),
                        "worst_after_best": fallen(found),
                        "alarms": [f"{alarm['kind']} at {alarm['step']}" for alarm in alarms] + of_points(found), "points": found}
        print(f"{family} {recipe} seed {seed}: at its best after {at_its_best(found):.0f} of {found[-1]['seconds']:.0f} s, "
              f"end {runs[recipe]['end_over_best']:.2f} and worst {fallen(found):.2f} of it, alarms: {runs[recipe]['alarms']}", flush=True)
    return runs


def row(family: str, runs: dict[str, list[dict]]) -> str:
    """A line of the README's table: times of the published recipe; for both the best SWD, the last and the worst after it, each over the
    best one, and how many runs raised an alarm; the floor, and how much closer to it the recommended one's best is, if not at it; medians
    and ranges over the seeds."""
    def spread(values: list[float], digits: int) -> str:
        shown = [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
        return shown[0] if shown[1] == shown[2] else f"{shown[0]} ({shown[1]} to {shown[2]})"
    published = runs["published"]
    cells = [f"`{family}`", spread([run["at_its_best"] for run in published], 0), spread([run["seconds"] for run in published], 0)]
    bests = {recipe: [min(run["points"], key=lambda point: point["swd"]) for run in runs[recipe]] for recipe in RECIPES}
    for recipe in RECIPES:
        cells.append(f"{spread([point['swd'] for point in bests[recipe]], 0)}; "
                     f"{spread([run['end_over_best'] for run in runs[recipe]], 2)}; "
                     f"{spread([run['worst_after_best'] for run in runs[recipe]], 2)}; "
                     f"{sum(bool(run['alarms']) for run in runs[recipe])} of {len(runs[recipe])}")
    floors = [point["floor"] for point in bests["recommended"]]
    at_floor = any(point["swd"] <= point["floor"] for point in bests["recommended"])
    cells += [spread(floors, 0), "at it" if at_floor else spread([over_floor(published) / over_floor(ours) for ours, published
                                                                  in zip(bests["recommended"], bests["published"])], 1)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--least", type=float, default=240, help="seconds that each run lasts at least")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a published recipe that still gets better is let go")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--work", default="runs/stability", help="where the runs go")
    parser.add_argument("--output", default="benchmarks/results/stability.json")
    options = parser.parse_args()
    output = Path(options.output)
    results, metric = measured_before(output, options.samples)
    for seed in options.seeds:
        for family in options.families:
            runs = results.get(family, {}).get("runs", {recipe: [] for recipe in RECIPES})
            known = {recipe: run for recipe in RECIPES for run in runs[recipe] if run["seed"] == seed}
            found = pair(family, seed, known, options)
            runs = {recipe: sorted([run for run in runs[recipe] if run["seed"] != seed] + [found[recipe]], key=lambda run: run["seed"])
                    for recipe in RECIPES}
            results[family] = {"settings": SIZES[family], "runs": runs}
            write_json(output, {"command": "python -m benchmarks.stability", "data": DATA,
                                "metric": metric, "machine": describe(), "families": results})
            plot(results, output.with_suffix(".png"))
    for family, result in results.items():
        print(row(family, result["runs"]))


if __name__ == "__main__":
    main()
