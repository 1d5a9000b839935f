"""The averaged generator (Yazici et al. 2019, arXiv 1806.04498): what samples, films and metrics are made with."""

import copy

import torch
from torch import nn


class Averaged:
    """Exponential moving averages of networks, buffers included: running statistics must match the averaged weights."""

    def __init__(self, nets: dict[str, nn.Module], decay: float):
        self.decay = decay
        self.nets = {name: copy.deepcopy(net).eval().requires_grad_(False) for name, net in nets.items()}

    @torch.no_grad()
    def update(self, nets: dict[str, nn.Module], step: int) -> None:
        """After training step ``step`` (from 1). The decay grows towards its value so that the first steps are forgotten."""
        decay = min(self.decay, step / (step + 9))
        for name, average in self.nets.items():
            old, new = _tensors(average), _tensors(nets[name])
            floating = [(a, b) for a, b in zip(old, new) if a.is_floating_point()]
            torch._foreach_lerp_([a for a, _ in floating], [b for _, b in floating], 1 - decay)
            for a, b in zip(old, new):
                if not a.is_floating_point():
                    a.copy_(b)


def _tensors(net: nn.Module) -> list[torch.Tensor]:
    return [*net.parameters(), *net.buffers()]
