"""Mistakes: one line on stderr that begins "error: ", exit status 2, no traceback, and nothing that was there before is touched."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from tests.forked import command
from utils.video import write_video

SMALL = ["--data", "synthetic:num_videos=4,frames=8", "--height", 32, "--width", 32, "--batch_size", 4, "--model.g_width", 4,
         "--model.d_width", 4, "--tensorboard", "false", "--samples", 4, "--workers", 1, "--device", "cpu", "--precision", "fp32"]
PROGRESS = re.compile(r"[\w ]+: \d+/\d+ ")  # a log file shows how far it came before the mistake was seen


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with a finished run, videos, and things that are wrong in one way each."""
    root = tmp_path_factory.mktemp("world")
    (root / "said").mkdir()
    ended = command("train", [*SMALL, "--out", root / "run", "--steps", 2], root / "said")
    assert ended.status == 0, ended.stderr
    import numpy as np
    noise = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
    write_video(root / "videos" / "a.mp4", iter(noise), fps=12)
    (root / "no_videos").mkdir()
    (root / "no_videos" / "notes.txt").write_text("no video here")
    (root / "broken").mkdir()
    (root / "broken" / "a.mp4").write_text("this is text")
    (root / "foreign").mkdir()
    (root / "foreign" / "thesis.tex").write_text("years of work")
    (root / "file").write_text("a file")
    (root / "not.yaml").write_text("a: [1,\n  b: }{\n")
    (root / "list.yaml").write_text("- 1\n")
    (root / "unknown.yaml").write_text("heigth: 64\n")
    (root / "unknown_model.yaml").write_text("model:\n  latent: 64\n")
    (root / "type.yaml").write_text("batch_size: many\n")
    checkpoint = (root / "run" / "checkpoints" / "latest").read_text().strip()

    def spoilt(name: str) -> Path:
        shutil.copytree(root / "run", root / name)
        return root / name / "checkpoints" / checkpoint
    state = spoilt("other_family") / "state.json"
    values = json.loads(state.read_text())
    values["config"]["family"] = "nosuch"
    state.write_text(json.dumps(values))
    for name in ("nets", "ema", "optimizer"):
        path = spoilt(f"cut_{name}") / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    path = spoilt("cut_state") / "state.json"
    path.write_bytes(path.read_bytes()[:-30])
    state = spoilt("other_shape") / "state.json"
    values = json.loads(state.read_text())
    values["config"]["model"]["latent_dim"] = 5
    state.write_text(json.dumps(values))
    (spoilt("no_nets") / "nets.safetensors").unlink()
    return root


def fingerprint(root: Path) -> dict[str, str]:
    """Every file and folder below ``root`` with its content; what the commands said and locks aside."""
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in sorted(root.rglob("*")) if path.relative_to(root).parts[0] != "said" and path.name != ".lock"}


