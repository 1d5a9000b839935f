"""Every family: its settings and how its task is made. A new family is one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from models import dcgan, mlp_gan
from training.gan import GANTask


@dataclass
class Family:
    """``config``: the dataclass behind ``--model.NAME``. ``task``: (TrainConfig, DataInfo, device) -> Task."""

    config: type
    task: Callable


FAMILIES = {
    "dcgan": Family(dcgan.DCGANConfig, partial(GANTask, build=dcgan.build)),
    "mlp_gan": Family(mlp_gan.MLPGANConfig, partial(GANTask, build=mlp_gan.build)),
}
MODELS = {name: family.config for name, family in FAMILIES.items()}
