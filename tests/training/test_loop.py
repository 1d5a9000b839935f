"""What a run does besides training: its records, its words, its settings taking effect."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest
import torch
import yaml

from configs.schema import from_dict
from tests.training.runner import ROOT, TINY, newest, outcome, rows, steps_done
from training import checkpoint
from training.loop import Loop
from training.registry import MODELS
from training.restore import load_sampler

FP32 = ["--precision", "fp32"]


def test_rows_of_metrics(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, *FP32, "--steps", 43, "--log_every", "4", "--r1", "1")
    told = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in told] == [*range(4, 44, 4), 43]  # the last step is always told
    names = {"step", "seconds", "data_wait", "d/loss", "d/adversarial", "d/real", "d/fake", "d/spread", "d/accuracy", "d/r1", "d/grad_norm",
             "g/loss", "g/grad_norm"}
    assert set(told[0]) == names and set(told[1]) == names | {"clips_per_second"}
    assert [row["step"] for row in told if {"diversity", "distance"} <= row.keys()] == [12, 24, 36]
    for row in told:
        assert all(isinstance(value, float) and abs(value) < 1e6 for name, value in row.items() if name != "step")
        assert 0 <= row["d/accuracy"] <= 1 and 0 <= row["data_wait"] <= 1
    assert all(a["seconds"] < b["seconds"] for a, b in zip(told, told[1:]))


def test_how_often_things_are_written_changes_nothing_else(runner, tmp_path):
    command = [*FP32, "--steps", 24, "--model.d_dropout", "0.3"]
    runner.train("--out", tmp_path / "a", *command)
    runner.train("--out", tmp_path / "b", *command, "--log_every", "5", "--sample_every", "7", "--checkpoint_every", "3", "--samples", "9",
                 "--keep", "2")
    a, b = outcome(tmp_path / "a"), outcome(tmp_path / "b")
    assert [a[name] == b[name] for name in a if name.endswith("safetensors")] == [True] * 3
    without = lambda told: [{name: value for name, value in row.items() if name not in ("diversity", "distance")}  # at every third row
                            for row in told]
    assert without(row for row in a["rows"] if row["step"] in (5, 10, 15, 20, 24)) == without(b["rows"])


def test_files_of_a_run(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, *FP32, "--steps", 20, "--sample_every", "8", "--checkpoint_every", "4", "--keep", "2")
    assert [path.name for path in checkpoint.listed(out / "checkpoints")] == ["step_000016", "step_000020"]
    assert sorted(path.name for path in (out / "samples").iterdir()) == [f"step_{step:06d}.{kind}" for step in (8, 16, 20)
                                                                         for kind in ("mp4", "png")]
    assert {path.name for path in out.iterdir()} == {".lock", "alarms.jsonl", "checkpoints", "config.yaml", "health.json", "losses.png",
                                                     "metrics.jsonl", "reals.png", "report.html", "samples"}
    config = from_dict(yaml.safe_load((out / "config.yaml").read_text()), MODELS, "config.yaml")
    assert config.steps == 20 and config.model.g_width == 4
    assert len(json.loads((out / "health.json").read_text())["videos"]) == 8


def test_the_checkpoint_knows_the_videos(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, *FP32, "--steps", 2)
    known = json.loads((newest(out) / "state.json").read_text())["data"]
    assert known["fps"] == 24 and len(known["classes"]) == 8 and known["classes"] == sorted(known["classes"])
    assert {name.split("_")[0] for name in known["classes"]} == {"bounce", "circle", "horizontal", "vertical"}


def adam_steps(out, phase: str) -> set[int]:
    tensors = checkpoint.read_tensors(newest(out), "optimizer")
    return {int(value) for name, value in tensors.items() if name.startswith(phase + ".") and name.endswith(".step")}


def test_each_phase_steps_as_often_as_asked(runner, tmp_path):
    runner.train("--out", tmp_path / "run", *FP32, "--steps", 10, "--d_repeats", "3", "--g_every", "4")
    assert adam_steps(tmp_path / "run", "d") == {30} and adam_steps(tmp_path / "run", "g") == {2}
    assert [row["step"] for row in rows(tmp_path / "run") if "g/loss" in row] == [4, 8]


def test_an_epoch_counts_the_batches_of_all_repeats(runner, tmp_path):
    runner.train("--out", tmp_path / "run", *FP32, "--epochs", 1, "--d_repeats", "3")
    assert len(rows(tmp_path / "run")) == 96 // (8 * 3)


def test_clipping_bounds_the_step(runner, tmp_path):
    """Clipped far below Adam's epsilon, gradients move nothing; unclipped, every weight moves by about the learning rate."""
    moved = {}
    for name, extra in (("clipped", ["--clip_grad", "1e-15"]), ("free", [])):
        out = tmp_path / name
        runner.train("--out", out, *FP32, "--steps", 2, "--checkpoint_every", "1", *extra)
        first, last = (checkpoint.read_tensors(out / "checkpoints" / f"step_00000{step}", "nets") for step in (1, 2))
        moved[name] = max(float((last[key] - first[key]).abs().max()) for key in first if key.endswith("weight"))
        assert rows(out)[0]["d/grad_norm"] > 0.1  # what is told is the norm before clipping
    assert moved["clipped"] < 1e-9 and moved["free"] > 5e-5


