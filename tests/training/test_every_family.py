"""Losses, penalties and other options: each of them with every adversarial family, and each of them felt."""

import functools

import pytest
import torch

from configs.schema import TrainConfig
from training.losses import LOSSES
from training.registry import FAMILIES, MODELS
from training.setup import build_task
from training.step import run_phase
from training.task import DataInfo

GANS = sorted(set(FAMILIES) - {"keyframes"})  # which is not adversarial
OPTIONS = {
    "r1": {"r1": 1.0}, "r2": {"r2": 1.0}, "r1 lazily": {"r1": 1.0, "penalty_every": 2}, "augment": {"augment": "color,translation,cutout"},
    "spectral norm": {"spectral_norm": True}, "clipped weights": {"clip_weights": 0.01}, "pixel_mse": {"pixel_mse": 1.0},
    "clipped gradients": {"clip_grad": 0.1}, "two parts": {"accumulate": 2}, "two repeats": {"d_repeats": 2}, "every other": {"g_every": 2},
    "own clips": {"share_fakes": False}, "mirrored": {"flip": True},
    "rmsprop": {"optimizer": "rmsprop"}, "lean": {"optimizer": "adam_lean"}}


@functools.lru_cache(maxsize=None)
def trained(family: str, steps: int = 2, minibatch_std: bool = True, **settings) -> torch.Tensor:
    """All weights after some steps on 4 clips of 16x16 of two classes, in one row."""
    small = {"widths": [12, 8], "components": 0} if family == "mlp_gan" else {"g_width": 4, "d_width": 4}
    model = MODELS[family](**small, d_minibatch_std=minibatch_std)
    config = TrainConfig(**{"family": family, "height": 16, "width": 16, "frames": 1 if family in ("dcgan", "mlp_gan") else 4,
                            "batch_size": 8, "model": model, **settings}).check()
    task = build_task(config, DataInfo(["a", "b"]))
    task.get_ready()
    draw = torch.Generator().manual_seed(0)
    for step in range(1, steps + 1):
        raw = {"video": torch.randint(0, 256, (8, config.frames, 16, 16, 3), generator=draw, dtype=torch.uint8),
               "label": torch.arange(8) % 2}
        for phase in task.phases:
            for repeat in range(phase.repeats if phase.due(step) else 0):
                told = run_phase(task, phase, raw, config, step=step, repeat=repeat, device=torch.device("cpu"), dtype=torch.float32)
                assert all(torch.isfinite(value) for value in told.values()), told
    return torch.cat([value.flatten().float() for net in task.nets.values() for value in net.parameters()]).detach()


@pytest.mark.parametrize("family", GANS)
def test_losses(family):
    found = {loss: trained(family, loss=loss) for loss in LOSSES}
    assert all(weights.isfinite().all() for weights in found.values())
    # With verdicts within its margin hinge has the slopes of wgan.
    assert len({tuple(weights.tolist()) for loss, weights in found.items() if loss != "hinge"}) == len(LOSSES) - 1


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("family", GANS)
def test_options(family, name):
    plain, weights = trained(family), trained(family, **OPTIONS[name])
    assert weights.isfinite().all() and not torch.equal(weights, plain)
    if name == "r1 lazily":
        assert torch.equal(trained(family, steps=1, **OPTIONS[name]), trained(family, steps=1))


TOGETHER = {"loss": "rpgan", "r1": 1.0, "r2": 0.5, "penalty_every": 2, "augment": "translation,cutout", "spectral_norm": True,
            "accumulate": 2, "d_repeats": 2, "clip_grad": 1.0, "share_fakes": False, "minibatch_std": False}


@pytest.mark.parametrize("family", GANS)
def test_options_together(family):
    """None is lost beside all the others."""
    every = trained(family, **TOGETHER)
    assert every.isfinite().all()
    for name in set(TOGETHER) - {"minibatch_std"}:
        assert not torch.equal(trained(family, **{other: value for other, value in TOGETHER.items() if other != name}), every), name


@pytest.mark.parametrize("family", GANS)
def test_minibatch_deviation(family):
    assert len(trained(family, minibatch_std=False)) < len(trained(family))


@pytest.mark.parametrize("family", [family for family in GANS if family != "vgan_conditional"])  # which has no latent
def test_diversity(family):
    assert not torch.equal(trained(family, diversity=1.0), trained(family))
