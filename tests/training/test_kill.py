"""``kill -9`` at any moment loses nothing: the same command goes on, and ends bit for bit where an undisturbed run ends."""

import random
import signal
import time
from collections import Counter

from tests.training.runner import newest, outcome, pictures, steps_done
from training import checkpoint

KILLS, STEPS, EVERY = 30, 270, 3
COMMAND = ["--steps", STEPS, "--checkpoint_every", EVERY, "--sample_every", 100, "--precision", "fp32", "--augment", "color,translation",
           "--model.d_dropout", "0.2", "--accumulate", "2"]


def readable(folder) -> int:
    """Read every tensor of every listed checkpoint; how many there are."""
    kept = checkpoint.listed(folder)
    for path in kept:
        assert checkpoint.read_state(path)["step"] == checkpoint.order(path)[1]
        for group in ("nets", "ema", "optimizer"):
            assert checkpoint.read_tensors(path, group)
    return len(kept)


def saves(out) -> bool:
    return any((out / "checkpoints").glob(".*.tmp*"))


def trains(out, before: int, begun: int) -> bool:
    """Whether the run begun at that time (ns) has done a step: it cuts metrics.jsonl to its checkpoint, ``before``, and adds lines."""
    path = out / "metrics.jsonl"
    return path.exists() and path.stat().st_mtime_ns > begun and steps_done(out) > before


def phase_of(out, before: int, begun: int) -> str:
    """What a run that was killed was doing, from what it left behind."""
    folder = out / "checkpoints"
    if saves(out):
        return "saving"
    kept = checkpoint.listed(folder)
    if kept and (not (folder / "latest").exists() or newest(out) != kept[-1]):
        return "saved, not yet the latest"
    return "training" if trains(out, before, begun) else "starting"


def test_killed_thirty_times_ends_as_if_never(runner, tmp_path):
    reference, out, draw = tmp_path / "reference", tmp_path / "run", random.Random(5)
    runner.train("--out", reference, *COMMAND)
    phases, last = Counter(), -1
    for attempt in range(KILLS):
        before = checkpoint.order(checkpoint.latest(out / "checkpoints"))[1] if readable(out / "checkpoints") else 0
        assert before >= last, "a checkpoint that was the latest is gone"
        last = before
        begun = time.time_ns()
        run = runner.start("--out", out, *COMMAND)
        if attempt % 6 == 5:  # now and then while it is starting
            time.sleep(draw.uniform(0, 0.2))
        else:
            assert run.until(lambda: trains(out, before, begun)), f"it ended by itself: {run.stdout}{run.stderr}"
            if attempt % 3 == 1:  # a save is short: random moments seldom meet one
                assert run.until(lambda: saves(out)), f"it ended by itself: {run.stdout}{run.stderr}"
            else:
                time.sleep(draw.uniform(0, 0.1))
        run.signal(signal.SIGKILL)
        status = run.wait()
        assert status == -signal.SIGKILL, f"attempt {attempt} had ended with {status}: {run.stdout}{run.stderr}"
        phases[phase_of(out, before, begun)] += 1
    print(dict(phases), f"at step {steps_done(out)} of {STEPS}")
    assert phases["training"] + phases["saving"] >= KILLS / 2 and phases["saving"] >= 2
    runner.train("--out", out, *COMMAND)
    assert readable(out / "checkpoints") == 3
    assert outcome(out) == outcome(reference)
    assert pictures(out) == pictures(reference)
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]