def test_warmup_raises_the_rate_evenly(runner, tmp_path):
    """Adam's first step is the learning rate times sign(gradient): a quarter of it where the rate has gone a quarter of its way up."""
    moved = []
    for warmup in ("0", "4"):
        out = tmp_path / warmup
        runner.train("--out", out, *FP32, "--steps", 1, "--checkpoint_every", "1", "--warmup", warmup, "--on_alarm", "rollback")
        first, last = (checkpoint.read_tensors(out / "checkpoints" / f"step_00000{step}", "nets") for step in (0, 1))
        moved.append((last["generator.project.weight"] - first["generator.project.weight"]).abs())
    assert float(moved[0].max()) == pytest.approx(2e-4, rel=1e-3)
    assert torch.allclose(moved[1], moved[0] / 4, rtol=1e-2, atol=1e-7)


def test_samples_come_from_the_average(runner, tmp_path):
    """Runs that differ in the decay alone train the same networks and show different samples."""
    command = [*FP32, "--steps", 30, "--lr", "5e-3"]
    runner.train("--out", tmp_path / "averaged", *command, "--ema", "0.9")
    runner.train("--out", tmp_path / "trained", *command, "--ema", "0")
    averaged, trained = outcome(tmp_path / "averaged"), outcome(tmp_path / "trained")
    assert averaged["nets.safetensors"] == trained["nets.safetensors"]
    assert (tmp_path / "averaged/samples/step_000030.png").read_bytes() != (tmp_path / "trained/samples/step_000030.png").read_bytes()
    assert not checkpoint.read_tensors(newest(tmp_path / "trained"), "ema")


def test_lines_where_there_is_no_terminal(runner, tmp_path):
    run = runner.train("--out", tmp_path / "run", *FP32, "--steps", 12)
    assert re.fullmatch(r"train: 12/12 steps  \S+ steps/s  \d+s  g \S+  d \S+\n", run.stderr), run.stderr
    assert run.stdout == f"done: 12 steps; report: {tmp_path / 'run'}/report.html\n"


