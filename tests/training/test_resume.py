"""The same command continues a run, and its end is bit for bit that of a run never interrupted."""

import json
import re
import shutil
import signal

import pytest
import torch

from configs.schema import TrainConfig
from tests.data.films import moving, write_film
from tests.training.runner import interrupt, newest, outcome, pictures, rows, steps_done
from training.folder import RunFolder
from utils.errors import UserError

STEPS = 60
SETTINGS = {
    "plain": ["--precision", "fp32"],
    "bf16": ["--precision", "bf16", "--model.g_mean", "true"],
    "published": ["--precision", "fp32", "--model.g_norm", "none", "--model.g_kernel", "4", "--model.g_out_kernel", "7",
                  "--model.growth", "1", "--model.d_dropout", "0.4", "--model.init", "glorot", "--ema", "0", "--lr_d", "1e-4"],
    "everything": ["--precision", "fp32", "--loss", "rpgan", "--r1", "1", "--r2", "1", "--penalty_every", "2",
                   "--augment", "color,translation,cutout", "--augment_p", "0.7", "--warmup", "50", "--accumulate", "2", "--d_repeats", "2",
                   "--g_every", "2", "--flip", "--clip_grad", "1", "--diversity", "0.5", "--model.d_norm", "spectral",
                   "--model.d_minibatch_std", "true"],
    "bf16 everything": ["--precision", "bf16", "--loss", "hinge", "--r1", "1", "--augment", "color,cutout", "--accumulate", "2",
                        "--model.d_norm", "batch", "--model.d_dropout", "0.3", "--ordered"],
    "growing everything": ["--precision", "fp32", "--grow_from", "2", "--grow_steps", "20", "--accumulate", "2", "--optimizer", "adam_lean",
                           "--model.g_width", "8", "--model.latent_dim", "130", "--loss", "rpgan", "--r1", "1", "--r2", "1",
                           "--ema", "0.9", "--penalty_every", "2", "--augment", "translation", "--d_repeats", "2", "--diversity", "0.5"],
}


@pytest.fixture(scope="module")
def straight(runner, tmp_path_factory):
    """What runs end in that are left alone; each is made once."""
    made = {}

    def run(*arguments):
        if arguments not in made:
            made[arguments] = tmp_path_factory.mktemp("straight") / "run"
            runner.train("--out", made[arguments], *arguments)
        return made[arguments]
    return run


def same(out, reference):
    ours, theirs = outcome(out), outcome(reference)
    assert ours.pop("rows") == theirs.pop("rows")
    differing = [name for name in theirs if ours[name] != theirs[name]]
    assert not differing, f"{differing} differ"
    assert pictures(out) == pictures(reference)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_interrupted_equals_straight(runner, straight, tmp_path, settings):
    out, command = tmp_path / "run", ["--steps", STEPS, *settings]
    interrupt(runner.start("--out", out, *command), out, after=5)
    first = len(rows(out))
    assert first < STEPS and newest(out).name == f"step_{first:06d}"
    interrupt(runner.start("--out", out, *command), out, after=first + 9)
    assert first + 9 <= len(rows(out)) < STEPS
    runner.train("--out", out, *command)
    same(out, straight(*command))
    assert len(rows(out)) == STEPS


def test_another_number_of_workers_and_another_storage(runner, straight, tmp_path):
    out, command = tmp_path / "run", ["--steps", STEPS, "--precision", "fp32"]
    interrupt(runner.start("--out", out, *command, "--storage", "disk", "--workers", "2"), out, after=8)
    interrupt(runner.start("--out", out, *command, "--storage", "memory", "--workers", "1"), out, after=steps_done(out) + 8)
    runner.train("--out", out, *command, "--storage", "device", "--workers", "3")
    same(out, straight(*command))


