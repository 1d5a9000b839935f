"""Memory of training the MLP GAN, and whether ``--optimizer adam_lean`` follows Adam.

    python -m benchmarks.mlp_memory            # follows Adam on a small pair; memory of a pair of 206 million weights; minutes
    python -m benchmarks.mlp_memory --full     # the 256x256 pair of 1,632 million weights too: up to 16 GiB of memory, 10 GB of disk

Memory is the operating system's: the peak resident size (``ru_maxrss``) of a process ``python train.py`` that makes a few steps, writes a
checkpoint and ends, and of one that reads it and goes on. Each entry takes one saving away or adds a cost. For the comparison both
optimisers train the same small pair, published in all but its size, on the same batches and latents, from the same initial weights;
their losses are drawn beside the figures (mlp_memory.png).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.machine import command, describe, summary
from configs.cli import parse
from configs.schema import TrainConfig
from data.batches import Batches
from metrics.protocol import to_uint8
from metrics.swd import Patches, swd
from training import samples
from training.ema import Averaged
from training.registry import MODELS
from training.setup import prepare
from training.step import run_phase
from training.task import Request
from utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
FEW_VIDEOS = ["--data", "synthetic:num_videos=8,frames=12"]
PUBLISHED = ["--config", "configs/faithful/mlp_gan.yaml", *FEW_VIDEOS]
MIDDLE = ["--height", "128", "--width", "128", "--model.widths", "[512,1024,2048]"]
NOT_WHILE_BACKWARD = ["--clip_grad", "1e9"]
MEMORY = {
    "adam_lean, bfloat16": ["--precision", "bf16"],
    "adam_lean, float32": ["--precision", "fp32"],
    "adam_lean, float32, beta1 0: no first moment": ["--precision", "fp32", "--beta1", "0"],
    "adam_lean, float32, averaged generator": ["--precision", "fp32", "--ema", "0.999"],
    "adam_lean, float32, updates after the backward pass": ["--precision", "fp32", *NOT_WHILE_BACKWARD],
    "adam, float32": ["--precision", "fp32", "--optimizer", "adam"],
}
SMALL = ["--config", "configs/faithful/mlp_gan.yaml", "--data", "synthetic:num_videos=8", "--height", "32", "--width", "32",
         "--model.widths", "[128,256,512]", "--precision", "fp32"]
COMPARED = 256  # frames on each side of a sliced Wasserstein distance


def run(script: str, *arguments: str) -> dict:
    """One script in a process of its own: ``peak_gib`` and ``seconds`` of processor time as the operating system counts them."""
    command = [sys.executable, script, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}: {told[-2000:]}")
    return {"peak_gib": round(usage.ru_maxrss / 2**20, 2), "seconds": round(usage.ru_utime + usage.ru_stime, 1)}


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def memory(out: Path, *arguments: str, steps: int = 3) -> dict:
    """Peaks of ``steps`` training steps with a look at samples and a checkpoint at their end, and of one more from that checkpoint."""
    command = [*PUBLISHED, "--out", str(out), "--log_every", "1", *arguments]
    trained = run("train.py", *command, "--steps", str(steps))
    resumed = run("train.py", *command, "--steps", str(steps + 1), "--keep", "1")
    told = rows(out)
    return {"peak_gib": trained["peak_gib"], "peak_gib_resumed": resumed["peak_gib"],
            "seconds_per_step": round((told[steps - 1]["seconds"] - told[0]["seconds"]) / (steps - 1), 2),
            "checkpoint_gib": round(sum(path.stat().st_size for path in (out / "checkpoints").glob("*/*")) / 2**30, 2)}


def follow(seeds: int, steps: int) -> dict:
    """Both optimisers on the same small pair, with and without a first moment: final distances, and losses in 40 parts, their mean, least
    and most over seeds."""
    found = {}
    for beta1 in ("0", "0.5"):
        for optimizer in ("adam", "adam_lean"):
            ends = []
            for seed in range(seeds):
                config = parse(TrainConfig, [*SMALL, "--optimizer", optimizer, "--beta1", beta1, "--seed", str(seed)], models=MODELS)
                ends.append(train_small(config, steps))
            part, told = steps // 40, {"swd_color": summary([distance for _, distance in ends])}
            for name in ("d", "g"):
                curves = np.array([curve[name] for curve, _ in ends])
                told[f"loss_{name}_last_quarter"] = summary(curves[:, -steps // 4:].mean(1).tolist())
                parts = curves[:, :40 * part].reshape(seeds, 40, part).mean(2)
                told[f"loss_{name}_every_{part}_steps"] = {
                    kind: [round(float(value), 3) for value in getattr(parts, kind)(0)] for kind in ("mean", "min", "max")}
            found[f"{optimizer}, beta1 {beta1}"] = told
    return found


def train_small(config: TrainConfig, steps: int) -> tuple[dict[str, list[float]], float]:
    """Losses of each phase, and SWD x 1000 (colours by the real side) of the averaged generator's frames at the end."""
    setup = prepare(config)
    task, average = setup.task, Averaged({"generator": setup.task.nets["generator"]}, config.ema)
    batches, curve = Batches(setup.dataset, config.batch_size, config.seed), {"d": [], "g": []}
    for step in range(1, steps + 1):
        for phase in task.phases:
            values = run_phase(task, phase, batches.at(step - 1), config, step=step, repeat=0, device=setup.device, dtype=setup.dtype)
            curve[phase.name].append(values["loss"].item())
        average.update(task.nets, step)
    batches.close()
    latents = samples.latents(COMPARED, task.latent_dim, config.seed)
    sides = [samples.real_clips(setup.dataset, COMPARED, config.seed), to_uint8(samples.generate(task, average.nets, Request(latents)))]
    patches = [Patches(), Patches()]
    for side, clips in zip(patches, sides):
        side.update(clips)
    return curve, swd(*patches, normalise="real").value


