"""What every statistic of features asks of them."""

import torch
from torch import Tensor


def finite(features: Tensor) -> Tensor:
    """``(N, D)`` in float64 on the CPU. ValueError for another shape or a value that is not finite."""
    if features.dim() != 2:
        raise ValueError(f"features must be (N, D), got {tuple(features.shape)}")
    if not torch.isfinite(features).all():
        raise ValueError("the features hold values that are not finite")
    return features.detach().to("cpu", torch.float64)


def checked(*sides: Tensor, least: int) -> list[Tensor]:
    """All sides, :func:`finite`, of one width and with at least ``least`` samples each (ValueError)."""
    if len({side.shape[-1] for side in sides}) > 1:
        raise ValueError(f"features of {' and '.join(str(side.shape[-1]) for side in sides)} dimensions do not compare")
    if min(len(side) for side in sides) < least:
        raise ValueError(f"at least {least} samples are needed, got {' and '.join(str(len(side)) for side in sides)}")
    return [finite(side) for side in sides]