@pytest.mark.parametrize("before, after", [(["--steps", 17], ["--steps", 40]), (["--epochs", 1], ["--epochs", 3])])
def test_raised_length_equals_a_run_that_had_it_from_the_start(runner, straight, tmp_path, before, after):
    out = tmp_path / "run"
    runner.train("--out", out, *before)
    assert len(rows(out)) == (17 if before[0] == "--steps" else 96 // 8)
    runner.train("--out", out, *after)
    reference = straight(*after)
    assert outcome(out) == outcome(reference)
    assert pictures(out)[f"step_{len(rows(out)):06d}.png"] == pictures(reference)[f"step_{len(rows(reference)):06d}.png"]


def test_a_finished_run_says_so_and_stays_as_it_is(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, "--steps", 12)
    before = outcome(out)
    again = runner.train("--out", out, "--steps", 12)
    assert re.search(r"complete at step 12; raise --steps or --epochs", again.stdout)
    assert outcome(out) == before


def test_a_run_whose_learning_rate_has_ended_is_not_told_to_go_on(runner, tmp_path):
    command = ["--out", tmp_path / "run", "--lr_decay", "cosine"]
    runner.train(*command, "--steps", 4)
    assert runner.train(*command, "--steps", 4).stdout.endswith("complete at step 4\n")
    refused = runner.train(*command, "--steps", 8, expect=2)
    assert "steps: 4 -> 8, which learning rates follow with --lr_decay cosine" in refused.stderr


def test_a_run_whose_learning_rate_falls_with_the_root_of_the_step_can_be_made_longer(runner, tmp_path):
    command = ["--lr_decay", "sqrt", "--lr_decay_from", "2"]
    runner.train("--out", tmp_path / "straight", *command, "--steps", 8)
    runner.train("--out", tmp_path / "longer", *command, "--steps", 4)
    assert "raise --steps or --epochs" in runner.train("--out", tmp_path / "longer", *command, "--steps", 4).stdout
    runner.train("--out", tmp_path / "longer", *command, "--steps", 8)
    assert outcome(tmp_path / "longer") == outcome(tmp_path / "straight")


@pytest.mark.parametrize("change", [["--seed", "7"], ["--model.g_width", "6"], ["--model.d_norm", "spectral"], ["--lr", "1e-3"],
                                    ["--batch_size", "4"], ["--loss", "hinge"], ["--width", "64"]], ids=lambda change: change[0])
def test_another_run_for_the_same_folder_is_refused_in_one_line(runner, straight, tmp_path, change):
    out = tmp_path / "run"
    shutil.copytree(straight("--steps", 17), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused = runner.train("--out", out, "--steps", 30, *change, expect=2)
    assert refused.stderr.count("\n") == 1 and refused.stderr.startswith(f"error: --out {out} holds a run with other settings")
    assert change[0].removeprefix("--") in refused.stderr and "--restart" in refused.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_restart_moves_the_old_run_aside(runner, straight, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(straight("--steps", 17), out)
    before = outcome(out)
    runner.train("--out", out, "--steps", 9, "--seed", "7", "--restart")
    assert outcome(tmp_path / "run.1") == before
    assert len(rows(out)) == 9 and json.loads((newest(out) / "state.json").read_text())["config"]["seed"] == 7
    runner.train("--out", out, "--steps", 4, "--restart")
    assert len(rows(tmp_path / "run.2")) == 9 and outcome(tmp_path / "run.1") == before
    # Who gives its settings again means to go on.
    runner.train("--config", out / "config.yaml", "--steps", 5, settings=[])
    assert len(rows(out)) == 5 and not (tmp_path / "run.3").exists()


def test_a_run_behind_a_link_is_moved_aside_where_it_lies(runner, tmp_path):
    (tmp_path / "scratch" / "city").mkdir(parents=True)
    out = tmp_path / "run"
    out.symlink_to(tmp_path / "scratch" / "city")
    runner.train("--out", out, "--steps", 4)
    runner.train("--out", out, "--steps", 5, "--restart")
    assert out.is_symlink() and len(rows(out)) == 5 and len(rows(tmp_path / "scratch" / "city.1")) == 4


def test_real_frames_shown_are_those_of_the_run(runner, tmp_path):
    """Whatever another run, which ended before its first checkpoint, has left in the folder."""
    out = tmp_path / "run"
    runner.train("--out", out, "--steps", 2)
    expected = (out / "reals.png").read_bytes()
    shutil.rmtree(out / "checkpoints")
    (out / "reals.png").write_bytes(b"of another")
    runner.train("--out", out, "--steps", 2, "--checkpoint_every", "10")
    assert (out / "reals.png").read_bytes() == expected


def test_the_folder_one_is_in_is_not_moved_away(tmp_path, monkeypatch):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run" / "checkpoints")
    for out in (".", "..", tmp_path / "run"):
        with pytest.raises(UserError, match="cannot be moved aside"):
            RunFolder(TrainConfig(out=str(out), restart=True))


@pytest.mark.parametrize("flags", [[], ["--restart"]], ids=["", "restart"])
def test_a_folder_of_other_files_is_never_taken(runner, tmp_path, flags):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("words")
    refused = runner.train("--out", out, "--steps", 2, *flags, expect=2)
    assert refused.stderr.count("\n") == 1 and "holds files but no run" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"] and [path.name for path in out.iterdir()] == ["chapter.txt"]


def test_a_second_process_is_refused_and_the_first_unharmed(runner, straight, tmp_path):
    out, command = tmp_path / "run", ["--steps", STEPS, "--precision", "fp32"]
    first = runner.start("--out", out, *command)
    assert first.until(lambda: steps_done(out) >= 3)
    first.signal(signal.SIGSTOP)  # or it might be done before the second has begun
    for extra in ([], ["--restart"]):
        second = runner.train("--out", out, *command, *extra, expect=2)
        assert second.stderr.count("\n") == 1 and "another process is training there" in second.stderr
    first.signal(signal.SIGCONT)
    assert first.wait() == 0
    same(out, straight(*command))


def test_another_interval_of_the_log_keeps_what_was_logged(runner, tmp_path):
    out, command = tmp_path / "run", ["--precision", "fp32"]
    runner.train("--out", out, *command, "--steps", 12, "--log_every", "2")
    runner.train("--out", out, *command, "--steps", 20, "--log_every", "5")
    assert [row["step"] for row in rows(out)] == [2, 4, 6, 8, 10, 15, 20]


def test_leftovers_of_a_crash(runner, straight, tmp_path):
    """Temporary files are cleared away and a half-written line of metrics.jsonl is written anew."""
    out, command = tmp_path / "run", ["--steps", STEPS, "--precision", "fp32"]
    interrupt(runner.start("--out", out, *command), out, after=8)
    half = out / "checkpoints" / ".step_000050.77.0a1b2c3d.tmp"
    half.mkdir()
    (half / "nets.safetensors").write_bytes(b"half")
    leftovers = [out / ".report.77.0a1b2c3d.tmp.html", out / "samples" / ".step_000050.77.0a1b2c3d.tmp.png",
                 out / "checkpoints" / ".latest.77.0a1b2c3d.tmp"]
    for path in leftovers:
        path.write_text("half")
    with open(out / "metrics.jsonl", "a") as file:
        file.write(json.dumps(rows(out)[-1] | {"step": len(rows(out)) + 1}) + '\n{"step": 1')
    runner.train("--out", out, *command)
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]
    same(out, straight(*command))


def test_a_mistake_beside_restart_leaves_the_old_run_in_place(runner, straight, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(straight("--steps", 17), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    alone = ["--family", "mlp_gan", "--model.widths", "[8,8]", "--model.g_norm", "batch", "--model.d_minibatch_std", "false",
             "--batch_size", 1]
    for mistake in (["--data", tmp_path / "missing"], ["--height", "33"], alone):
        refused = runner.train("--out", out, "--steps", 9, "--restart", *mistake, expect=2)
        assert refused.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_mistake_does_not_spoil_the_folder_for_the_next_try(runner, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    runner.train("--out", out, "--steps", 2, "--data", tmp_path / "missing", expect=2)
    runner.train("--out", out, "--steps", 2)
    assert len(rows(out)) == 2


def test_a_run_whose_checkpoints_are_gone_is_not_begun_anew(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, "--steps", 6, "--checkpoint_every", "4")
    shutil.rmtree(out / "checkpoints")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    run = runner.train("--out", out, "--steps", 6, "--checkpoint_every", "4", expect=2)
    assert "holds a run that came to step 6, but its checkpoints are gone" in run.stderr and run.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    runner.train("--out", out, "--steps", 6, "--checkpoint_every", "4", "--restart")
    assert (tmp_path / "run.1" / "metrics.jsonl").exists()


def test_somebody_elses_config_yaml_is_left_alone(runner, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "config.yaml").write_text("title: my page\n")
    run = runner.train("--out", tmp_path / "site", "--steps", 1, expect=2)
    assert "holds a config.yaml that is not one of a run" in run.stderr
    assert (tmp_path / "site" / "config.yaml").read_text() == "title: my page\n"


def test_hidden_files_of_others_survive_the_sweep(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, "--steps", 1)
    (out / ".draft.tmp").mkdir()
    (out / ".log.123.0123abcd.tmp").write_text("half")
    runner.train("--out", out, "--steps", 2)
    assert (out / ".draft.tmp").is_dir() and not (out / ".log.123.0123abcd.tmp").exists()


@pytest.mark.parametrize("name, refused", [("run", True), ("deep/er", True), (".run", False)])
def test_a_run_among_the_videos_is_refused(runner, tmp_path, name, refused):
    write_film(tmp_path / "a.mp4", moving(20))
    run = runner.train("--data", tmp_path, "--out", tmp_path / name, "--steps", 1, expect=2 if refused else 0)
    assert ("its films would be taken for videos to train on" in run.stderr) == refused and (tmp_path / name).exists() != refused


def test_another_arithmetic_is_told(runner, tmp_path):
    out = tmp_path / "run"
    runner.train("--out", out, "--steps", 1, "--precision", "fp32")
    assert "goes on with" not in runner.train("--out", out, "--steps", 2, "--precision", "fp32").stderr
    state = newest(out) / "state.json"
    values = json.loads(state.read_text())
    values["arithmetic"] |= {"threads": 7, "torch": "1.0"}
    state.write_text(json.dumps(values))
    said = runner.train("--out", out, "--steps", 3, "--precision", "fp32").stderr
    assert f"goes on with threads 1, was 7; torch {torch.__version__}, was 1.0: not bit for bit" in said


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_other_signals_that_mean_an_end_leave_a_checkpoint_too(runner, tmp_path, number):
    run = runner.start("--out", tmp_path / "run", "--steps", 100000)
    assert run.until(lambda: steps_done(tmp_path / "run") >= 2)
    run.signal(number)
    assert run.wait() == 75 and newest(tmp_path / "run").exists()
    assert ("Ctrl-C again ends at once" in run.stderr) == (number == signal.SIGINT)
