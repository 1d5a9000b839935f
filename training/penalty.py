"""Gradient penalties through torch.compile.

A compiled network cannot be differentiated twice (its backward pass is no graph of its own), so autograd.grad(create_graph=True) cannot be
used on one. With torch.func.grad inside the compiled function the inner gradient is part of one forward graph, and a single backward pass
differentiates it: the exact penalty, not an estimate.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.utils.parametrize import ParametrizationList

from models.layers import BatchNorm
from training.losses import squared_slopes
from utils import distributed, hardware
from utils.seeds import torch_generator

TOLERANCE = 1e-5


class CompiledSlopes:
    """``||dD/dvideo||^2`` of each clip as :func:`training.losses.squared_slopes` gives it.

    :meth:`check` has it beside that function, value and parameter gradients, with weights, clips and labels that are always the
    same, so that a continued run finds what the one before found: in float32 to ``TOLERANCE`` (relative), and where training is in a
    shorter type also in that, where it may be twice as far from float32 as the plain one is. Where it is farther off, or nothing can be
    compiled (no C++ compiler), the plain one takes over with one printed line; at once for networks that change or draw something whenever
    they are called, which a check would disturb.
    """

    def __init__(self, net: nn.Module):
        self._net = net
        self._compiled = torch.compile(self._slopes, fullgraph=True, dynamic=False)
        self.works: bool | None = None
        """None until the check."""

    def check(self, video: Tensor, label: Tensor | None) -> None:
        """With clips and labels of the shape and place of these; in the precision that is on. Once; further calls do nothing."""
        if self.works is None:
            self.works = self._agrees(video, label)

    def __call__(self, discriminator: Callable[[Tensor], Tensor], video: Tensor, label: Tensor | None) -> Tensor:
        """``discriminator`` (B, 3, T, H, W) -> (B,) is the network with ``label`` (B,) in its place, None for one that takes none."""
        self.check(video, label)
        if self.works:
            return self._compiled(dict(self._net.named_parameters()), dict(self._net.named_buffers()), _laid_out(video), label)
        return squared_slopes(discriminator, video)

    def _slopes(self, parameters: dict, buffers: dict, video: Tensor, label: Tensor | None) -> Tensor:
        gradient = grad(lambda clip: self._verdict(parameters, buffers, clip, label).float().sum())(video)
        return gradient.float().square().sum(dim=(1, 2, 3, 4))

    def _verdict(self, parameters: dict, buffers: dict, video: Tensor, label: Tensor | None) -> Tensor:
        return functional_call(self._net, (parameters, buffers), (video,) if label is None else (video, label))

    def _agrees(self, video: Tensor, label: Tensor | None) -> bool:
        for layer in self._net.modules():
            if isinstance(layer, (BatchNorm, ParametrizationList)) or isinstance(layer, nn.Dropout) and layer.p:
                return self._gives_up("the network has dropout, batch or spectral normalisation")
        generator = torch_generator(0, "compiled penalty")
        weights = {name: _drawn(name, weight, generator) for name, weight in self._net.named_parameters()}
        buffers = dict(self._net.named_buffers())
        noise = _laid_out(torch.randn(video.shape, generator=generator).to(video.device))
        label = None if label is None else torch.zeros_like(label)
        plain = lambda: _with_gradients(squared_slopes(lambda clip: self._verdict(weights, buffers, clip, label), noise), weights)
        compiled = lambda: _with_gradients(self._compiled(weights, buffers, noise, label), weights)
        try:
            with torch.autocast(video.device.type, enabled=False), hardware.full_float32(video.device):
                exact = plain()
                worst = _difference(compiled(), exact)
            if not worst <= TOLERANCE:
                return self._gives_up(f"it differs from the plain one by {worst:.1e}")
            # What training will call is another graph where it is not in float32; of that no more can be asked than of the plain one.
            if torch.is_autocast_enabled(video.device.type):
                worst, rounding = _difference(compiled(), exact), _difference(plain(), exact)
                if not worst <= 2 * rounding + TOLERANCE:
                    return self._gives_up(f"in reduced precision it is {worst:.1e} off, the plain one {rounding:.1e}")
        except Exception as error:  # whatever stops the compiler must not stop training
            return self._gives_up(str(error).strip().partition("\n")[0] or type(error).__name__)
        return True

    def _gives_up(self, why: str) -> bool:
        if distributed.is_main():
            print(f"--compile_penalty: not compiled, penalties are computed as without it ({why})", flush=True)
        return False


def _laid_out(video: Tensor) -> Tensor:
    """Whatever made the clips, one type and one layout: for another one all would be compiled again, and unchecked."""
    return video.detach().float().contiguous(memory_format=torch.channels_last_3d)


def _drawn(name: str, weight: nn.Parameter, generator: torch.Generator) -> nn.Parameter:
    """One as after a usual initialisation: of unit variance over its inputs, about 1 for scales and 0 for biases."""
    values = torch.randn(weight.shape, generator=generator)
    values = values / weight[0].numel() ** 0.5 if weight.dim() > 1 else 0.1 * values + (not name.endswith("bias"))
    return nn.Parameter(torch.empty_like(weight).copy_(values))


def _with_gradients(slopes: Tensor, weights: dict[str, nn.Parameter]) -> list[Tensor]:
    """The penalty and what it does to each weight."""
    penalty = ((slopes + 1e-12).sqrt() - 1).square().mean()
    return [penalty.detach(), *torch.autograd.grad(penalty, list(weights.values()), allow_unused=True, materialize_grads=True)]


def _difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest one of the penalty and of each parameter's gradient, relative to the largest value there."""
    # A gradient that is zero but for rounding says nothing about the others.
    least = 1e-3 * max(value.abs().max() for value in expected[1:])
    scales = [expected[0].abs(), *(value.abs().max().clamp_min(least) for value in expected[1:])]
    # Of numbers and one that is none, torch takes the latter for the greatest, Python whichever stands first.
    return torch.stack([(a - b).abs().max() / scale.clamp_min(1e-12) for a, b, scale in zip(found, expected, scales)]).max().item()
