import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import cv2
import pytest

from data.pool import Failure, WorkerPool
from tests.conftest import ROOT
from utils.errors import UserError


def behave(task, beat):
    kind, value = task
    if kind == "crash":
        faulthandler.disable()  # pytest's, inherited by fork: the crash is meant
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(3)
    if kind == "crash once" and not value.exists():
        value.touch()
        os._exit(3)
    if kind == "hang":
        time.sleep(60)
    if kind == "slow":  # longer than the allowed silence, but alive
        for _ in range(value):
            time.sleep(0.8)
            beat()
    if kind == "user":
        raise UserError("mend it")
    if kind == "disk":
        raise OSError(28, "No space left on device", "x")
    if kind == "bug":
        raise ZeroDivisionError("oops")
    return value, cv2.getNumThreads(), os.getpid()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_crash_and_hang_cost_only_their_own_task(context):
    tasks = [("ok", 0), ("crash", 1), ("hang", 2), ("exit", 3), ("slow", 8), ("ok", 5)]
    finished, beats = [], []
    with WorkerPool(2, context=context, silence=5 if context == "fork" else 15) as pool:
        results = pool.map(behave, tasks, on_done=lambda task, result: finished.append(task), on_beat=beats.append)
    assert [result[0] for result in results if not isinstance(result, Failure)] == [0, 8, 5]
    assert "SIGSEGV" in results[1].reason and "hung" in results[2].reason and "exit status 3" in results[3].reason
    assert sorted(finished) == list(range(6)) and sum(beats) == 8
    assert results[0][1] <= 1  # OpenCV's own threads are off
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind, error", [("user", UserError), ("disk", OSError), ("bug", RuntimeError)])
def test_errors_reach_the_caller(kind, error):
    with WorkerPool(2, context="fork") as pool, pytest.raises(error) as caught:
        pool.map(behave, [("ok", 1), (kind, 2)])
    if kind == "bug":
        assert "ZeroDivisionError: oops" in str(caught.value) and "in behave" in str(caught.value)


def test_workers_end_with_their_parent():
    code = ("import os, time; from data.pool import WorkerPool; from tests.data.test_pool import behave\n"
            "pool = WorkerPool(2, context='fork'); pids = [r[2] for r in pool.map(behave, [('ok', 1), ('slow', 1)])]\n"
            "print(*set(pids), flush=True); os.kill(os.getpid(), 9)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60).stdout
    pids = [int(pid) for pid in out.split()]
    assert pids
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = [pid for pid in pids if os.path.exists(f"/proc/{pid}") and "Z" not in open(f"/proc/{pid}/stat").read().split(")")[1][:3]]
    assert not alive


def test_a_task_whose_worker_died_is_tried_once_more_when_the_others_are_done(tmp_path):
    finished = []
    with WorkerPool(2, context="fork") as pool:
        results = pool.map(behave, [("crash once", tmp_path / "mark"), ("slow", 1), ("ok", 2)],
                           on_done=lambda task, result: finished.append((task, result[0])))
    assert finished[-1] == (0, tmp_path / "mark") and sorted(finished[:2]) == [(1, 1), (2, 2)]
    assert [result[0] for result in results] == [tmp_path / "mark", 1, 2]


def test_a_pause_of_the_whole_job_is_no_silence():
    code = ("from data.pool import WorkerPool; from tests.data.test_pool import behave\n"
            "beats = []\n"
            "print('begun', flush=True)\n"
            "with WorkerPool(2, context='fork', silence=2.0) as pool: pool.map(behave, [('slow', 5), ('slow', 5)], beats.append)\n"
            "print(sum(beats))")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.killpg(process.pid, signal.SIGCONT)
        assert process.stdout.read() == "10\n"  # none was begun again