def test_a_bar_on_a_terminal(runner, tmp_path):
    runner.train("--out", tmp_path / "first", *FP32, "--steps", 2)  # so that the videos are ready
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 120))
    process = subprocess.Popen([sys.executable, "train.py", *TINY, *FP32, "--steps", "40", "--out", str(tmp_path / "run")], cwd=ROOT,
                               stderr=slave, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    os.close(slave)
    shown = b""
    while process.poll() is None or select.select([master], [], [], 0)[0]:
        if select.select([master], [], [], 0.1)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break
    os.close(master)
    assert process.wait(60) == 0
    assert b"\r" in shown and re.search(rb"train: +\d+%\|.*\| *\d+/40 \[.*d \d.*g \d", shown), shown[-400:]
    assert b"100%" in shown


def test_dry_run_tells_and_writes_nothing(runner, tmp_path):
    out = tmp_path / "run"
    run = runner.train("--out", out, *FP32, "--steps", 77, "--dry_run", "--d_repeats", "2")
    assert not out.exists()
    settings, facts = run.stdout.split("\n\n")
    assert yaml.safe_load(settings)["model"]["g_width"] == 4 and yaml.safe_load(settings)["d_repeats"] == 2
    runner.train("--out", out, *FP32, "--steps", 1, "--d_repeats", "2")
    for name in ("generator", "discriminator"):
        # Batch statistics are no parameters.
        sizes = [value.numel() for key, value in checkpoint.read_tensors(newest(out), "nets").items()
                 if key.startswith(name) and "running" not in key]
        assert re.search(rf"^{name} +{sum(sizes):,} parameters$", facts, re.M), facts
    assert re.search(r"96 frames, 96 clips of 1, 8 class", facts) and re.search(r"^steps +77$", facts, re.M)
    assert re.search(r"^arithmetic +float32 on cpu$", facts, re.M) and re.search(r"^memory +about [\d,]+ MiB", facts, re.M)
    seconds = float(re.search(r"^one step +(\d+\.\d+) s, so about \d+ min \d+ s in all$", facts, re.M)[1])
    assert 0 < seconds < 20


def test_dry_run_beside_a_run_leaves_it_alone(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, *FP32, "--steps", 3)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()}
    runner.train("--out", out, *FP32, "--steps", 50, "--dry_run")
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("number, status", [(15, 75), (2, 75)])
def test_signals_end_with_a_status_to_requeue_on(runner, tmp_path, number, status):
    out = tmp_path / "run"
    run = runner.start("--out", out, *FP32, "--steps", 5000)
    assert run.until(lambda: steps_done(out) >= 3)
    run.signal(number)
    assert run.wait(20) == status
    assert newest(out).name == f"step_{len(rows(out)):06d}"
    assert f"interrupted at step {len(rows(out))}; the same command continues" in run.stderr and "Traceback" not in run.stderr


def test_the_average_is_that_of_the_steps_and_what_samples_come_from(runner, tmp_path):
    out, name = tmp_path / "run", "generator.project.weight"
    runner.train("--out", out, *FP32, "--steps", 3, "--checkpoint_every", "1", "--keep", "9", "--lr", "1e-2", "--ema", "0.999")
    read = lambda step, group: checkpoint.read_tensors(out / "checkpoints" / f"step_00000{step}", group)
    for step in (2, 3):
        kept = step / (step + 9)
        expected = kept * read(step - 1, "ema")[name] + (1 - kept) * read(step, "nets")[name]
        torch.testing.assert_close(read(step, "ema")[name], expected)
    assert not torch.equal(read(3, "ema")[name], read(3, "nets")[name])
    taken = checkpoint.net_tensors(load_sampler(out, "cpu", "fp32").nets)
    assert all(torch.equal(taken[key], value) for key, value in read(3, "ema").items())


def test_every_repeat_of_a_phase_has_a_batch_of_its_own(monkeypatch):
    loop, seen = Loop.__new__(Loop), []
    loop.step, loop.config, loop.setup, loop._set_lr = 5, None, SimpleNamespace(device=None, dtype=None), lambda: None
    loop.task = SimpleNamespace(phases=[SimpleNamespace(name=name, repeats=number, due=lambda step: True)
                                        for name, number in (("g", 1), ("d", 3))])
    loop.batches, fetched = SimpleNamespace(at=lambda position: fetched.append(position) or position), []
    monkeypatch.setattr("training.loop.run_phase", lambda task, phase, raw, config, **_: seen.append((phase.name, raw)) or {})
    loop._train_step()
    assert seen == [("g", 12), ("d", 12), ("d", 13), ("d", 14)] and fetched == [12, 13, 14], "each is fetched once"
