"""Commands without the seconds that importing costs each: ``python -m tests.forked`` imports everything, computes nothing, and
forks a child for each line of JSON it reads; :func:`command` is its other end."""

import atexit
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ["train", "training.loop", "training.dry_run", "generate", "evaluate", "data.scan", "torch._dynamo", "matplotlib.pyplot"]


@dataclass
class Ended:
    """How a command ended and what it said."""

    status: int
    stdout: str
    stderr: str


def command(module: str, words: list, folder: Path, *, largest_file: int | None = None) -> Ended:
    """``python -m module words``. ``largest_file``: bytes at which a write fails as on a full disk. ``folder`` takes what it says."""
    said = {name: str(folder / name) for name in ("stdout", "stderr")}
    request = {"module": module, "words": [str(word) for word in words], "largest_file": largest_file,
               "environment": dict(os.environ), **said}
    server = _server()
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return Ended(json.loads(server.stdout.readline()), *(Path(path).read_text() for path in said.values()))


@cache
def _server() -> subprocess.Popen:
    server = subprocess.Popen([sys.executable, "-m", "tests.forked"], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(server.kill)
    return server


def _child(request: dict) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    signal.alarm(120)
    import torch
    torch.set_num_threads(1)
    if request["largest_file"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    sys.argv = [request["module"], *request["words"]]
    run_and_leave(importlib.import_module(request["module"]).main)


def run_and_leave(main) -> None:
    """Run a script's ``main`` as the shell would, and end this process with its status."""
    from utils.errors import script
    try:
        script(main)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # taking down an interpreter with so much imported takes longer than most commands


def _serve() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line))
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])), flush=True)


if __name__ == "__main__":
    _serve()
