"""``kill -9`` at random moments, the same command again, until the run is done: is the end that of an undisturbed run?

    python -m benchmarks.resume                # writes benchmarks/results/resume.json

Every attempt is a ``python train.py`` of its own. Most are killed a random time after their first step, the rest a random time
after they were started, whatever they do then. Compared are the weights, their averages and the optimiser state, byte for byte.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.machine import command, describe
from training import checkpoint
from utils.errors import UserError
from utils.files import write_json

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ["--height", "32", "--width", "32", "--batch_size", "8", "--model.g_width", "8", "--model.d_width", "8",
            "--augment", "color,translation", "--model.d_dropout", "0.2", "--checkpoint_every", "3", "--log_every", "1",
            "--sample_every", "200", "--samples", "4", "--threads", "1", "--tensorboard", "false",
            "--data", "synthetic:num_videos=8,frames=12"]


def start(out: Path, settings: list[str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "train.py", *settings, "--out", str(out)], cwd=ROOT,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lines(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def final(out: Path) -> dict[str, bytes]:
    path = checkpoint.latest(out / "checkpoints")
    return {name: (path / f"{name}.safetensors").read_bytes() for name in ("nets", "ema", "optimizer")}


def unreadable(folder: Path) -> int:
    """How many of the listed checkpoints cannot be read whole."""
    bad = 0
    for path in checkpoint.listed(folder):
        try:
            checkpoint.read_state(path)
            for group in ("nets", "ema", "optimizer"):
                checkpoint.read_tensors(path, group)
        except UserError:
            bad += 1
    return bad


def stopped_in(out: Path, trained: bool) -> str:
    folder = out / "checkpoints"
    kept = checkpoint.listed(folder)
    pointer = folder / "latest"
    if any(folder.glob(".*.tmp*")) or kept and (not pointer.exists() or pointer.read_text().strip() != kept[-1].name):
        return "while saving"
    return "between steps" if trained else "before the first step"


def kill_once(out: Path, settings: list[str], draw: random.Random, at_start: bool) -> str:
    """Start the run and end it; what it was doing, or "ended" if it was faster."""
    found = checkpoint.latest(out / "checkpoints")
    before, begun = checkpoint.order(found)[1] if found else 0, time.time_ns()
    process = start(out, settings)
    trained = lambda: lines(out) > before and (out / "metrics.jsonl").stat().st_mtime_ns > begun
    if at_start:
        time.sleep(draw.uniform(0, 8))
    else:
        while process.poll() is None and not trained():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.3))
    if process.poll() is not None:
        return "ended"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return stopped_in(out, trained())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", default="benchmarks/results/resume.json")
    given = parser.parse_args()
    draw, settings, doing, bad = random.Random(given.seed), [*SETTINGS, "--steps", str(given.steps)], Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        reference, out = Path(folder) / "reference", Path(folder) / "run"
        if start(reference, settings).wait() != 0:
            sys.exit("the undisturbed run failed")
        reached = []
        for attempt in range(given.kills):
            doing[kill_once(out, settings, draw, at_start=attempt % 6 == 5)] += 1
            bad += unreadable(out / "checkpoints")
            reached.append(lines(out))
            print(f"kill {attempt + 1} of {given.kills}: at step {reached[-1]}; {dict(doing)}", flush=True)
        status = start(out, settings).wait()
        ours, theirs = final(out), final(reference)
        result = {"command": command(),
                  "run": f"python train.py {' '.join(settings)}", "machine": describe(), "kills": given.kills - doing["ended"],
                  "killed": dict(doing), "steps_reached": reached, "unreadable_checkpoints": bad, "exit_status_of_the_last_attempt": status,
                  "equal_to_the_undisturbed_run": {name: ours[name] == theirs[name] for name in theirs}}
    Path(given.output).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(given.output), result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
