"""One evaluation at a time, in order; what waits is not deleted; the best one is kept. A script that only writes numbers stands
for evaluate.py."""

import json
import os
import time
from types import SimpleNamespace

import pytest

from configs.schema import TrainConfig
from training import checkpoint
from training.evaluation import Evaluations
from training.folder import RunFolder
from training.registry import MODELS

# The checkpoint tells what to find (or how to fail) and, in a file, when to go on.
SCRIPT = '''
import json, os, sys, time
from pathlib import Path
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
checkpoint, output = Path(flags["checkpoint"]), Path(flags["output"])
output.mkdir(parents=True, exist_ok=True)
names = [name for name in os.environ if name in ("OMP_NUM_THREADS", "WORLD_SIZE", "RANK", "MASTER_ADDR")]
seen = {"flags": flags, "nice": os.nice(0), "environment": {name: os.environ[name] for name in names}}
(output / "seen.json").write_text(json.dumps(seen))
order = json.loads((checkpoint / "order.json").read_text())
while order.get("wait"):
    time.sleep(0.01)
if "fail" in order:
    sys.exit("some words\\nerror: " + order["fail"])
metrics = {name: {"score": {"value": value}, "floor": {"value": 1.5}, "better": "lower"} for name, value in order["values"].items()}
if "digest" in order:
    metrics["swd"]["protocol_digest"] = order["digest"]
if "psnr" in metrics:
    metrics["psnr"] |= {"floor": None, "better": "higher"}
if "diversity" in metrics:
    metrics["diversity"] |= {"better": "near real", "protocol": {"floor_clips": None}}
if "other" in metrics:
    metrics["other"]["floor"]["value"] = None
(output / "metrics.json").write_text(json.dumps({"metrics": metrics}))
'''


@pytest.fixture
def run(tmp_path):
    """Makes :class:`Evaluations` of a run directory, and checkpoints in it."""
    (tmp_path / "script.py").write_text(SCRIPT)
    made = SimpleNamespace(path=tmp_path / "run", checkpoints=tmp_path / "run" / "checkpoints", opened=[])

    def config(**settings) -> TrainConfig:
        return TrainConfig(out=str(made.path), model=MODELS["dcgan"](), tensorboard=False,
                           **{"eval_every": 10, "checkpoint_every": 10, "keep": 1, **settings}).check()

    def begin(step: int, device_type: str = "cpu", **settings) -> Evaluations:
        wanted = config(**settings)
        if not made.opened:
            made.folder = RunFolder(wanted)
            made.folder.claim(wanted)
        made.opened.append(Evaluations(wanted, made.folder, device_type, tmp_path / "script.py"))
        made.opened[-1].begin(step)
        return made.opened[-1]

    def save(evaluations: Evaluations, step: int, rollbacks: int = 0, **order) -> None:
        """As the loop does it."""
        name = checkpoint.name_of(step, rollbacks)
        (made.checkpoints / name).mkdir()
        (made.checkpoints / name / "order.json").write_text(json.dumps(order))
        (made.checkpoints / name / "state.json").write_text('{"config": {"checkpoint_every": 10}}')
        checkpoint.save(made.checkpoints, name, {}, {}, evaluations._config.keep, evaluations.held)
        evaluations.add(made.checkpoints / name)

    made.begin, made.save = begin, save
    made.there = lambda: [path.name for path in checkpoint.listed(made.checkpoints)]
    made.rows = lambda: [json.loads(line) for line in (made.path / "evaluations.jsonl").read_text().splitlines()]
    made.best = lambda: getattr(checkpoint.named(made.checkpoints, "best"), "name", None)
    made.seen = lambda name: json.loads((made.path / "evaluation" / name / "seen.json").read_text())
    yield made
    for evaluations in made.opened:
        evaluations.stop()


def end(evaluations: Evaluations) -> None:
    assert evaluations.finish(lambda: False) and not evaluations.waiting