TRAIN = {
    "data missing": (["--data", "{root}/nowhere"], "nowhere"),
    "folder without videos": (["--data", "{root}/no_videos"], "no videos"),
    "text named mp4": (["--data", "{root}/broken"], "a.mp4"),
    "a text file": (["--data", "{root}/file"], "file"),
    "longer clips than videos": (["--data", "{root}/videos", "--frames", 13, "--width", 32], "--frames 13"),
    "far longer clips": (["--frames", 100000], "--frames 100000"),
    "unknown flag": (["--learning_rate", 1], "--learning_rate"),
    "unknown family flag": (["--model.depth", 1], "--model.depth"),
    "abbreviated flag": (["--batch", 4], "--batch"),
    "stray word": (["videos"], "videos"),
    "wrong type": (["--batch_size", "many"], "--batch_size"),
    "wrong switch": (["--restart", "maybe"], "maybe"),
    "wrong choice": (["--loss", "wasserstein"], "--loss"),
    "wrong family": (["--family", "stylegan"], "--family stylegan"),
    "no config": (["--config", "{root}/nowhere.yaml"], "nowhere.yaml"),
    "config not YAML": (["--config", "{root}/not.yaml"], "not.yaml"),
    "config a list": (["--config", "{root}/list.yaml"], "list.yaml"),
    "config a folder": (["--config", "{root}/videos"], "videos"),
    "config a video": (["--config", "{root}/videos/a.mp4"], "a.mp4"),
    "unknown key": (["--config", "{root}/unknown.yaml"], "heigth"),
    "unknown family key": (["--config", "{root}/unknown_model.yaml"], "latent"),
    "wrong type in config": (["--config", "{root}/type.yaml"], "batch_size"),
    "batch of nothing": (["--batch_size", 0], "--batch_size 0"),
    "negative batch": (["--batch_size", -4], "--batch_size -4"),
    "batch not divisible": (["--accumulate", 3], "--accumulate 3"),
    "odd size": (["--height", 33], "nearest allowed is --height 32 --width 32"),
    "odd size, other side": (["--height", 64, "--width", 65], "nearest allowed is --height 64 --width 64"),
    "tiny size": (["--height", 1, "--width", 1], "--height 1"),
    "no size": (["--height", 0], "--height 0"),
    "steps and epochs": (["--steps", 3, "--epochs", 3], "--steps and --epochs"),
    "two frame rates": (["--fps", 5, "--frame_skip", 2], "--fps"),
    "augmentation": (["--augment", "colour"], "colour"),
    "learning rate": (["--lr", 0], "--lr 0"),
    "not a number": (["--lr", "nan"], "--lr"),
    "seed": (["--seed", -1], "--seed -1"),
    "out is a file": (["--out", "{root}/file"], "is a file"),
    "out below a file": (["--out", "{root}/file/run"], "file/run"),
    "out not writable": (["--out", "/sys/run"], "/sys/run"),
    "out of somebody else": (["--out", "{root}/foreign"], "foreign"),
    "restart over somebody else": (["--out", "{root}/foreign", "--restart"], "foreign"),
    "other seed": (["--out", "{root}/run", "--seed", 5], "seed: 0 -> 5"),
    "other model": (["--out", "{root}/run", "--model.latent_dim", 5], "model.latent_dim"),
    "other size": (["--out", "{root}/run", "--height", 64], "height: 32 -> 64"),
    "resume from cut weights": (["--out", "{root}/cut_nets", "--steps", 4], "nets.safetensors"),
    "resume from cut average": (["--out", "{root}/cut_ema", "--steps", 4], "ema.safetensors"),
    "resume from cut moments": (["--out", "{root}/cut_optimizer", "--steps", 4], "optimizer.safetensors"),
    "resume from cut state": (["--out", "{root}/cut_state", "--steps", 4], "state.json"),
    "resume of another family": (["--out", "{root}/other_family", "--steps", 4], "nosuch"),
    "restart but wrong data": (["--out", "{root}/run", "--restart", "--data", "{root}/nowhere"], "nowhere"),
    "restart but wrong size": (["--out", "{root}/run", "--restart", "--height", 33], "--height 33"),
    "cache below a file": (["--cache_dir", "{root}/file/cache"], "file/cache"),
    "dry run, wrong data": (["--dry_run", "--data", "{root}/nowhere"], "nowhere"),
}
GENERATE = {
    "no checkpoint": (["--checkpoint", "{root}/nowhere"], "nowhere"),
    "folder without checkpoint": (["--checkpoint", "{root}/videos"], "videos"),
    "checkpoint a file": (["--checkpoint", "{root}/file"], "file"),
    "other family": (["--checkpoint", "{root}/other_family"], "nosuch"),
    "other shape": (["--checkpoint", "{root}/other_shape"], "does not fit"),
    "cut weights": (["--checkpoint", "{root}/cut_nets"], "nets.safetensors"),
    "cut average": (["--checkpoint", "{root}/cut_ema"], "ema.safetensors"),
    "cut state": (["--checkpoint", "{root}/cut_state"], "state.json"),
    "weights gone": (["--checkpoint", "{root}/no_nets"], "nets.safetensors"),
    "unknown flag": (["--frames", 3], "--frames"),
    "wrong type": (["--num_frames", "many"], "--num_frames"),
    "no frames": (["--num_frames", 0], "--num_frames 0"),
    "no speed": (["--fps", 0], "fps"),
    "negative speed": (["--fps", -2], "fps"),
    "no batch": (["--batch_size", 0], "--batch_size 0"),
    "wrong grid": (["--grid", "3by3"], "--grid 3by3"),
    "wrong path": (["--path", "zigzag"], "zigzag"),
    "wrong quality": (["--crf", 99], "crf"),
    "wrong ending": (["--output", "{root}/film.docx"], "film.docx"),
    "no ending": (["--output", "{root}/film"], "film"),
    "output below a file": (["--output", "{root}/file/film.mp4"], "file"),
    "output not writable": (["--output", "/sys/film.mp4"], "/sys"),
    "output is a folder": (["--output", "{root}/videos"], "videos"),
    "frames too large for H.264": (["--grid", "900x1"], "H.264 holds at most"),
    "frames into a full folder": (["--output", "{root}/foreign.png"], "holds other things"),
}
EVALUATE = {
    "nothing": ([], "--checkpoint"),
    "no checkpoint": (["--checkpoint", "{root}/nowhere"], "nowhere"),
    "other family": (["--checkpoint", "{root}/other_family"], "nosuch"),
    "cut weights": (["--checkpoint", "{root}/cut_nets"], "nets.safetensors"),
    "no data": (["--checkpoint", "{root}/run", "--data", "{root}/nowhere"], "nowhere"),
    "data without videos": (["--checkpoint", "{root}/run", "--data", "{root}/no_videos"], "no videos"),
    "unknown metric": (["--checkpoint", "{root}/run", "--metrics", "beauty"], "beauty"),
    "metric that needs pairs": (["--checkpoint", "{root}/run", "--metrics", "psnr"], "psnr"),
    "one folder": (["--real", "{root}/videos"], "--fake"),
    "missing folder": (["--real", "{root}/videos", "--fake", "{root}/nowhere"], "nowhere"),
    "missing folder, pairs": (["--real", "{root}/videos", "--fake", "{root}/nowhere", "--metrics", "psnr"], "nowhere"),
    "nothing pairs": (["--real", "{root}/videos", "--fake", "{root}/no_videos", "--metrics", "psnr"], "no_videos"),
    "broken video": (["--real", "{root}/broken", "--fake", "{root}/broken", "--metrics", "psnr"], "a.mp4"),
    "unknown flag": (["--checkpoint", "{root}/run", "--nope", 1], "--nope"),
    "wrong type": (["--checkpoint", "{root}/run", "--num_samples", "many"], "--num_samples"),
    "no samples": (["--checkpoint", "{root}/run", "--num_samples", 0], "--num_samples 0"),
    "no batch": (["--checkpoint", "{root}/run", "--batch_size", 0], "--batch_size 0"),
    "output is a file": (["--checkpoint", "{root}/run", "--output", "{root}/file"], "file"),
    "output below a file": (["--checkpoint", "{root}/run", "--output", "{root}/file/report"], "file"),
    "output not writable": (["--checkpoint", "{root}/run", "--output", "/sys/report"], "/sys"),
}
SCAN = {
    "nothing": ([], "data"),
    "missing": (["{root}/nowhere"], "nowhere"),
    "without videos": (["{root}/no_videos"], "no videos"),
    "unknown flag": (["{root}/videos", "--nope"], "--nope"),
    "wrong type": (["{root}/videos", "--frames", "many"], "--frames"),
    "no frames": (["{root}/videos", "--frames", 0], "--frames 0"),
    "no workers": (["{root}/videos", "--workers", 0], "--workers 0"),
    "cache below a file": (["{root}/videos", "--cache_dir", "{root}/file/cache"], "file/cache"),
}


