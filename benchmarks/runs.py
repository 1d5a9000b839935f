"""Trainings of the same wall time, side by side."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from training.log import read_rows

ROOT = Path(__file__).resolve().parent.parent


def train_together(flags: dict[Path, list[str]], seconds: float) -> None:
    """One ``python train.py`` for each folder, one thread each, with those flags. All are stopped, with a checkpoint, as soon as each has
    trained for ``seconds``, not counting start-up: so none has the machine to itself. Where all have already, none is started.
    SystemExit if one fails."""
    if all(trained(out) >= seconds for out in flags):
        return
    running = {}
    for out, chosen in flags.items():
        out.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "train.py", *chosen, "--out", str(out.resolve()), "--steps", "1000000", "--sample_every", "1000000",
                   "--tensorboard", "false", "--threads", "1"]
        with open(out.with_suffix(".log"), "a") as log:
            running[out] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    while any(process.poll() is None and trained(out) < seconds for out, process in running.items()):
        time.sleep(0.5)
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    for out, process in running.items():
        if process.wait() not in (0, 3, 75):
            raise SystemExit(f"training of {out} failed: see {out.with_suffix('.log')}")


def trained(out: Path) -> float:
    """Seconds of training so far."""
    return max(seconds_at(out).values(), default=0.0)


def seconds_at(out: Path) -> dict[int, float]:
    """Seconds of training at each logged step. In the log each start of a run counts from zero."""
    found, before, last = {}, 0.0, 0.0
    for row in read_rows(out / "metrics.jsonl"):
        if row["seconds"] < last:
            before += last
        last = row["seconds"]
        found[row["step"]] = before + last
    return found
