"""Every recipe under configs/ parses, says where it comes from, and builds its networks at its own size."""

from pathlib import Path

import pytest
import torch

import configs
from configs.cli import parse
from configs.schema import TrainConfig
from models.dcgan import Discriminator
from training.registry import FAMILIES, MODELS
from training.task import DataInfo, Request

FOLDER = Path(configs.__file__).parent
RECIPES = sorted(FOLDER.rglob("*.yaml"))


def read(path: Path) -> TrainConfig:
    return parse(TrainConfig, ["--config", str(path)], models=MODELS)


def test_there_are_recipes():
    assert {"dcgan.yaml", "faithful/dcgan.yaml"} <= {path.relative_to(FOLDER).as_posix() for path in RECIPES}


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
