"""The adversarial task: what its two halves may know of each other."""

import pytest
import torch

from configs.schema import TrainConfig
from models.dcgan import DCGANConfig
from training.setup import build_task
from training.task import DataInfo


@pytest.mark.parametrize("number", [4, 6, 8])
@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_verdicts_on_real_clips_do_not_depend_on_the_generated_ones(number, norm):
    """Neither batch statistics nor groups of the minibatch standard deviation reach across."""
    config = TrainConfig(height=16, width=16, model=DCGANConfig(latent_dim=4, g_width=4, d_width=4, d_norm=norm))
    task = build_task(config, DataInfo())
    generator = torch.Generator().manual_seed(0)
    real, fake, other = (torch.rand(number, 3, 1, 16, 16, generator=generator) * 2 - 1 for _ in range(3))
    with torch.no_grad():
        first, second = task._judge(real, fake)[0], task._judge(real, other / 9)[0]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
