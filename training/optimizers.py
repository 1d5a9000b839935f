"""Optimisers by name."""

import torch
from torch import nn
from torch.optim import Optimizer

from configs.schema import TrainConfig


def make_optimizer(config: TrainConfig, net: nn.Module, lr: float) -> Optimizer:
    """``config.optimizer`` over the parameters of ``net``: Adam (Kingma & Ba 2015, arXiv 1412.6980), or RMSprop with decay ``beta2``."""
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(net.parameters(), lr=lr, alpha=config.beta2)
    return torch.optim.Adam(net.parameters(), lr=lr, betas=(config.beta1, config.beta2), fused=True)