def plot(small: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), dpi=100, layout="constrained")
    for axis, beta1 in zip(figure.subplots(1, 2), ("0.5", "0")):
        for optimizer, line in (("adam", "-"), ("adam_lean", "--")):
            for name, colour in (("d", "tab:orange"), ("g", "tab:blue")):
                (curve,) = [values for key, values in small[f"{optimizer}, beta1 {beta1}"].items() if key.startswith(f"loss_{name}_every")]
                width = small["steps"] / len(curve["mean"])
                places = [width * (index + 0.5) for index in range(len(curve["mean"]))]
                axis.plot(places, curve["mean"], line, color=colour,
                          label=f"{optimizer}, {'discriminator' if name == 'd' else 'generator'}")
                axis.fill_between(places, curve["min"], curve["max"], color=colour, alpha=0.12, linewidth=0)
        axis.set(title=f"beta1 {beta1}", xlabel="step", ylabel=f"loss, mean and range of {small['seeds']} seeds")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.savefig(path)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", action="store_true", help="measure the 256x256 pair too")
    options.add_argument("--only", choices=["follow", "middle", "full"], help="one part; the others stay as they are in the output")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--steps", type=int, default=1000, help="of the small pair")
    options.add_argument("--output", default="benchmarks/results/mlp_memory.json")
    given = options.parse_args()
    output = Path(given.output)
    parts = {given.only} if given.only else {"follow", "middle"} | ({"full"} if given.full else set())
    result = json.loads(output.read_text()) if output.exists() else {}
    machine = {"command": command(), "machine": describe()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "follow" in parts:
            result["small_pair"] = {**machine, "settings": " ".join(SMALL), "steps": given.steps, "seeds": given.seeds,
                                    **follow(given.seeds, given.steps)}
            plot(result["small_pair"], output.with_suffix(".png"))
        if "middle" in parts:
            result["middle_pair"] = {**machine, "settings": " ".join([*PUBLISHED, *MIDDLE]), **{
                label: memory(folder / f"middle{index}", *MIDDLE, *more) for index, (label, more) in enumerate(MEMORY.items())}}
        if "full" in parts:
            label = "adam_lean, bfloat16"
            result["full_pair"] = {**machine, "settings": " ".join(PUBLISHED), label: memory(folder / "full", *MEMORY[label])}
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
