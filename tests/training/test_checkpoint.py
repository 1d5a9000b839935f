"""Checkpoints: exact, whole or absent, and damage told in one line."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.dcgan import DCGANConfig, build
from models.shape import ClipShape
from tests.conftest import ROOT
from training import checkpoint
from utils.errors import UserError

# A clean interpreter that has imported everything once and forks: starting each victim anew would take seconds.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["training.checkpoint", __name__])


def new_training(seed: int = 0, d_norm: str = "none"):
    torch.manual_seed(seed)
    nets = build(DCGANConfig(latent_dim=6, g_width=4, d_width=4, max_width=8, d_norm=d_norm), ClipShape(1, 16, 16))
    optimizers = {name: torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.5, 0.99), fused=True) for name, net in nets.items()}
    return nets, optimizers


def advance(nets, optimizers, seed: int) -> None:
    latents = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    for optimizer in optimizers.values():
        optimizer.zero_grad()
    nets["discriminator"](nets["generator"](latents)).square().mean().backward()
    for optimizer in optimizers.values():
        optimizer.step()


def save(folder, step, nets, optimizers, keep=3, every=1, **state) -> Path:
    groups = {"nets": checkpoint.net_tensors(nets), "optimizer": checkpoint.optimizer_tensors(optimizers)}
    return checkpoint.save(folder, checkpoint.name_of(step), groups, {"step": step, "config": {"checkpoint_every": every}, **state}, keep)


@pytest.mark.parametrize("d_norm", ["none", "batch", "spectral"])
def test_the_step_after_loading_is_the_step_without(tmp_path, d_norm):
    nets, optimizers = new_training(0, d_norm)
    for seed in range(3):
        advance(nets, optimizers, seed)
    path = save(tmp_path, 3, nets, optimizers)

    again, again_optimizers = new_training(99, d_norm)
    checkpoint.load_nets(again, checkpoint.read_tensors(path, "nets"), path)
    checkpoint.load_optimizers(again_optimizers, checkpoint.read_tensors(path, "optimizer"))
    for seed in range(3, 6):
        for name in nets:
            for (key, expected), found in zip(nets[name].state_dict().items(), again[name].state_dict().values()):
                assert torch.equal(expected, found), f"{name}.{key}"
                assert expected.stride() == found.stride(), f"{name}.{key}"
            moments = [each[name].state_dict()["state"] for each in (optimizers, again_optimizers)]
            assert moments[0].keys() == moments[1].keys()
            for expected, found in zip(moments[0].values(), moments[1].values()):
                assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
        for training in ((nets, optimizers), (again, again_optimizers)):
            advance(*training, seed)


def test_saving_and_loading_hold_one_tensor_at_a_time(tmp_path):
    """Of 320 MB in five layers, in a process of its own, beside the network itself."""
    script = """
import resource, sys, torch
from pathlib import Path
from torch import nn
from training import checkpoint
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
nets = {"net": nn.Sequential(*[nn.Linear(4096, 4096, bias=False) for _ in range(5)])}
before = peak()
path = checkpoint.save(Path(sys.argv[1]), "step_000001", {"nets": checkpoint.net_tensors(nets)}, {}, keep=1)
checkpoint.load_nets(nets, checkpoint.read_tensors(path, "nets"), path)
print(peak() - before)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(ended.stdout) < 64 * 2.5  # MiB


def test_moments_lie_in_memory_as_their_parameters_do(tmp_path):
    nets, optimizers = new_training()
    advance(nets, optimizers, 0)
    path = save(tmp_path, 1, nets, optimizers)
    again, again_optimizers = new_training(1)
    checkpoint.load_optimizers(again_optimizers, checkpoint.read_tensors(path, "optimizer"))
    weights = [parameter for parameter in again["generator"].parameters() if parameter.dim() == 4 and min(parameter.shape) > 1]
    assert weights and all(not weight.is_contiguous() for weight in weights)  # channels last, or the test shows nothing
    for weight in weights:
        assert again_optimizers["generator"].state[weight]["exp_avg"].stride() == weight.stride()


def test_learning_rates_are_not_taken_from_the_checkpoint(tmp_path):
    nets, optimizers = new_training()
    advance(nets, optimizers, 0)
    path = save(tmp_path, 1, nets, optimizers)
    optimizers["generator"].param_groups[0]["lr"] = 0.125
    checkpoint.load_optimizers(optimizers, checkpoint.read_tensors(path, "optimizer"))
    assert optimizers["generator"].param_groups[0]["lr"] == 0.125


