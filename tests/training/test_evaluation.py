"""Evaluation beside training: it changes nothing of the training, ends when that is killed, and is made up for by the same command."""

import base64
import json
import os
import re
import signal
import time

import cv2
import pytest

from configs.cli import parse
from configs.schema import TrainConfig
from tests.training.runner import newest, outcome, pictures, steps_done
from tests.training.test_alarms import WON
from tests.training.test_distributed import start_two
from train import check_evaluation
from training import checkpoint
from training.registry import MODELS
from utils.errors import EXIT_INTERRUPTED

FP32 = ["--precision", "fp32"]
EVALUATED = ["--eval_every", "5", "--metrics", "swd,swd_color", "--best", "swd_color", "--eval_samples", "16"]


def told(out) -> list[dict]:
    path = out / "evaluations.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def line(step: int) -> str:
    row = {"step": step, "checkpoint": f"step_{step:06d}", "swd": 1.0, "floors": {}, "better": {"swd": "lower"}}
    return json.dumps(row) + "\n"


def at_work(out) -> list[int]:
    """Processes that evaluate checkpoints of this run."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{name}/cmdline").read().split("\0")
        except OSError:
            continue
        if any(word.startswith(f"--checkpoint={out}/") for word in words):
            found.append(int(name))
    return found


def soon(ready) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def runs(runner, tmp_path_factory):
    """A run with evaluations at steps that checkpoints do not fall on, and the same without."""
    folder = tmp_path_factory.mktemp("evaluated")
    command = [*FP32, "--steps", 12, "--checkpoint_every", 4, "--keep", 1, "--sample_every", 6]
    runner.train("--out", folder / "without", *command)
    said = runner.train("--out", folder / "with", *command, *EVALUATED, "--tensorboard", "true").stderr
    return folder / "with", folder / "without", said


def test_training_is_the_same_with_and_without(runs):
    with_evaluations, without, _ = runs
    assert outcome(with_evaluations) == outcome(without) and pictures(with_evaluations) == pictures(without)


def test_what_evaluate_measured_is_kept(runs):
    out, _, said = runs
    assert [(row["step"], row["checkpoint"]) for row in told(out)] == [(5, "step_000005"), (10, "step_000010")]
    for row in told(out):
        report = json.loads((out / "evaluation" / row["checkpoint"] / "metrics.json").read_text())
        assert list(report["metrics"]) == ["swd", "swd_color"] and report["metrics"]["swd"]["protocol"]["fake_clips"] == 16
        for name, metric in report["metrics"].items():
            assert (row[name], row["floors"][name]) == (metric["score"]["value"], metric["floor"]["value"])
            assert row[name] > row["floors"][name] > 0
        assert f"evaluation of step {row['step']}: swd {row['swd']:.4g} (real against real {row['floors']['swd']:.4g})" in said
    assert "waiting for the evaluation of step" in said


def test_the_best_checkpoint_is_kept_and_found(runs):
    out, _, _ = runs
    best = min(told(out), key=lambda row: row["swd_color"])["checkpoint"]
    found = checkpoint.find(out / "checkpoints" / "best")
    assert found == out / "checkpoints" / best and found != newest(out)
    assert checkpoint.read_state(found)["step"] == checkpoint.order(found)[1] and checkpoint.read_tensors(found, "ema")
    # Beside it the one to keep, which is also the newest.
    assert [path.name for path in checkpoint.listed(out / "checkpoints")] == [best, "step_000012"]
    assert checkpoint.find(out) == checkpoint.find(out / "checkpoints" / "latest") == newest(out)


def test_curves_in_the_report(runs):
    out, without, _ = runs
    page = (out / "report.html").read_text()
    assert base64.b64encode((out / "evaluations.png").read_bytes()).decode() in page
    height, width, _ = cv2.imread(str(out / "evaluations.png")).shape
    assert width > 2 * height > 400  # two metrics beside each other
    best = min(told(out), key=lambda row: row["swd_color"])
    assert f"Best by swd_color: step {best['step']}, {best['swd_color']:.4g}." in page
    assert not (without / "evaluations.png").exists() and "Evaluations" not in (without / "report.html").read_text()


def test_tensorboard_has_them(runs):
    out, _, _ = runs
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(out))
    events.Reload()
    for name in ("swd", "swd_color"):
        assert [(event.step, event.value) for event in events.Scalars(f"eval/{name}")] == \
            [(row["step"], pytest.approx(row[name])) for row in told(out)]


def test_interrupted_and_killed_in_the_middle(runner, tmp_path):
    out, reference = tmp_path / "run", tmp_path / "reference"
    command = [*FP32, "--steps", 60, "--checkpoint_every", 10]
    evaluated = [*command, "--eval_every", 35, "--eval_samples", "16"]
    under_way = lambda: (out / "evaluation" / "step_000035.log").exists() and at_work(out)
    runner.train("--out", reference, *command)
    for number, status in ((signal.SIGTERM, EXIT_INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)):
        run = runner.start("--out", out, *evaluated)
        assert run.until(under_way)
        run.signal(number)
        assert run.wait() == status
        if number == signal.SIGTERM:
            assert not at_work(out)
        soon(lambda: not at_work(out))
        assert not told(out) and (out / "checkpoints" / "step_000035").is_dir() and steps_done(out) >= 35
    (out / "evaluations.jsonl").write_text(line(999))
    ended = runner.train("--out", out, *evaluated)
    assert [row["step"] for row in told(out)] == [35]
    assert outcome(out) == outcome(reference)
    # Once more there is nothing left to do.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = runner.train("--out", out, *evaluated)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert "evaluation" not in again.stderr and "waiting for the evaluation of step 35" in ended.stderr


def test_lines_of_later_steps_go_though_nothing_is_evaluated_any_more(runner, tmp_path):
    out, command = tmp_path / "run", [*FP32, "--sample_every", 5]
    runner.train("--out", out, *command, "--steps", 3)
    (out / "evaluations.jsonl").write_text(line(2) + line(4))
    runner.train("--out", out, *command, "--steps", 5)
    assert [row["step"] for row in told(out)] == [2]
    assert "swd, step 2 (lower is better)" in (out / "report.html").read_text()


def test_interrupted_while_it_waits_at_the_end(runner, tmp_path):
    """Training is complete then; the same command only evaluates. A failure is one warning."""
    out = tmp_path / "run"
    empty = tmp_path / "empty"
    empty.mkdir()
    command = ["--out", out, *FP32, "--steps", 6, "--eval_every", "6", f"--eval_flags=--data {empty}"]
    run = runner.start(*command)
    assert run.until(lambda: at_work(out) and "waiting for the evaluation of step 6 " in run.stderr)
    run.signal(signal.SIGINT)
    assert run.wait() == EXIT_INTERRUPTED and not at_work(out) and "the same command goes on with evaluating" in run.stderr
    before = outcome(out)
    again = runner.train(*command)
    assert "complete at step 6" in again.stdout and outcome(out) == before
    (warning,) = re.findall("WARNING.*", again.stderr)
    assert f"evaluation of step 6 failed, training goes on: --data {empty}: " in warning
    assert not told(out) and checkpoint.named(out / "checkpoints", "best") is None


def test_a_run_goes_back_to_where_it_would_without(runner, tmp_path):
    """Not to an older checkpoint that only waits to be evaluated."""
    command = [*WON, "--on_alarm", "rollback", "--max_rollbacks", "1", "--keep", "1"]
    runner.train("--out", tmp_path / "without", *command, expect=3)
    run = runner.train("--out", tmp_path / "with", *command, "--eval_every", "5", "--eval_samples", "16", expect=3)
    assert "back to step" in run.stderr and not at_work(tmp_path / "with")
    kept = [path.name for path in checkpoint.listed(tmp_path / "with" / "checkpoints")]
    assert len(kept) > 2, "nothing waited, so nothing is shown"
    assert outcome(tmp_path / "with") == outcome(tmp_path / "without")


def test_one_of_two_processes_evaluates_and_the_other_does_not_wait(runner, tmp_path):
    out = tmp_path / "run"
    runs = start_two(runner, "--out", out, *FP32, "--steps", 4, "--eval_every", 4, "--eval_samples", "16")
    soon(lambda: runs[0].poll() is not None or runs[1].poll() is not None)
    assert runs[1].poll() == 0 and runs[0].poll() is None and not told(out)
    assert runs[0].wait() == 0 and [row["step"] for row in told(out)] == [4]
    assert "evaluation" not in runs[1].stderr


@pytest.mark.parametrize("flags, words", [
    (["--metrics", "swd,fidd"], "--metrics swd,fidd: unknown fidd; known are"),
    (["--eval_flags", "--nope 1"], "--eval_flags --nope 1: "),
    (["--eval_flags=--data 'x"], "--eval_flags --data 'x: "),
    (["--eval_flags", "--metrics=swd_color"], "by --metrics and --eval_samples"),
    (["--best", "swd_motion"], "--best swd_motion: must be one of --metrics swd"),
    (["--metrics", ","], "--metrics ,: "),
    (["--metrics", "swd,psnr"], "psnr would compare each frame with its reference, and clips of dcgan have none"),
    (["--metrics", "swd_motion"], "--metrics swd_motion: needs clips of 2 frames or more; those of this run have 1"),
    (["--metrics", "fid,swd"], "--metrics fid,swd: fid tells which checkpoint is best, and cannot be computed: no weights for"),
    (["--metrics", "is_c3d", "--eval_flags=--weights c3d=README.md"], "cannot be computed: no weights for the network c3d_mean"),
    (["--metrics", "swd,fid", "--eval_flags=--weights inception=missing.pth"], "--weights inception=missing.pth: there is no such file"),
    (["--eval_flags", "--data nowhere"], "--eval_flags --data nowhere: --data nowhere: there is no such file or folder"),
    (["--metrics", "fvd_own", "--eval_flags=--weights own=nowhere"], "--weights own=nowhere: there is no such file or folder"),
    (["--metrics", "fvd_own", "--eval_flags=--weights own=./runs/x/best", "--out", "runs/x"], "the discriminator of this run changes"),
    (["--metrics", "swd,fvd_own"], "fvd_own takes the features of a discriminator of yours; name its run")])
def test_a_mistake_is_told_at_the_start(runner, tmp_path, flags, words):
    refused = runner.train("--out", tmp_path / "run", "--steps", 2, "--eval_every", 1, *flags, expect=2,
                           VIDGAN_WEIGHTS_DIR=str(tmp_path / "none"))
    assert refused.stderr.count("\n") == 1 and words in refused.stderr
    assert not (tmp_path / "run").exists()


def test_weights_may_be_given_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDGAN_WEIGHTS_DIR", str(tmp_path / "none"))
    for name in ("a.pth", "b.pt"):
        (tmp_path / name).write_bytes(b"weights")
    given = f"--weights inception={tmp_path}/a.pth --weights i3d={tmp_path}/b.pt"
    check_evaluation(parse(TrainConfig, ["--metrics", "fid,fvd", "--eval_every", "5", "--eval_flags", given], models=MODELS))


def test_evaluations_that_worsen_are_an_alarm_in_all_places(runner, tmp_path):
    out, command = tmp_path / "run", [*FP32, "--checkpoint_every", 4, "--eval_every", 100]
    runner.train("--out", out, *command, "--steps", 8)
    values = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 1.05]
    (out / "evaluations.jsonl").write_text("".join(line(step).replace("1.0", str(value)) for step, value in enumerate(values, 1)))
    runner.train("--out", out, *command, "--steps", 12)
    (alarm,) = [json.loads(text) for text in (out / "alarms.jsonl").read_text().splitlines()]
    assert (alarm["kind"], alarm["step"], alarm["since"]) == ("evaluations worsen", 6, 4)
    assert "<b>evaluations worsen</b> at step 6" in (out / "report.html").read_text()
    assert newest(out).name == "step_000012", "it tells, and stops nothing"


def test_a_run_that_ends_worse_is_an_alarm(runner, tmp_path):
    out, command = tmp_path / "run", [*FP32, "--checkpoint_every", 4, "--eval_every", 100]
    runner.train("--out", out, *command, "--steps", 8)
    (out / "evaluations.jsonl").write_text(line(4) + line(8).replace("1.0", "1.2"))
    assert "ALARM ends worse: swd is 1.2 at its last evaluation" in runner.train("--out", out, *command, "--steps", 8).stderr
    assert '"ends worse"' in (out / "alarms.jsonl").read_text() and "<b>ends worse</b> at step 8" in (out / "report.html").read_text()
