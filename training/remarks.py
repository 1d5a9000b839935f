"""Settings that are allowed and yet mean little, or nothing: told before training begins."""

from torch import nn

from configs.schema import TrainConfig
from models.layers import BatchNorm, MinibatchStd
from utils import distributed


def remarks(config: TrainConfig, discriminator: nn.Module) -> list[str]:
    """On a GAN of ``config``, a sentence or two each."""
    return [*_of_penalties(config, discriminator), *_of_groups(config, discriminator), *_of_no_effect(config),
            *_of_labels(config)]


def _of_penalties(config: TrainConfig, discriminator: nn.Module) -> list[str]:
    penalties = [f"--loss {config.loss}"] * (config.loss == "wgan_gp") + [f"--{name} {getattr(config, name):g}" for name in ("r1", "r2")
                                                                          if getattr(config, name)]
    found = []
    if penalties and any(isinstance(layer, BatchNorm) for layer in discriminator.modules()):
        found.append(f"{' and '.join(penalties)}: the penalty is on each clip by itself, and with batch normalisation a verdict depends on "
                     "the whole batch (Gulrajani et al. 2017, section 4); take --model.d_norm group, or none")
    bounded = (config.clip_weights or config.r1 or config.r2 or config.spectral_norm or config.loss == "wgan_gp" and config.gp
               or getattr(config.model, "d_norm", None) == "spectral")
    if config.loss.startswith("wgan") and not bounded:
        found.append(f"--loss {config.loss}: nothing bounds the critic's slopes, and its verdicts grow without end; take --loss wgan_gp "
                     "--gp 10, --clip_weights 0.01, --spectral_norm or --r1 10")
    return found


def _of_groups(config: TrainConfig, discriminator: nn.Module) -> list[str]:
    """Of minibatch standard deviation, which compares clips in groups of up to four."""
    size, wanted = config.batch_size // distributed.world_size() // config.accumulate, config.m_per_class
    groups = [layer.group_of(size) for layer in discriminator.modules() if isinstance(layer, MinibatchStd)]
    if groups and groups[0] == 1:
        return [f"minibatch standard deviation has nothing to compare: the {size} clips of a pass make no groups of 2 to 4; take a "
                "multiple of 4 clips a pass"]
    if wanted > 1 and groups and groups[0] % wanted and wanted % groups[0]:
        return [f"--m_per_class {wanted}: minibatch standard deviation takes groups of {groups[0]} of the {size} clips of a pass, which "
                "mixes classes; take --m_per_class 2 or 4 and a multiple of 4 clips a pass"]
    return []


def _of_no_effect(config: TrainConfig) -> list[str]:
    """Of what a recipe hardly brings along by chance."""
    found = []
    if config.loss == "wgan_gp" and config.penalty_every > 1 and not (config.r1 or config.r2):
        found.append(f"--penalty_every {config.penalty_every}: is for r1 and r2; the penalty of --loss wgan_gp is taken at every step; "
                     "leave it out")
    if config.compile_penalty and not config.penalised:
        found.append("--compile_penalty: there is no penalty to compile; leave it out")
    if config.class_ce_then and config.class_ce_steps is None:
        found.append(f"--class_ce_then {config.class_ce_then:g}: --class_ce holds to the end; add --class_ce_steps, or leave it out")
    if not getattr(config.model, "sprites", True):
        usual = type(config.model)()
        for name in ("sprite_turn", "sprite_outline", "sprite_class"):
            if (value := getattr(config.model, name)) != getattr(usual, name):
                found.append(f"--model.{name} {value}: there are no sprites; add --model.sprites 1, or leave it out")
    return found


def _of_labels(config: TrainConfig) -> list[str]:
    if config.wrong_labels and config.loss.startswith("wgan") and config.clip_weights is None:
        return [f"--wrong_labels {config.wrong_labels:g} with --loss {config.loss}: nothing bounds by how much the critic prefers "
                "classes that come often; take --class_ce instead, or --loss bce, hinge or rpgan"]
    return []


def of_optimizer(config: TrainConfig) -> list[str]:
    """On any run of ``config``."""
    if config.optimizer != "adam_lean" or config.beta1 <= 0.9:
        return []
    return [f"--beta1 {config.beta1:g} with --optimizer adam_lean: its first moment is kept in bfloat16, whose running mean follows "
            f"only to within about {1 / 512 / (1 - config.beta1):.0%} of its value; take 0.9 or less, or --optimizer adam"]