def test_the_newest_are_kept_and_latest_follows(tmp_path):
    nets, optimizers = new_training()
    for step in (5, 10, 999_999, 1_000_000):  # one digit more sorts as a number, not as text
        save(tmp_path, step, nets, optimizers, keep=2)
        assert checkpoint.latest(tmp_path).name == checkpoint.name_of(step)
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step_999999", "step_1000000"]
    assert {path.name for path in tmp_path.iterdir()} == {"step_999999", "step_1000000", "latest"}


def test_pointers_name_checkpoints_for_flags_too(tmp_path):
    nets, optimizers = new_training()
    for step in (5, 10, 15, 20):
        save(tmp_path, step, nets, optimizers, keep=1)
        if step == 10:
            checkpoint.point(tmp_path, "best", "step_000010")
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step_000010", "step_000020"]
    assert checkpoint.find(tmp_path / "best") == tmp_path / "step_000010"
    assert checkpoint.find(tmp_path / "latest") == tmp_path / "step_000020"
    checkpoint.point(tmp_path, "best", "step_000099")
    assert checkpoint.named(tmp_path, "best") is None
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.find(tmp_path / "best")


def test_others_may_read_what_the_umask_allows(tmp_path):
    nets, optimizers = new_training()
    before = os.umask(0o027)
    try:
        save(tmp_path, 5, nets, optimizers, keep=2)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in checkpoint.latest(tmp_path).iterdir()} == {0o640}


def test_those_of_an_earlier_interval_count(tmp_path):
    nets, optimizers = new_training()
    for step, every in ((5, 5), (10, 5), (13, 5), (16, 8), (24, 8)):
        save(tmp_path, step, nets, optimizers, keep=3, every=every)
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step_000010", "step_000016", "step_000024"]
    (tmp_path / "step_000010" / "state.json").write_text("{")  # damaged: it counts as one
    assert [path.name for path in checkpoint.regular(tmp_path)] == ["step_000010", "step_000016", "step_000024"]


def test_a_checkpoint_of_an_interruption_goes_with_the_next_one(tmp_path):
    nets, optimizers = new_training()
    for step in (10, 20, 23, 30, 34, 40):
        save(tmp_path, step, nets, optimizers, keep=2, every=10)
        assert checkpoint.latest(tmp_path).name == checkpoint.name_of(step)
        if step == 34:
            assert [path.name for path in checkpoint.listed(tmp_path)] == ["step_000020", "step_000030", "step_000034"]
    assert [path.name for path in checkpoint.listed(tmp_path)] == ["step_000030", "step_000040"]


def test_after_a_rollback_earlier_steps_are_newer(tmp_path):
    names = [checkpoint.name_of(*key) for key in ((10, 0), (40, 0), (20, 1), (30, 1), (10, 2))]
    for name in names:
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoint.listed(tmp_path)] == names
    (tmp_path / "step_7.backup").mkdir()
    (tmp_path / "steps_000001").mkdir()
    assert checkpoint.latest(tmp_path).name == "step_000010_r2"


def test_latest_moves_last_and_a_lost_pointer_does_no_harm(tmp_path, monkeypatch):
    nets, optimizers = new_training()
    save(tmp_path, 1, nets, optimizers)

    def crash(path, text):
        assert (tmp_path / "step_000002" / "state.json").is_file()  # whole before anything points to it
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_text", crash)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2, nets, optimizers)
    assert checkpoint.latest(tmp_path).name == "step_000001"
    (tmp_path / "latest").unlink()
    assert checkpoint.latest(tmp_path).name == "step_000002"
    (tmp_path / "latest").write_text("")
    assert checkpoint.latest(tmp_path).name == "step_000002"
    (tmp_path / "latest").write_text("step_000777\n")
    assert checkpoint.latest(tmp_path).name == "step_000002"


def test_a_checkpoint_is_found_from_run_folder_and_itself(tmp_path):
    nets, optimizers = new_training()
    path = save(tmp_path / "run" / "checkpoints", 1, nets, optimizers)
    for given in (tmp_path / "run", tmp_path / "run" / "checkpoints", path, str(path)):
        assert checkpoint.find(given) == path
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UserError, match=f"--checkpoint {wrong}"):
            checkpoint.find(wrong)


