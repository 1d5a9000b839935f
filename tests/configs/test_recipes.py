"""Every recipe under configs/ parses, says where it comes from, and builds its networks at its own size."""

from pathlib import Path

import pytest
import torch

import configs
from configs.cli import parse
from configs.schema import TrainConfig
from models.dcgan import Discriminator
from training.growth import stage
from training.registry import FAMILIES, MODELS
from training.task import DataInfo, Request

FOLDER = Path(configs.__file__).parent
RECIPES = sorted(FOLDER.rglob("*.yaml"))


def read(path: Path) -> TrainConfig:
    return parse(TrainConfig, ["--config", str(path)], models=MODELS)


def test_there_are_recipes():
    assert {"dcgan.yaml", "faithful/dcgan.yaml", "hrvgan.yaml", "faithful/hrvgan.yaml"} <= {
        path.relative_to(FOLDER).as_posix() for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_recipe_builds_networks_and_samples_of_its_size(path):
    config = read(path)
    assert path.read_text().startswith("#")
    with torch.device("meta"):  # shapes without memory: some recipes are large
        task = FAMILIES[config.family].task(config, DataInfo(classes=["a", "b"]), torch.device("meta"))
        assert all(any(True for _ in net.parameters()) for net in task.nets.values())
        assert {phase.name for phase in task.phases} and set(task.ema) <= set(task.nets)
        video = torch.zeros(2, 3, config.frames, config.height, config.width) if task.wants_video else None
        samples = task.sample(task.nets, Request(torch.zeros(2, task.latent_dim), torch.zeros(2, dtype=torch.int64), video))
    assert samples.shape == (2, 3, config.frames, config.height, config.width)


def test_the_published_dcgan_has_the_published_numbers():
    config = read(FOLDER / "faithful" / "dcgan.yaml")
    task = FAMILIES["dcgan"].task(config, DataInfo(), torch.device("cpu"))
    count = {name: sum(parameter.numel() for parameter in net.parameters()) for name, net in task.nets.items()}
    assert count == {"generator": 1_474_243, "discriminator": 268_737}
    published = Discriminator(config.model, 180, 320)
    assert sum(parameter.numel() for parameter in published.parameters()) == 269_377
    assert published(torch.zeros(1, 3, 1, 180, 320)).shape == (1,)
    assert (config.lr, config.lr_d, config.beta1, config.loss, config.ema) == (2e-4, 1e-4, 0.5, "bce", 0.0)


def test_the_published_hrvgan_grows_and_takes_the_published_rates():
    config = read(FOLDER / "faithful" / "hrvgan.yaml")
    assert (config.lr, config.lr_d, config.beta1, config.beta2, config.gp, config.loss, config.ema) == (
        1e-3, None, 0.0, 0.99, 10.0, "wgan_gp", 0.999)
    clips = [step * config.batch_size for step in (37_500, 75_000, 112_500, 150_000)]
    assert clips == [600_000, 1_200_000, 1_800_000, 2_400_000]
    stages = [stage(config, clip // config.batch_size + 1) for clip in (0, *clips)]
    assert [level for level, _ in stages] == [2, 1, 1, 0, 0] and [alpha == 1 for _, alpha in stages] == [True, False, True, False, True]


def test_the_published_keyframes_have_the_published_numbers():
    config = read(FOLDER / "faithful" / "keyframes.yaml")
    task = FAMILIES["keyframes"].task(config, DataInfo(), torch.device("cpu"))
    count = {name: sum(parameter.numel() for parameter in net.parameters()) for name, net in task.nets.items()}
    assert count == {"autoencoder": 90_659, "interpolator": 14_213}
    assert (config.lr, config.beta1, config.beta2, config.batch_size, config.epochs, config.height, config.ema) == (
        1e-3, 0.9, 0.999, 8, 50, 64, 0)
    assert config.model.reconstruction == config.model.interpolation == "l1:1"