def cases(module: str, table: dict, first: list) -> list:
    return [pytest.param(module, first, words, named, id=f"{module}: {name}") for name, (words, named) in table.items()]


@pytest.mark.parametrize("module, first, words, named", [
    *cases("train", TRAIN, [*SMALL, "--out", "{root}/new", "--steps", 2]),
    *cases("generate", GENERATE, ["--checkpoint", "{root}/run", "--output", "{root}/new.mp4", "--num_frames", 2, "--device", "cpu"]),
    *cases("evaluate", EVALUATE, ["--output", "{root}/new", "--num_samples", 4, "--device", "cpu"]),
    *cases("data.scan", SCAN, []),
])
def test_a_mistake_is_one_line(world, module, first, words, named):
    given = [str(word).replace("{root}", str(world)) for word in [*first, *words]]
    if {"--steps", "--epochs"} <= set(words):
        given = given[:-len(words)][:-2] + given[-len(words):]
    before = fingerprint(world)
    ended = command(module, given, world / "said")
    after = fingerprint(world)
    assert_one_line(ended, named)
    assert not (made := {name for name in after.keys() - before.keys() if after[name] != "folder"}), f"files left behind: {made}"
    assert {name: after.get(name) for name in before} == before


def assert_one_line(ended, named: str) -> None:
    lines = [line for line in ended.stderr.splitlines() if not PROGRESS.match(line)]
    assert len(lines) == 1 and lines[0].startswith("error: "), ended.stderr
    assert ended.status == 2 and named in lines[0], ended.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
