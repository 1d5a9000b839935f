"""A run with the perceptual loss: the file of weights is needed to train, and for nothing else."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import evaluate
from generate import generate_video
from tests.data.films import moving, write_film
from tests.training.runner import QUICK, newest
from training.vgg import vgg16

SMALL = [*QUICK, "--family", "keyframes", "--frames", "3", "--height", "16", "--width", "16", "--batch_size", "4", "--steps", "2",
         "--device", "cpu", "--precision", "fp32", "--model.ae_width", "4", "--model.ae_downsampling", "4", "--model.ae_channels", "4",
         "--model.flow_width", "4", "--model.reconstruction", "l1:1,perceptual:1"]


def weights_in(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "vgg16.safetensors"
    save_file({f"features.{name}": value for name, value in vgg16().state_dict().items()}, path)
    return path


def test_a_checkpoint_is_enough_without_the_weights_of_its_losses(runner, tmp_path):
    weights = weights_in(tmp_path)
    runner.train("--out", tmp_path / "run", "--model.vgg_weights", weights, settings=SMALL)
    weights.unlink()
    film = write_film(tmp_path / "film.mp4", moving(3))
    made = generate_video(output_file=tmp_path / "slow.mp4", model_path=tmp_path / "run", input=str(film), factor=2, device="cpu")
    assert made.exists()
    assert evaluate.main(["--checkpoint", str(tmp_path / "run"), "--metrics", "swd", "--num_samples", "8", "--device", "cpu",
                          "--output", str(tmp_path / "report")]) == 0


def test_a_run_goes_on_when_its_weights_have_moved_but_not_with_others(runner, tmp_path):
    weights = weights_in(tmp_path)
    runner.train("--out", tmp_path / "run", "--model.vgg_weights", weights, settings=SMALL)
    moved = weights.rename(tmp_path / "moved.safetensors")
    runner.train("--out", tmp_path / "run", "--model.vgg_weights", moved, "--steps", 3, settings=SMALL)
    torch.manual_seed(1)
    save_file({f"features.{name}": value for name, value in vgg16().state_dict().items()}, moved)
    run = runner.train("--out", tmp_path / "run", "--model.vgg_weights", moved, "--steps", 4, settings=SMALL, expect=2)
    assert run.stderr.startswith("error: --model.vgg_weights: not the file of the run") and run.stderr.count("\n") == 1
    assert newest(tmp_path / "run").name == "step_000003"


@pytest.mark.parametrize("spoil, said", [(Path.unlink, "there is no such file"),
                                         (lambda path: path.write_text("weights"), "not a safetensors file")])
def test_training_without_the_weights_ends_before_it_begins(runner, tmp_path, spoil, said):
    weights = weights_in(tmp_path)
    spoil(weights)
    run = runner.train("--out", tmp_path / "run", "--model.vgg_weights", weights, "--data", tmp_path / "nowhere", settings=SMALL, expect=2)
    assert run.stderr.startswith(f"error: --model.vgg_weights {weights}: {said}"), "and videos are looked for after that"
    assert run.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_weights_of_a_network_that_is_not_trained_are_not_asked_for(runner, tmp_path):
    runner.train("--out", tmp_path / "run", "--model.vgg_weights", tmp_path / "none", "--model.learns", "interpolator", settings=SMALL)
