"""Adversarial losses as plain functions of logits (B,), and the gradient penalties. Losses are in float32; slopes are taken in
the precision of training, and squared and summed in float32."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def bce_d(real: Tensor, fake: Tensor) -> Tensor:
    """Cross-entropy with labels 1 and 0 (Goodfellow et al. 2014, arXiv 1406.2661, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def bce_g(real: Tensor | None, fake: Tensor) -> Tensor:
    """The non-saturating generator loss -log D(G(z)) (the same paper, section 3)."""
    return F.softplus(-fake).mean()


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss (Lim & Ye 2017, arXiv 1705.02894)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_g(real: Tensor | None, fake: Tensor) -> Tensor:
    return -fake.mean()


def wgan_d(real: Tensor, fake: Tensor) -> Tensor:
    """The Wasserstein critic's loss (Arjovsky et al. 2017, arXiv 1701.07875, eq. 2, negated)."""
    return fake.mean() - real.mean()


def wgan_g(real: Tensor | None, fake: Tensor) -> Tensor:
    return -fake.mean()


def rpgan_d(real: Tensor, fake: Tensor) -> Tensor:
    """Relativistic pairing (Jolicoeur-Martineau 2018, arXiv 1807.00734; Huang et al. 2024, arXiv 2501.05441, eq. 2)."""
    return F.softplus(-(real - fake)).mean()


def rpgan_g(real: Tensor | None, fake: Tensor) -> Tensor:
    return F.softplus(-(fake - real)).mean()


LOSSES = {"bce": (bce_d, bce_g), "hinge": (hinge_d, hinge_g), "rpgan": (rpgan_d, rpgan_g), "wgan": (wgan_d, wgan_g),
          "wgan_gp": (wgan_d, wgan_g)}
NEEDS_REAL_IN_G = {"rpgan"}


def squared_slopes(discriminator: Callable[[Tensor], Tensor], video: Tensor) -> Tensor:
    """||dD/dvideo||^2 of each clip, (B,), itself differentiable."""
    video = video.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(video).float().sum(), video, create_graph=True)
    return gradient.float().square().sum(dim=tuple(range(1, gradient.dim())))


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], video: Tensor, slopes: Callable[..., Tensor] = squared_slopes) -> Tensor:
    """E ||dD/dvideo||^2, zero-centred: R1 on real clips, R2 on generated ones (Mescheder et al. 2018, arXiv 1801.04406, eq. 9).
    ``slopes``: :func:`squared_slopes`, or what gives the same faster."""
    return slopes(discriminator, video).mean()


def lipschitz_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, where: Tensor,
                      slopes: Callable[..., Tensor] = squared_slopes) -> Tensor:
    """E (||dD/dx|| - 1)^2 at points between real and generated clips, ``where`` (B,) in [0, 1] from the one to the other
    (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3)."""
    where = where.view(-1, *[1] * (real.dim() - 1))
    between = real + where * (fake.to(real.dtype) - real)
    # The root's slope is infinite at zero.
    return ((slopes(critic, between) + 1e-12).sqrt() - 1).square().mean()
