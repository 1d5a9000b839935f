"""Motion in pixels: warping along it, comparing two pictures under small shifts, sizes that divide."""

import torch
import torch.nn.functional as F
from torch import Tensor


def backward_warp(image: Tensor, flow: Tensor) -> Tensor:
    """What ``image`` (B, C, H, W) shows at each pixel's place plus ``flow`` (B, 2, H, W): out(y, x) = image(y + flow_y, x +
    flow_x).

    Flow is in pixels, channel 0 to the right, channel 1 down. Bilinear; beyond the edge the edge's colour (Jaderberg et al. 2015,
    arXiv 1506.02025). Differentiable in both. Returns float32 (B, C, H, W).
    """
    height, width = image.shape[-2:]
    flow = flow.float()
    x = torch.arange(width, device=flow.device) + 0.5 + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + 0.5 + flow[:, 1]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)
    return F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def symmetric_costs(first: Tensor, second: Tensor, radius: int, window: int = 5) -> Tensor:
    """Mean absolute difference of ``first`` at x - k and ``second`` at x + k around each x, for all shifts k of up to ``radius``
    pixels.

    (B, C, H, W) each -> (B, (2 radius + 1)^2, H, W), shifts in the order of :func:`shifts`, averaged over ``window`` x ``window``
    pixels: the bilateral cost volume of Park et al. 2020 (arXiv 2007.12622, section 3.1). Low where something moves by 2k.
    """
    height, width = first.shape[-2:]
    padded = [F.pad(image, (radius,) * 4, mode="replicate") for image in (first, second)]
    costs = []
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            before = padded[0][..., radius - dy:radius - dy + height, radius - dx:radius - dx + width]
            after = padded[1][..., radius + dy:radius + dy + height, radius + dx:radius + dx + width]
            costs.append((before - after).abs().mean(1))
    return F.avg_pool2d(torch.stack(costs, 1), window, 1, window // 2, count_include_pad=False)


def shifts(radius: int, device: torch.device | None = None) -> Tensor:
    """((2 radius + 1)^2, 2) float: the shifts (x, y) of :func:`symmetric_costs`."""
    steps = torch.arange(-radius, radius + 1, device=device).float()
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def pad_to(image: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) with both sides raised to multiples of ``multiple`` by repeating the last row and column."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
