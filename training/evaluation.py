"""Evaluation while training: ``evaluate.py`` in a process of its own, one checkpoint at a time; numbers and the best are kept.

What is done and what is not follows from files, so that the same command goes on with this too: a step that is due is done when it has its
line in ``evaluations.jsonl``; until then its checkpoint is kept.
"""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from configs.schema import TrainConfig
from training import checkpoint
from training.alarms import ending, worsening
from training.folder import RunFolder
from training.log import of_reals, open_events, read_rows, write_rows
from utils.progress import note

ROOT = Path(__file__).resolve().parent.parent
# What torchrun tells its processes: an evaluation is none of them.
_OF_A_GROUP = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
STOP_SECONDS = 10.0
# So many that wait mean that evaluations are too slow for their interval.
MANY = 3


def flags(config: TrainConfig, path: Path | str, output: Path | str) -> list[str]:
    """Flags of evaluate.py for one checkpoint; those of ``--eval_flags`` come last and win."""
    given = {"checkpoint": path, "metrics": config.metrics, "num_samples": config.eval_samples, "output": output, "device": config.device,
             "precision": config.precision, "cache_dir": config.cache_dir}
    return [f"--{name}={value}" for name, value in given.items() if value is not None] + shlex.split(config.eval_flags)


class Evaluations:
    """The evaluations of one run. With ``--eval_every 0``, or no ``folder`` (not the main process), it does nothing."""

    def __init__(self, config: TrainConfig, folder: RunFolder | None, device_type: str = "cpu", script: Path = ROOT / "evaluate.py"):
        """``device_type``: where training computes. ``script``: what is run with :func:`flags`."""
        self._config, self._folder, self._script = config, folder, script
        self._threads = config.eval_threads or (1 if device_type == "cpu" else None)
        self._by = config.metric_names()[0]
        self._rows: list[dict] = []
        self._queue: list[Path] = []
        self._current: Path | None = None
        self._process: subprocess.Popen | None = None
        self._events, self._told_of_many, self._complete = None, False, False
        self.news = False
        """An evaluation has ended since this was last set to False."""

    def due(self, step: int) -> bool:
        """Whether this step's checkpoint is to be evaluated."""
        return self._config.eval_every > 0 and step > 0 and step % self._config.eval_every == 0

    def begin(self, step: int, events=None) -> None:
        """Take up the state of the files for a run that stands at ``step``: at its start, or after a rollback. ``events``: TensorBoard's
        writer, if there is one."""
        self.stop()
        self._complete = False
        if self._folder is None or not self._config.eval_every:
            return
        self._rows = sorted((row for row in read_rows(self._path) if row["step"] <= step), key=lambda row: row["step"])
        done = {row["step"] for row in self._rows}
        by_step = {checkpoint.order(path)[1]: path for path in checkpoint.listed(self._folder.checkpoints)}  # of two, that after a rollback
        self._queue = [by_step[at] for at in sorted(by_step) if self.due(at) and at <= step and at not in done]
        self._events = events
        if events is None and self._config.tensorboard and self._queue:
            self._events = open_events(self._folder.path, step)

    @property
    def held(self) -> set[str]:
        """Names of checkpoints that must not be deleted yet."""
        return {path.name for path in [*self._queue, self._current] if path}

    @property
    def alarms(self) -> list[dict]:
        """Whether what decides on the best checkpoint has become worse. They tell and do no more: when an evaluation ends is chance, and
        training must not depend on it."""
        rows = [row for row in self._rows if self._by in row]
        rows = [row for row in rows if _comparable(row, rows[-1])]
        if not rows or rows[-1]["better"][self._by] == "near real":
            # The distance from the real value is small and trembles: a tenth of it means nothing.
            return []
        better = rows[-1]["better"][self._by]
        worst = -math.inf if better == "higher" else math.inf
        values = [worst if row[self._by] is None else row[self._by] for row in rows]
        given = [row["step"] for row in rows], values, self._by, better
        return [alarm.as_dict() for alarm in worsening(*given) + (ending(*given) if self._complete else [])]

    @property
    def waiting(self) -> bool:
        """Whether any is under way or to come."""
        return bool(self._steps())

    def add(self, path: Path) -> None:
        """A checkpoint was saved; it will be evaluated if its step is due."""
        step, known = checkpoint.order(path)[1], {row["step"] for row in self._rows} | set(self._steps())
        if self.due(step) and step not in known:
            self._queue.append(path)
            if len(self._queue) >= MANY and not self._told_of_many:
                self._told_of_many = True
                note(f"evaluations take longer than {self._config.eval_every} steps, {len(self._queue)} checkpoints wait for theirs: "
                     "raise --eval_every or lower --eval_samples")

    def poll(self) -> None:
        """Take in what has ended and start the next one. Nothing that goes wrong with an evaluation stops training."""
        try:
            if self._process and self._process.poll() is not None:
                self._ended()
            if self._queue and not self._process:
                self._start(self._queue.pop(0))
        except OSError as error:
            name = self._current.name if self._current else "a checkpoint"
            note(f"WARNING: evaluation of {name} could not be started or recorded: {error}")
            self._current = self._process = None

    def finish(self, interrupted: Callable[[], bool]) -> bool:
        """Wait for all; False if ``interrupted()`` became true before."""
        steps = self._steps()
        more = f" and {len(steps) - MANY} more" if len(steps) > MANY else ""
        note(f"waiting for the evaluation of step {', '.join(map(str, steps[:MANY]))}{more} (Ctrl-C leaves it to the same command)")
        while self.waiting and not interrupted():
            self.poll()
            time.sleep(0.05)
        if self.waiting:
            note("interrupted; the same command goes on with evaluating")
        return not self.waiting

    def complete(self) -> None:
        """The run is over and all is evaluated: tell if it ends worse than it has been."""
        told = self.alarms
        self._complete = True
        self._tell_alarms([alarm for alarm in self.alarms if alarm not in told])

    def stop(self) -> None:
        """End the one under way; what is not done stays to be done by the same command."""
        if self._process:
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
            self._process.stdin.close()
        self._process, self._current, self._queue = None, None, []
        if self._events:
            self._events.flush()

    def _steps(self) -> list[int]:
        """Those under way or to come, in this order."""
        return [checkpoint.order(path)[1] for path in [self._current, *self._queue] if path]

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass  # it has ended by itself

    @property
    def _path(self) -> Path:
        return self._folder.path / "evaluations.jsonl"

    def _log(self, path: Path) -> Path:
        return self._folder.evaluation / f"{path.name}.log"

    def _start(self, path: Path) -> None:
        self._current = path
        self._folder.evaluation.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in _OF_A_GROUP}
        if self._threads:
            environment["OMP_NUM_THREADS"] = str(self._threads)
        elif "WORLD_SIZE" in os.environ:
            environment.pop("OMP_NUM_THREADS", None)  # torchrun's, one for each of its processes
        given = flags(self._config, path, self._folder.evaluation / path.name)
        command = [sys.executable, ROOT / "utils" / "attached.py", self._script, *given]
        with open(self._log(path), "w") as log:
            # A group of its own, or Ctrl-C would reach it too; not a session, as time is shared out between those
            # before priorities count.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment,
                                             process_group=0)

    def _ended(self) -> None:
        path, status = self._current, self._process.returncode
        self._process.stdin.close()
        self._process = self._current = None
        row = self._read(path) if status == 0 else None
        if row is None:
            note(f"WARNING: evaluation of step {checkpoint.order(path)[1]} failed, training goes on: {self._reason(path, status)}")
        else:
            # The best first: a crash before the line is written evaluates again, one after it would forget.
            best = self._is_best(row)
            if best:
                checkpoint.point(self._folder.checkpoints, "best", path.name)
            self._rows = sorted([*self._rows, row], key=lambda row: row["step"])  # one that failed may come late
            write_rows(self._path, self._rows)
            self._tell(row, best)
            self._tell_alarms([alarm for alarm in self.alarms if alarm["step"] == row["step"]])
            self.news = True
        checkpoint.prune(self._folder.checkpoints, self._config.keep, self.held)

    def _read(self, path: Path) -> dict | None:
        """The line for a checkpoint's report, None if there is none."""
        try:
            metrics = json.loads((self._folder.evaluation / path.name / "metrics.json").read_text())["metrics"]
            return {"step": checkpoint.order(path)[1], "checkpoint": path.name,
                    **{name: metric["score"]["value"] for name, metric in metrics.items()},
                    "protocol": metrics.get(self._by, {}).get("protocol_digest"),
                    "floors": {name: metric["floor"]["value"] for name, metric in metrics.items() if metric["floor"]},
                    "alone": [name for name, metric in metrics.items() if metric.get("protocol", {}).get("floor_clips", 0) is None],
                    "better": {name: metric["better"] for name, metric in metrics.items()}}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _is_best(self, row: dict) -> bool:
        """Whether it is better than the one that ``best`` names, whose report tells its value: its line may be gone with a rollback. If
        that was measured in another way, it is."""
        best = checkpoint.named(self._folder.checkpoints, "best")
        known = self._read(best) if best else None
        cost, before = self._cost(row), self._cost(known) if known and _comparable(known, row) else None
        return cost is not None and (before is None or cost < before)

    def _cost(self, row: dict | None) -> float | None:
        """What the best checkpoint has least of; None where it was not measured."""
        value = (row or {}).get(self._by)
        if value is None:
            return None
        better, floor = row["better"][self._by], row["floors"].get(self._by)
        if better == "near real":
            return None if floor is None else abs(value - floor)
        return -value if better == "higher" else value

    def _reason(self, path: Path, status: int) -> str:
        lines = [line.strip() for line in self._log(path).read_text(errors="replace").splitlines() if line.strip()]
        said = lines[-1].removeprefix("error: ") if lines and status >= 0 else f"ended by signal {-status}"
        return f"{said} ({self._log(path)})"

    def _tell_alarms(self, alarms: list[dict]) -> None:
        for alarm in alarms:
            note(f"ALARM {alarm['kind']}: {alarm['message']}; the best checkpoint is kept as checkpoints/best")
            self.news = True

    def _tell(self, row: dict, best: bool) -> None:
        values = {name: row[name] for name in row["better"]}
        floors = {name: f" ({of_reals(row, name)} {value:.4g})" for name, value in row["floors"].items() if value is not None}
        shown = [f"{name} {'undefined' if value is None else f'{value:.4g}'}{floors.get(name, '')}" for name, value in values.items()]
        note(f"evaluation of step {row['step']}: {', '.join(shown)}" + (f"; the best by {self._by} so far" if best else ""))
        if self._events:
            for name, value in values.items():
                if value is not None:
                    self._events.add_scalar(f"eval/{name}", value, row["step"])
            self._events.flush()


def _comparable(row: dict, other: dict) -> bool:
    """Whether both were measured alike: as many samples, the same real clips ... (Older reports do not tell.)"""
    return None in (row.get("protocol"), other.get("protocol")) or row["protocol"] == other["protocol"]