@pytest.mark.parametrize("module", ["train", "generate", "evaluate"])
def test_a_device_that_is_not_there(world, module):
    own = {"train": [*SMALL, "--out", world / "new"], "generate": ["--checkpoint", world / "run", "--output", world / "new.mp4"],
           "evaluate": ["--checkpoint", world / "run", "--output", world / "new"]}[module]
    before = fingerprint(world)
    assert_one_line(command(module, [*own, "--device", "cuda"], world / "said"), "--device cuda")
    assert {name: value for name, value in fingerprint(world).items() if value != "folder"} == \
        {name: value for name, value in before.items() if value != "folder"}


@pytest.mark.parametrize("largest", [2000, 30_000])
def test_a_full_disk_while_training_keeps_what_was_there(world, tmp_path, largest):
    shutil.copytree(world / "run", tmp_path / "run")
    before = fingerprint(tmp_path / "run" / "checkpoints")
    ended = command("train", [*SMALL, "--out", tmp_path / "run", "--steps", 4], world / "said", largest_file=largest)
    assert_one_line(ended, "")
    after = fingerprint(tmp_path / "run" / "checkpoints")
    assert {name: after.get(name) for name in before} == before
    assert command("train", [*SMALL, "--out", tmp_path / "run", "--steps", 4], world / "said").status == 0  # space again: it goes on


def test_a_full_disk_while_a_film_is_written(world, tmp_path):
    film = tmp_path / "film.mp4"
    words = ["--checkpoint", world / "run", "--output", film, "--num_frames", 40, "--crf", 0, "--device", "cpu"]
    film.write_text("an earlier film")
    assert_one_line(command("generate", words, world / "said", largest_file=1500), "")
    assert film.read_text() == "an earlier film" and [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_full_disk_while_a_report_is_written(world, tmp_path):
    words = ["--checkpoint", world / "run", "--output", tmp_path / "report", "--num_samples", 4, "--metrics", "swd", "--device", "cpu"]
    assert command("evaluate", words, world / "said").status == 0
    before = fingerprint(tmp_path)
    assert_one_line(command("evaluate", words, world / "said", largest_file=3000), "")
    assert fingerprint(tmp_path) == before


def test_a_full_disk_while_frames_are_extracted(world, tmp_path):
    words = [*SMALL, "--out", tmp_path / "run", "--steps", 1, "--data", world / "videos", "--cache_dir", tmp_path / "cache"]
    assert_one_line(command("train", words, world / "said", largest_file=5000), "")
    assert command("train", words, world / "said").status == 0
