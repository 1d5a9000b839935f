"""Every family: its settings and how its task is made. A new family is two lines here: its import and its entry."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from models import dcgan, hrvgan, keyframes, mlp_gan, vgan
from training.gan import GANTask
from training.keyframe_task import KeyframeTask


@dataclass
class Family:
    """``config``: the dataclass behind ``--model.NAME``. ``task``: (TrainConfig, DataInfo, device) -> Task."""

    config: type
    task: Callable


FAMILIES = {
    "dcgan": Family(dcgan.DCGANConfig, partial(GANTask, build=dcgan.build)),
    "hrvgan": Family(hrvgan.HRVGANConfig, partial(GANTask, build=hrvgan.build)),
    "keyframes": Family(keyframes.KeyframesConfig, KeyframeTask),
    "vgan": Family(vgan.VGANConfig, partial(GANTask, build=vgan.build)),
    "vgan_conditional": Family(vgan.VGANConditionalConfig, partial(GANTask, build=vgan.build_conditional)),
    "mlp_gan": Family(mlp_gan.MLPGANConfig, partial(GANTask, build=mlp_gan.build)),
}
MODELS = {name: family.config for name, family in FAMILIES.items()}
