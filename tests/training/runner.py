"""Runs of train.py without the seconds that importing costs each: children forked from a process that has imported everything
and computed nothing, so every child stands where a fresh ``python train.py`` stands after its imports.

``python -m tests.training.runner`` reads one JSON request a line and answers each with one line; :class:`Runner` is its other end.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.forked import run_and_leave

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--data", "synthetic:num_videos=8,frames=12", "--tensorboard", "false", "--threads", "1", "--samples", "4", "--workers", "1",
         "--log_every", "1", "--sample_every", "100000", "--checkpoint_every", "100000"]
TINY_DCGAN = ["--model.g_width=4", "--model.d_width=4"]
TINY = [*QUICK, "--height", "32", "--width", "32", "--batch_size", "8", *TINY_DCGAN, "--warmup", "0"]


class Run:
    """One child: its process number, what it says, how it ends."""

    def __init__(self, runner: "Runner", pid: int, stdout: Path, stderr: Path):
        self._runner, self.pid, self._stdout, self._stderr, self._status = runner, pid, stdout, stderr, None

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def poll(self) -> int | None:
        """The exit status once it has ended (a signal's number is negative, as in ``subprocess``), else None."""
        if self._status is None:
            self._status = self._runner.ask(poll=self.pid)
        return self._status

    def wait(self, timeout: float = 120) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                raise TimeoutError(f"the run did not end in {timeout} s; it said: {self.stdout}{self.stderr}")
            time.sleep(0.002)
        return self._status

    def signal(self, number: int) -> None:
        if self._status is None:  # at once: what has ended stays a child, and its number taken, until somebody asks
            os.kill(self.pid, number)

    def until(self, ready, timeout: float = 60) -> bool:
        """Wait until ``ready()`` is true; False if the run ended before."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self.poll() is not None:
                return ready()
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                raise TimeoutError(f"waited {timeout} s; the run said: {self.stdout}{self.stderr}")
            time.sleep(0.001)
        return True


class Runner:
    """Starts runs of train.py. ``folder`` takes what they print."""

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0
        environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
        self._process = subprocess.Popen([sys.executable, "-m", "tests.training.runner"], cwd=ROOT, env=environment, text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, *arguments, settings: list[str] = TINY, **environment: str) -> Run:
        """``train.py`` with ``settings`` and then ``arguments``, which win."""
        self._count += 1
        files = [self._folder / f"{self._count}.{kind}" for kind in ("out", "err")]
        # Another family has other settings of its own.
        settings = [word for word in settings if "--family" not in arguments or word not in TINY_DCGAN]
        argv = ["train.py", *settings, *map(str, arguments)]
        return Run(self, self.ask(argv=argv, stdout=str(files[0]), stderr=str(files[1]), environment=environment), *files)

    def train(self, *arguments, settings: list[str] = TINY, expect: int = 0, **environment: str) -> Run:
        """Run to the end and check the exit status."""
        run = self.start(*arguments, settings=settings, **environment)
        status = run.wait()
        assert status == expect, f"exit status {status}, not {expect}: {run.stdout}{run.stderr}"
        return run

    def close(self) -> None:
        self._process.kill()  # it holds nothing worth the seconds of an orderly end
        self._process.wait()


TIMING = {"seconds", "clips_per_second", "data_wait"}


def rows(out: Path) -> list[dict]:
    """What metrics.jsonl tells, without what depends on the clock."""
    lines = (out / "metrics.jsonl").read_text().splitlines() if (out / "metrics.jsonl").exists() else []
    return [{name: value for name, value in json.loads(line).items() if name not in TIMING} for line in lines]


def steps_done(out: Path) -> int:
    """Complete lines of metrics.jsonl: steps, when each one is logged."""
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def newest(out: Path) -> Path:
    return out / "checkpoints" / (out / "checkpoints" / "latest").read_text().strip()


def outcome(out: Path) -> dict:
    """All that two runs of the same command must agree on to the last bit."""
    files = {path.name: path.read_bytes() for path in sorted(newest(out).glob("*.safetensors"))}
    assert set(files) == {"nets.safetensors", "ema.safetensors", "optimizer.safetensors"}
    state = json.loads((newest(out) / "state.json").read_text())
    told = {name: value for name, value in state.items() if name not in ("config", "arithmetic")}
    return {**files, "state": told, "checkpoint": newest(out).name,
            "rows": rows(out), "alarms": (out / "alarms.jsonl").read_text()}


def pictures(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "samples").iterdir())}


def interrupt(run: Run, out: Path, after: int) -> None:
    """SIGTERM once ``after`` steps are done; the run must leave a checkpoint and say that it wants to be started again."""
    assert run.until(lambda: steps_done(out) >= after), f"it ended too early: {run.stdout}{run.stderr}"
    run.signal(signal.SIGTERM)
    status = run.wait()
    assert status == 75, f"exit status {status}: {run.stdout}{run.stderr}"


def _child(request: dict) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started with
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    from train import main
    run_and_leave(main)


def _serve() -> None:
    import torch._dynamo  # noqa: F401  the first optimiser made imports it
    from matplotlib import pyplot  # noqa: F401

    import train  # noqa: F401  what a run imports, imported once
    from training import dry_run, loop  # noqa: F401
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _child(request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