@pytest.mark.parametrize("file", ["nets.safetensors", "optimizer.safetensors", "state.json"])
def test_damage_at_any_length_is_one_line_that_names_the_file(tmp_path, file):
    nets, optimizers = new_training()
    advance(nets, optimizers, 0)
    whole = save(tmp_path, 1, nets, optimizers)
    content = (whole / file).read_bytes()

    def read():
        checkpoint.read_state(whole) if file == "state.json" else checkpoint.read_tensors(whole, file.split(".")[0])
    read()
    lengths = {0, 1, 7, 8, 100, len(content) // 2, len(content) - 4}
    spoilt = [content[:length] for length in lengths if length < len(content)] + [b"\xff" * len(content), b"[]", None]
    for bytes_ in spoilt:
        (whole / file).unlink() if bytes_ is None else (whole / file).write_bytes(bytes_)
        with pytest.raises(UserError) as caught:
            read()
        assert str(whole) in str(caught.value) and "\n" not in str(caught.value)


def test_a_state_of_another_format_is_refused(tmp_path):
    nets, optimizers = new_training()
    path = save(tmp_path, 1, nets, optimizers)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        checkpoint.read_state(path)


@pytest.mark.parametrize("spoil", ["missing", "unknown", "shape"])
def test_tensors_that_do_not_fit_are_one_line(spoil):
    nets, _ = new_training()
    tensors = {name: value.clone() for name, value in checkpoint.net_tensors(nets).items()}
    key = "generator.project.weight"
    if spoil == "missing":
        del tensors[key]
    elif spoil == "unknown":
        tensors["generator.extra"] = torch.zeros(1)
    else:
        tensors[key] = torch.zeros(2, 2)
    with pytest.raises(UserError, match="here.*'generator'") as caught:
        checkpoint.load_nets(nets, tensors, Path("here"))
    assert "\n" not in str(caught.value)


def _groups(step: int) -> dict:
    return {name: {f"{name}.{index}": torch.full((64, 100), float(step)) for index in range(4)} for name in ("nets", "ema", "optimizer")}


def _save_until_killed(folder: str, step: int) -> None:
    torch.set_num_threads(1)
    while True:
        step += 1
        checkpoint.save(Path(folder), checkpoint.name_of(step), _groups(step), {"step": step}, keep=2)


def _assert_all_whole(folder: Path) -> int:
    for path in checkpoint.listed(folder):
        step = checkpoint.read_state(path)["step"]
        assert path.name == checkpoint.name_of(step)
        for group, tensors in _groups(step).items():
            found = checkpoint.read_tensors(path, group)
            assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert (folder / "latest").read_text().strip() in {path.name for path in checkpoint.listed(folder)}
    return checkpoint.read_state(checkpoint.latest(folder))["step"]


def test_killed_at_any_moment_every_checkpoint_is_whole(tmp_path):
    chance = random.Random(0)
    checkpoint.save(tmp_path, checkpoint.name_of(0), _groups(0), {"step": 0}, keep=2)
    reached, leftovers = 0, 0
    for _ in range(15):
        victim = processes.Process(target=_save_until_killed, args=(str(tmp_path), checkpoint.order(checkpoint.listed(tmp_path)[-1])[1]))
        victim.start()
        deadline = time.monotonic() + 60
        while (tmp_path / "latest").read_text().strip() == checkpoint.name_of(reached):  # until it is in full swing
            assert victim.is_alive() and time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        victim.kill()
        victim.join()
        new = _assert_all_whole(tmp_path)
        assert new > reached
        reached = new
        leftovers += len(list(tmp_path.glob(".*.tmp*")))
        for left in tmp_path.glob(".*.tmp*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert leftovers  # at least once the kill came in the middle of something


def _save_on_a_full_disk(folder: str, limit: int, result) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    groups = _groups(2) | {"optimizer": {"big": torch.zeros(100_000)}}
    try:
        checkpoint.save(Path(folder), checkpoint.name_of(2), groups, {"step": 2, "note": "x" * 5000}, keep=1)
        result.send("no error")
    except OSError as error:
        result.send(type(error.errno).__name__)
    except BaseException as error:
        result.send(repr(error))


@pytest.mark.parametrize("limit", [0, 1000, 150_000], ids=["first file", "header", "third file"])
def test_a_full_disk_leaves_the_earlier_checkpoint_alone(tmp_path, limit):
    checkpoint.save(tmp_path, checkpoint.name_of(1), _groups(1), {"step": 1}, keep=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    mine, theirs = processes.Pipe()
    process = processes.Process(target=_save_on_a_full_disk, args=(str(tmp_path), limit, theirs))
    process.start()
    assert mine.poll(60) and mine.recv() == "int"  # an OSError that carries the system's number
    process.join()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert _assert_all_whole(tmp_path) == 1
    assert load_file(tmp_path / "step_000001" / "nets.safetensors")
