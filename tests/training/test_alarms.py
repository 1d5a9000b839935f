"""Every alarm, provoked in real runs, and what each way of answering it does."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.runner import newest, outcome, rows, steps_done
from training import checkpoint
from training.restore import load_sampler

# Plain networks, whose gradients nothing holds back.
FP32 = ["--precision", "fp32", "--share_fakes", "false", "--model.d_norm", "none", "--model.d_minibatch_std", "false"]
# Convolution weights of thousands: the generator's gradient overflows at the first step; at half the rate it just does not.
OVERFLOW = [*FP32, "--loss", "hinge", "--alarm_patience", "1000"]
# A generator that stands still beside a discriminator that learns fast.
WON = [*FP32, "--model.init", "normal", "--steps", "120", "--lr_d", "1e-2", "--lr", "1e-8", "--checkpoint_every", "5"]


def alarms(out) -> list[dict]:
    return [json.loads(line) for line in (out / "alarms.jsonl").read_text().splitlines()]


def raised(out, run, kind: str) -> dict:
    """The first alarm of that kind, after looking that it is told in all places."""
    found = next(alarm for alarm in alarms(out) if alarm["kind"] == kind)
    assert f"ALARM {kind}: {found['message']}" in run.stderr
    page = (out / "report.html").read_text()
    assert f"<b>{kind}</b> at step {found['step']}" in page and "No alarm so far" not in page
    return found


def edit(out, group: str, change) -> None:
    """Change tensors of the newest checkpoint."""
    path = newest(out) / f"{group}.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("answer", ["warn", "stop"])
def test_non_finite_stops_and_keeps_the_last_good_checkpoint(runner, tmp_path, answer):
    out, command = tmp_path / "run", [*FP32, "--checkpoint_every", "4", "--on_alarm", answer, "--log_every", "5"]
    runner.train("--out", out, *command, "--steps", 8)
    # A second moment gone wrong, as a flipped bit makes it: the next step throws the generator out of range.
    edit(out, "optimizer", lambda tensors: tensors["g.0.exp_avg"].fill_(float("inf")))
    run = runner.train("--out", out, *command, "--steps", 30, expect=3)
    alarm = raised(out, run, "non-finite")
    assert alarm["step"] == 10 and "d/loss" in alarm["message"] and "g/loss" in alarm["message"]
    assert [path.name for path in checkpoint.listed(out / "checkpoints")] == ["step_000004", "step_000008"]
    sampler = load_sampler(out, "cpu", "fp32")
    assert sampler.step == 8 and torch.isfinite(sampler.sample(sampler.latents(4, 0))).all()
    assert str(out / "checkpoints") in run.stderr and run.stderr.count("Traceback") == 0


def test_non_finite_at_the_first_logged_step_is_told_in_the_report(runner, tmp_path):
    run = runner.train("--out", tmp_path / "run", *FP32, "--lr", "1e30", "--steps", 5, expect=3)
    assert raised(tmp_path / "run", run, "non-finite")["message"].startswith("g/loss, g/grad_norm not finite at step 1")
    assert not checkpoint.listed(tmp_path / "run" / "checkpoints")


def test_weights_thrown_out_of_range_are_never_saved_as_good(runner, tmp_path):
    """The last update can spoil the weights after every loss of the step was finite."""
    out, command = tmp_path / "run", [*FP32, "--checkpoint_every", "1"]
    runner.train("--out", out, *command, "--steps", 3)
    edit(out, "optimizer", lambda tensors: tensors["g.0.exp_avg"].fill_(float("inf")))
    runner.train("--out", out, *command, "--steps", 6, expect=3)
    for path in checkpoint.listed(out / "checkpoints"):
        for group in ("nets", "ema"):
            assert all(torch.isfinite(tensor).all() for tensor in checkpoint.read_tensors(path, group).values()), path.name


def test_weights_are_looked_at_where_another_alarm_falls_on_the_same_step(runner, tmp_path):
    """The update of the very step at which "discriminator won" is due spoils the weights."""
    out, command = tmp_path / "run", [*WON, "--checkpoint_every", "1000", "--on_alarm", "stop"]
    due = raised(out, runner.train("--out", out, *command, "--steps", 60, expect=3), "discriminator won")["step"]
    spoilt = tmp_path / "spoilt"
    runner.train("--out", spoilt, *command, "--steps", due - 1)
    edit(spoilt, "optimizer", lambda tensors: tensors["g.0.exp_avg"].fill_(float("inf")))
    runner.train("--out", spoilt, *command, "--steps", due, expect=3)
    assert {alarm["kind"] for alarm in alarms(spoilt)} == {"discriminator won", "non-finite"}
    for path in checkpoint.listed(spoilt / "checkpoints"):
        assert all(torch.isfinite(tensor).all() for tensor in checkpoint.read_tensors(path, "nets").values()), path.name


def test_discriminator_won(runner, tmp_path):
    run = runner.train("--out", tmp_path / "run", *WON, "--steps", 60, "--on_alarm", "warn")
    alarm = raised(tmp_path / "run", run, "discriminator won")
    told = {row["step"]: row for row in rows(tmp_path / "run")}
    assert alarm["step"] == alarm["since"] + 19  # --alarm_patience 20, a row each step
    assert all(told[step]["d/accuracy"] == 1 and told[step]["d/loss"] < 0.02 for step in range(alarm["since"], alarm["step"] + 1))
    assert told[alarm["since"] - 1]["d/loss"] > 0.02


def test_discriminator_flat(runner, tmp_path):
    out, command = tmp_path / "run", [*FP32, "--lr_d", "1e-12", "--alarm_patience", "6"]
    runner.train("--out", out, *command, "--steps", 3)
    edit(out, "nets", lambda tensors: tensors["discriminator.verdict.2.weight"].zero_())
    run = runner.train("--out", out, *command, "--steps", 30)
    assert raised(out, run, "discriminator flat")["since"] == 4
    assert len(alarms(out)) == 1, "told once, not at every step"


def test_samples_alike(runner, tmp_path):
    out, command = tmp_path / "run", [*FP32, "--lr", "1e-9", "--alarm_after", "18"]
    runner.train("--out", out, *command, "--steps", 2)
    edit(out, "nets", lambda tensors: tensors["generator.project.weight"].zero_())
    run = runner.train("--out", out, *command, "--steps", 60)
    alarm = raised(out, run, "samples alike")
    # Looked at in every third row; 3 to 15 are before --alarm_after.
    assert (alarm["since"], alarm["step"]) == (18, 24) and "mode collapse" in alarm["message"]


def test_samples_drift(runner, tmp_path):
    """Samples that were a small step from a still, and turn all white."""
    out, command = tmp_path / "run", [*FP32, "--lr", "1e-9", "--alarm_after", "1000"]
    runner.train("--out", out, *command, "--steps", 10)
    edit(out, "nets",
         lambda tensors: [tensor.fill_(20) for name, tensor in tensors.items() if name.startswith("generator") and name.endswith("bias")])
    edit(out, "ema", lambda tensors: [tensor.fill_(20) for name, tensor in tensors.items() if name.endswith("bias")])
    run = runner.train("--out", out, *command, "--steps", 30)
    alarm = raised(out, run, "samples drift")
    assert (alarm["since"], alarm["step"]) == (12, 18)
    told = {row["step"]: row["distance"] for row in rows(out) if "distance" in row}
    assert list(told) == list(range(3, 31, 3)) and 2 * max(told[3], told[6], told[9]) < told[12]


def test_stop_leaves_with_status_three(runner, tmp_path):
    out = tmp_path / "run"
    run = runner.train("--out", out, *WON, "--sample_every", "1", "--on_alarm", "stop", expect=3)
    alarm = raised(out, run, "discriminator won")
    assert len(rows(out)) == alarm["step"] < 120 and newest(out).name == f"step_{alarm['step']:06d}"
    assert (out / "samples" / f"step_{alarm['step']:06d}.png").exists(), "it goes on with the next step"
    runner.train("--out", out, *WON, "--on_alarm", "stop", expect=3)  # the trouble lasts
    assert [later["step"] - alarm["step"] for later in alarms(out)] == [0, 20]


def test_trouble_that_was_only_told_so_far_does_what_is_asked_for_now(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, *WON, "--steps", 60, "--on_alarm", "warn")
    runner.train("--out", out, *WON, "--on_alarm", "stop", expect=3)
    first, second = alarms(out)
    assert first["kind"] == second["kind"] == "discriminator won" and second["step"] == 60 + 20 and second["since"] == first["since"]


def test_trouble_that_was_only_told_so_far_is_gone_back_before(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, *WON, "--steps", 40, "--on_alarm", "warn", "--keep", 30)
    (told,) = alarms(out)
    run = runner.train("--out", out, *WON, "--steps", 62, "--on_alarm", "rollback", "--max_rollbacks", 1, "--keep", 30, expect=3)
    assert f"back to step {(told['since'] - 1) // 5 * 5} with 0.5 times" in run.stderr


def test_where_all_checkpoints_are_of_the_trouble_going_back_says_so(runner, tmp_path):
    run = runner.train("--out", tmp_path / "run", *WON, "--on_alarm", "rollback", "--max_rollbacks", 1, "--keep", 2, expect=3)
    (back,) = [line for line in run.stderr.splitlines() if line.startswith("back to step")]
    assert back.endswith("(1 of 1); no checkpoint from before the trouble is kept (--keep)")


def test_trouble_that_was_only_counted_so_far_is_told_by_a_smaller_patience(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, *WON, "--steps", 60, "--on_alarm", "stop", "--alarm_patience", 1000)
    assert not alarms(out)
    runner.train("--out", out, *WON, "--on_alarm", "stop", "--alarm_patience", 20, expect=3)
    assert [(alarm["kind"], alarm["step"]) for alarm in alarms(out)] == [("discriminator won", 60 + 20)]


def test_rollback_goes_on_at_half_the_learning_rate(runner, tmp_path):
    """Rolled back to its very beginning, a run is the run that had half the rate from the start, to the last bit."""
    straight, out = tmp_path / "straight", tmp_path / "run"
    runner.train("--out", straight, *OVERFLOW, "--lr", "2000", "--steps", 12)
    run = runner.train("--out", out, *OVERFLOW, "--lr", "4000", "--steps", 12, "--on_alarm", "rollback")
    assert raised(out, run, "non-finite")["step"] == 1
    assert sorted(path.name for path in (out / "samples").iterdir()) == ["step_000012.mp4", "step_000012.png"]
    assert "back to step 0 with 0.5 times the learning rate (1 of 3)" in run.stderr
    ours, theirs = outcome(out), outcome(straight)
    assert ours["rows"] == theirs["rows"]
    assert [ours[name] == theirs[name] for name in theirs if name.endswith("safetensors")] == [True] * 3
    assert (ours["checkpoint"], ours["state"]["lr_scale"], ours["state"]["rollbacks"]) == ("step_000012_r1", 0.5, 1)


@pytest.fixture(scope="module")
def rolled_back(runner, tmp_path_factory):
    """A run that goes back twice, then stops."""
    out = tmp_path_factory.mktemp("rolled") / "run"
    return out, runner.train("--out", out, *WON, "--on_alarm", "rollback", "--max_rollbacks", "2", "--keep", "30", expect=3)


def test_rollback_goes_to_before_the_trouble_and_is_bounded(rolled_back):
    out, run = rolled_back
    told = alarms(out)
    assert len(told) == 3 and raised(out, run, "discriminator won") == told[0]
    state = json.loads((newest(out) / "state.json").read_text())
    assert (state["rollbacks"], state["lr_scale"]) == (2, 0.25)
    folder = out / "checkpoints"
    for number, alarm in enumerate(told[:2], 1):
        target = (alarm["since"] - 1) // 5 * 5
        assert f"back to step {target} with {0.5**number:g} times the learning rate ({number} of 2)" in run.stderr
        again = folder / checkpoint.name_of(target, number)
        before = max((path for path in checkpoint.listed(folder) if checkpoint.order(path)[1] == target and path != again
                      and checkpoint.order(path)[0] < number), key=checkpoint.order)
        for group in ("nets", "ema", "optimizer"):
            assert (again / f"{group}.safetensors").read_bytes() == (before / f"{group}.safetensors").read_bytes()
        # How near samples have been is not forgotten, or they could not drift away again.
        watched = [json.loads((path / "state.json").read_text())["watch"] for path in (again, before)]
        assert watched[0] == watched[1] | {"counts": {}} and watched[0]["last"]
    assert [row["step"] for row in rows(out)] == list(range(1, told[2]["step"] + 1))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_rolled_back_run_resumes_exactly(runner, tmp_path, rolled_back, number):
    """Nor does it matter that interrupted runs have checkpoints where others have none: where to go back to must not change."""
    # As few checkpoints as reach back to before the trouble; the first stretch ends between two regular ones.
    out, command = tmp_path / "run", [*WON, "--on_alarm", "rollback", "--max_rollbacks", "2", "--keep", "5"]
    runner.train("--out", out, *command, "--steps", 12)
    folder = out / "checkpoints"
    for ready in (lambda: steps_done(out) >= 24, lambda: list(folder.glob("*_r1")) and steps_done(out) >= 18,
                  lambda: list(folder.glob("*_r2")) and steps_done(out) >= 22):
        run = runner.start("--out", out, *command)
        assert run.until(ready), "it ended too early"
        run.signal(number)
        assert run.wait() == (75 if number == signal.SIGTERM else -signal.SIGKILL)
    runner.train("--out", out, *command, expect=3)
    ours, theirs = outcome(out), outcome(rolled_back[0])
    assert ours["alarms"] == theirs["alarms"]
    assert ours == theirs


def test_a_run_goes_back_only_to_where_every_run_could(runner, tmp_path):
    """Not to a checkpoint that stands between the regular ones because the run once ended there."""
    command = [*WON, "--checkpoint_every", "40", "--on_alarm", "rollback", "--steps", "40", "--max_rollbacks", "1"]
    first = runner.start("--out", tmp_path / "straight", *command)
    runner.train("--out", tmp_path / "run", *command, "--steps", "8")
    second = runner.start("--out", tmp_path / "run", *command)
    assert first.wait() == second.wait()
    assert "back to step 0 with" in first.stderr and "back to step 0 with" in second.stderr
    assert outcome(tmp_path / "run") == outcome(tmp_path / "straight")


def test_a_healthy_run_raises_no_alarm(runner, tmp_path):
    out = tmp_path / "run"
    run = runner.train("--out", out, *FP32, "--steps", 400, "--alarm_after", "100", "--model.g_width", "8", "--model.d_width", "8")
    assert alarms(out) == [] and "ALARM" not in run.stderr
    assert "No alarm so far" in (out / "report.html").read_text()
    assert min(row["diversity"] for row in rows(out) if "diversity" in row and row["step"] > 100) > 0.1