def until(ready, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_at_a_time_and_what_waits_stays(run):
    evaluations = run.begin(0)
    run.save(evaluations, 10, wait=True)
    for step in (20, 30, 40):
        evaluations.poll()
        run.save(evaluations, step, values={"swd": step})
    run.save(evaluations, 47, values={})  # an interruption's, not due
    until(lambda: (run.path / "evaluation" / "step_000010" / "seen.json").exists())
    evaluations.poll()
    assert evaluations.held == {f"step_0000{step}" for step in (10, 20, 30, 40)} and len(run.there()) == 5
    assert [path.name for path in (run.path / "evaluation").glob("step_*[0-9]")] == ["step_000010"]  # only one has begun
    (run.checkpoints / "step_000010" / "order.json").write_text('{"values": {"swd": 50}}')
    evaluations.stop()
    evaluations.begin(47)
    end(evaluations)
    assert [(row["step"], row["checkpoint"], row["swd"], row["floors"]) for row in run.rows()] == \
        [(step, f"step_{step:06d}", value, {"swd": 1.5}) for step, value in ((10, 50), (20, 20), (30, 30), (40, 40))]
    # One to keep, the newest of all, and the best.
    assert run.best() == "step_000020" and run.there() == ["step_000020", "step_000040", "step_000047"]


@pytest.mark.parametrize("best, values, expected", [
    ("swd", [5.0, 4.0, 4.0, 6.0], 20), ("psnr", [5.0, 7.0, 7.0, 6.0], 20), ("swd", [None, 4.0, None, 5.0], 20),
    (None, [3.0, 2.0, 1.0, 2.0], 30), ("swd", [None] * 4, None), ("diversity", [0.1, 2.5, 1.3, 9.0], 30),
    ("other", [4.0, 3.0, 5.0], 20)])
def test_the_best_in_its_direction_the_first_of_equals(run, best, values, expected):
    names = f"{best or 'swd'},other" if best is None else "swd,other" if best == "other" else f"other,{best}"
    evaluations = run.begin(0, metrics=names, best=best)
    for number, value in enumerate(values, 1):
        run.save(evaluations, 10 * number, values={"other": float(number), best or "swd": value})
        end(evaluations)
        named = run.best()
        assert named is None or (run.checkpoints / named).is_dir()
    assert run.best() == (expected and f"step_{expected:06d}")


def test_done_is_not_repeated_and_half_done_is(run):
    evaluations = run.begin(0, keep=9)
    for step in (10, 20, 30):
        run.save(evaluations, step, values={"swd": step})
    end(evaluations)
    lines = (run.path / "evaluations.jsonl").read_text().splitlines()
    (run.path / "evaluations.jsonl").write_text("\n".join([lines[0], lines[2]]) + "\n")  # a crash before the second line was written
    for step, value in ((10, 1), (20, 2), (30, 3)):
        (run.checkpoints / f"step_0000{step}" / "order.json").write_text(json.dumps({"values": {"swd": value}}))
    again = run.begin(30, keep=9)
    assert again.held == {"step_000020"}
    end(again)
    assert {row["step"]: row["swd"] for row in run.rows()} == {10: 10, 20: 2, 30: 30}


def test_a_checkpoint_that_is_gone_is_skipped(run):
    evaluations = run.begin(0, keep=1)
    for step in (10, 20):
        run.save(evaluations, step, values={"swd": step})
    for file in (run.checkpoints / "step_000010").iterdir():
        file.unlink()
    (run.checkpoints / "step_000010").rmdir()
    end(run.begin(20))
    assert [row["step"] for row in run.rows()] == [20]


def test_after_a_rollback(run):
    """Lines of what was undone go, its best stays until there is a better one, and a step is evaluated again under its new name."""
    evaluations = run.begin(0, keep=9)
    for step, value in ((10, 5), (20, 4), (30, 3)):
        run.save(evaluations, step, values={"swd": value})
    end(evaluations)
    evaluations.begin(10)
    assert not evaluations.waiting
    run.save(evaluations, 10, rollbacks=1, values={"swd": 0})  # the same weights as at step 10
    assert not evaluations.waiting
    run.save(evaluations, 20, rollbacks=1, values={"swd": 3.5})
    end(evaluations)
    assert [(row["checkpoint"], row["swd"]) for row in run.rows()] == [("step_000010", 5), ("step_000020_r1", 3.5)]
    assert run.best() == "step_000030"
    run.save(evaluations, 30, rollbacks=1, values={"swd": 2.5})
    run.save(evaluations, 30, rollbacks=2, values={"swd": 0})  # once is enough though it still waits
    assert evaluations.held == {"step_000030_r1"}
    (run.checkpoints / "step_000030_r2").rename(run.path / "aside")
    end(run.begin(30, keep=9))
    assert run.best() == "step_000030_r1" and len(run.rows()) == 3


def test_the_process_is_given_little_and_told_the_rest(run, monkeypatch, tmp_path):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun sets it for each of its processes
    settings = {"metrics": "swd,psnr", "eval_samples": 64, "cache_dir": "frames", "device": "cpu",
                "eval_flags": "--data='held out' --num_samples=7"}
    for step, device_type, threads, expected in ((10, "cpu", None, "1"), (20, "cpu", 2, "2"), (30, "cuda", None, None)):
        evaluations = run.begin(step - 10, device_type, eval_threads=threads, keep=9, **settings)
        run.save(evaluations, step, values={"swd": 1.0})
        end(evaluations)
        seen = run.seen(f"step_{step:06d}")
        assert seen["environment"].get("OMP_NUM_THREADS") == expected and not seen["environment"].keys() - {"OMP_NUM_THREADS"}
        assert seen["nice"] > os.nice(0)
    assert seen["flags"] == {"checkpoint": str(run.checkpoints / "step_000030"), "output": str(run.path / "evaluation" / "step_000030"),
                             "metrics": "swd,psnr", "num_samples": "7", "cache_dir": "frames", "device": "cpu", "precision": "auto",
                             "data": "held out"}


def test_failures_are_one_line_and_the_next_one_goes_on(run, capfd):
    evaluations = run.begin(0)
    run.save(evaluations, 10, fail="no such metric")
    run.save(evaluations, 20, values={"swd": 1.0})
    end(evaluations)
    told = capfd.readouterr().err
    assert told.count("WARNING") == 1 and "evaluation of step 10 failed, training goes on: no such metric (" in told
    assert (run.path / "evaluation" / "step_000010.log").read_text().startswith("some words\n")
    assert [row["step"] for row in run.rows()] == [20] and run.there() == ["step_000020"]


def test_stopping_ends_the_process(run):
    evaluations = run.begin(0)
    run.save(evaluations, 10, wait=True)
    evaluations.poll()
    process = evaluations._process
    until(lambda: (run.path / "evaluation" / "step_000010" / "seen.json").exists())
    evaluations.stop()
    assert process.returncode is not None and not evaluations.waiting
    assert run.begin(10).held == {"step_000010"}


def test_many_that_wait_are_told_of_once(run, capfd):
    evaluations = run.begin(0)
    for step in range(10, 90, 10):
        run.save(evaluations, step, wait=True)
    assert capfd.readouterr().err.count("raise --eval_every or lower --eval_samples") == 1


def test_nothing_is_done_where_there_is_nothing_to_do(run):
    """Without --eval_every, and in a process that is not the main one."""
    run.begin(0)
    for idle in (run.begin(0, eval_every=0), Evaluations(run.opened[0]._config, None)):
        idle.begin(20)
        idle.poll()
        assert not idle.held and not idle.waiting
    assert not run.opened[1].due(10) and idle.due(10)  # every process must know when a checkpoint is written


def test_worse_evaluations_are_told_once_and_known_after_a_restart(run, capfd):
    evaluations = run.begin(0, keep=9, metrics="psnr,swd", best="swd")
    for number, value in enumerate((3.0, 1.0, 1.0, 1.0, 2.0, 2.0, None), 1):
        run.save(evaluations, 10 * number, values={"swd": value, "psnr": 20.0})
    assert evaluations.alarms == []
    end(evaluations)
    told = capfd.readouterr().err
    assert told.count("ALARM") == 1 and "ALARM evaluations worsen: swd is 2 " in told and "has been 1; " in told
    assert [(alarm["kind"], alarm["step"], alarm["since"]) for alarm in evaluations.alarms] == [("evaluations worsen", 60, 40)]
    again = run.begin(70, keep=9, metrics="psnr,swd", best="swd")
    assert again.alarms == evaluations.alarms
    again.begin(50)  # rolled back to before it
    assert again.alarms == []


def test_a_run_that_ends_worse_says_so_when_it_is_complete(run, capfd):
    evaluations = run.begin(0, keep=9)
    for number, value in enumerate((3.0, 1.0, 1.3), 1):
        run.save(evaluations, 10 * number, values={"swd": value})
    end(evaluations)
    assert evaluations.alarms == [] and "ALARM" not in capfd.readouterr().err
    evaluations.complete()
    assert [(alarm["kind"], alarm["step"], alarm["since"]) for alarm in evaluations.alarms] == [("ends worse", 30, 20)]
    assert "ALARM ends worse: swd is 1.3 at its last evaluation, and was 1 at step 20; " in capfd.readouterr().err and evaluations.news
    assert run.begin(30, keep=9).alarms == []  # more steps were asked for: it is not the end


def test_an_evaluation_that_comes_late_takes_its_place(run):
    """Of a step that failed at first, or became due when --eval_every changed."""
    evaluations = run.begin(0, keep=9)
    for step in (10, 20, 30):
        run.save(evaluations, step, **({"fail": "no memory"} if step == 20 else {"values": {"swd": step}}))
        end(evaluations)
    assert [row["step"] for row in run.rows()] == [10, 30]
    (run.checkpoints / "step_000020" / "order.json").write_text('{"values": {"swd": 20}}')
    end(run.begin(30, keep=9))
    assert [row["step"] for row in run.rows()] == [10, 20, 30]


def test_values_of_different_protocols_are_not_compared(run, capfd):
    evaluations = run.begin(0, keep=9)
    for step, value, digest in ((10, 1.0, "a"), (20, 1.0, "a"), (30, 1.0, "a"), (40, 2.0, "b"), (50, 1.9, "b"), (60, 2.0, "b")):
        run.save(evaluations, step, values={"swd": value}, digest=digest)
        end(evaluations)
    assert not evaluations.alarms and run.best() == "step_000050"
    for step in (70, 80, 90):
        run.save(evaluations, step, values={"swd": 3.0}, digest="b")
    end(evaluations)
    (alarm,) = evaluations.alarms
    assert alarm["kind"] == "evaluations worsen" and alarm["message"].endswith("has been 2") and run.best() == "step_000050"


def test_the_value_of_real_clips_alone_is_called_so(run, capfd):
    evaluations = run.begin(0)
    run.save(evaluations, 10, values={"swd": 2.0, "diversity": 0.5})
    end(evaluations)
    assert "swd 2 (real against real 1.5), diversity 0.5 (real clips 1.5)" in capfd.readouterr().err
