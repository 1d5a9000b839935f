"""Two processes beside one with the same global batch: how far do the losses lie apart?

    python -m benchmarks.distributed           # writes benchmarks/results/distributed.json

Runs of 20 steps in float32 on the CPU (gloo), started by torchrun and by python, on the same synthetic videos; then runs that are
begun by the one and continued by the other after 10 steps.

Sums over a batch in another order differ in their last bit, and Adam turns that into a whole step wherever a gradient is nearly zero
(it divides by the gradient's own size), so runs drift apart by themselves, the faster the higher the learning rate. The default settings
raise the rate over 500 steps, which keeps the drift small. The last part shows what it is without: beside one process that sums its
batch in the same two parts, two processes agree to the last bit, and both differ from one process equally.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe
from training import checkpoint
from utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
STEPS = 20
SETTINGS = ["--height", "64", "--width", "64", "--batch_size", "16", "--precision", "fp32", "--device", "cpu", "--log_every", "1",
            "--samples", "4", "--sample_every", "1000", "--checkpoint_every", "1000", "--threads", "1", "--tensorboard", "false",
            "--data", "synthetic:num_videos=16,frames=24"]
RECIPES = {"batch normalisation in the generator": [],
           "batch normalisation in both": ["--model.d_norm", "batch", "--loss", "hinge"],
           "augmentation, relativistic loss": ["--augment", "color,translation,cutout", "--loss", "rpgan", "--flip"],
           "R1, augmentation": ["--r1", "1", "--augment", "color,translation"]}
LAUNCHERS = {1: [sys.executable], 2: [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]}


def train(out: Path, processes: int, recipe: list[str], steps: int = STEPS) -> None:
    command = [*LAUNCHERS[processes], "train.py", *SETTINGS, *recipe, "--steps", str(steps), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})


def losses(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return [{name: row[name] for name in ("d/loss", "g/loss")} for row in rows]


def weights(out: Path) -> bytes:
    return (checkpoint.latest(out / "checkpoints") / "nets.safetensors").read_bytes()


def difference(ours: Path, theirs: Path) -> float:
    return max(abs(a[name] - b[name]) for a, b in zip(losses(ours), losses(theirs)) for name in a)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="benchmarks/results/distributed.json")
    given = parser.parse_args()
    result = {"command": "python -m benchmarks.distributed",
              "run": f"torchrun --nproc_per_node 2 train.py {' '.join(SETTINGS)} --steps {STEPS}",
              "machine": describe(), "largest_difference_of_any_loss": {}}
    found = result["largest_difference_of_any_loss"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, (name, recipe) in enumerate(RECIPES.items()):
            one, two = folder / f"{number}.one", folder / f"{number}.two"
            train(one, 1, recipe)
            train(two, 2, recipe)
            found[name] = difference(one, two)
        for first in (1, 2):
            out = folder / f"first{first}"
            train(out, first, recipe, STEPS // 2)
            train(out, 3 - first, recipe)
            found[f"{name}; begun by {first}, continued by {3 - first}"] = difference(out, one)
        plain = ["--model.g_norm", "none", "--warmup", "0"]  # batch normalisation would see the parts apart
        train(folder / "one", 1, plain)
        train(folder / "parts", 1, [*plain, "--accumulate", "2"])
        train(folder / "two", 2, plain)
        result["without_warmup"] = {
            "one process in two parts, beside one": difference(folder / "parts", folder / "one"),
            "two processes, beside one": difference(folder / "two", folder / "one"),
            "two processes, beside one in two parts": difference(folder / "two", folder / "parts"),
            "weights of the last two equal to the last bit": weights(folder / "two") == weights(folder / "parts")}
    Path(given.output).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(given.output), result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
