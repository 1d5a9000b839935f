"""PSNR, SSIM and MS-SSIM: how close each frame is to its own reference. Only for tasks that have one: reconstruction,
interpolation, prediction.

All take frames ``(..., H, W, C)``, uint8 with ``data_range=255`` or floating with values in [0, data_range], and
return one float64 value per frame, shape ``(...)``. Averages are over those values, never over pooled squared errors.

SSIM and MS-SSIM are computed here and not by torchmetrics 1.9: that one averages over the padded border as well (at the
coarsest scale of MS-SSIM most of the picture is border, up to 0.03 on real frames), is off by up to
3e-4 in float32 on bright flat frames, and takes 60 times as long in float64. The tests hold PSNR and SSIM to
scikit-image's values, and MS-SSIM to what its authors' program computes. """

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.protocol import Score

WINDOW = 11  # taps of the Gaussian window of Wang et al. 2004, at sigma 1.5 cut off at 3.5 sigma
SIGMA = 1.5
MOST_PSNR = 100.0  # of a frame in a mean; that of one that equals its reference is infinite
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of Wang et al. 2003, finest first
MS_SSIM_SMALLEST = WINDOW * 2 ** (len(SCALES) - 1)  # 176: the window still fits after four halvings
_BLOCK = 128  # outputs per block of the banded product: large enough to be fast, small enough to waste little


def psnr(frames: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
    """Peak signal-to-noise ratio in dB, ``10 log10(data_range^2 / MSE)``; infinite where a frame equals its reference.

    frames, reference: ``(..., H, W, C)``, see above. Returns float64 ``(...)``. ValueError on other shapes, types or
    ranges. """
    frames, reference = checked(frames, reference, data_range)
    error = (frames - reference).square().mean(dim=(-3, -2, -1))
    return 10 * torch.log10(data_range**2 / error)


def ssim(frames: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13): Gaussian window 11x11, sigma 1.5, K1 0.01, K2 0.03, population
    covariance, windows that lie wholly inside the frame, mean over positions and then over channels.

    The same as scikit-image's ``structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)``.
    frames, reference: ``(..., H, W, C)`` with H, W >= 11 (ValueError below: no window fits). Returns float64 ``(...)``.
    """
    frames, reference = checked(frames, reference, data_range)
    height, width = frames.shape[-3:-1]
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs frames of at least {WINDOW}x{WINDOW} pixels, its window; got {height}x{width}")
    luminance, contrast = _terms(frames.movedim(-1, -3), reference.movedim(-1, -3), data_range)
    return (luminance * contrast).mean(dim=(-3, -2, -1))


def ms_ssim(frames: Tensor, reference: Tensor, *, data_range: float) -> Tensor:
    """Multi-scale structural similarity (Wang, Simoncelli & Bovik 2003, eq. 7) over five scales, each channel a picture of
    its own, then their mean. Windows and constants are those of :func:`ssim`.

    As in the authors' program, a scale is half the one before: means of 2x2 pixels, the last row or column mirrored where
    there is an odd number of them. A scale whose contrast and structure are negative on average counts as 0: the paper's
    fractional powers have no value there. frames, reference: ``(..., H, W, C)`` with H, W >= 176 (ValueError below: the
    window does not fit the coarsest scale). Returns float64 ``(...)``. """
    frames, reference = checked(frames, reference, data_range)
    height, width = frames.shape[-3:-1]
    if min(height, width) < MS_SSIM_SMALLEST:
        raise ValueError(f"MS-SSIM needs frames of at least {MS_SSIM_SMALLEST}x{MS_SSIM_SMALLEST} pixels, so that its window fits "
                         f"the coarsest of {len(SCALES)} scales; got {height}x{width}")
    x, y = frames.movedim(-1, -3), reference.movedim(-1, -3)
    product = 1.0
    for exponent in SCALES[:-1]:
        product = product * _terms(x, y, data_range)[1].mean(dim=(-2, -1)).clamp(min=0) ** exponent
        x, y = _halved(x), _halved(y)
    luminance, contrast = _terms(x, y, data_range)
    return (product * (luminance * contrast).mean(dim=(-2, -1)).clamp(min=0) ** SCALES[-1]).mean(dim=-1)


def capped(values: Tensor) -> Tensor:
    """PSNRs as they count in means: left out of them, frames that equal their reference would make a mean of the others alone, which may
    rise when some get worse. Values of other metrics are below the cap."""
    return values.clamp(max=MOST_PSNR)


def average(values: Tensor, better: str) -> Score:
    """The mean over frames of :func:`capped` ``values``, float ``(N,)``, of which the "higher" or the "lower" is ``better``; frames equal
    to their reference are counted in ``parts`` where their PSNR is infinite."""
    identical, values = int(torch.isinf(values).sum()), capped(values)
    ends = [values.min().item(), values.max().item()]
    parts, note = dict(zip(("worst frame", "best frame"), ends if better == "higher" else ends[::-1])), ""
    if identical:
        parts["identical frames"] = identical
        note = f"{identical} of {len(values)} frames equal their reference and count as {MOST_PSNR:g} dB"
    return Score(values.mean().item(), parts, note)


def checked(frames: Tensor, reference: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Both as float64, or ValueError: a wrong range or layout gives plausible numbers that mean nothing."""
    if frames.shape != reference.shape or frames.dtype != reference.dtype:
        raise ValueError(f"frames are {tuple(frames.shape)} {frames.dtype}, "
                         f"their reference {tuple(reference.shape)} {reference.dtype}")
    if frames.dim() < 3 or frames.shape[-1] not in (1, 3):
        raise ValueError(f"frames must be (..., H, W, 3) or (..., H, W, 1), got {tuple(frames.shape)}")
    if frames.dtype == torch.uint8:
        if data_range != 255:
            raise ValueError(f"uint8 frames have data_range 255, not {data_range}")
    elif not frames.is_floating_point():
        raise ValueError(f"frames must be uint8 or floating, got {frames.dtype}")
    elif any(video.numel() and not (video.min() >= 0 and video.max() <= data_range) for video in (frames, reference)):
        raise ValueError(f"values must be finite and lie in [0, {data_range}] (data_range); shift and scale them first")
    return frames.double(), reference.double()


def _terms(x: Tensor, y: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """SSIM's luminance, and its contrast and structure in one, at every window of planes ``(..., H, W)``."""
    mean_x, mean_y = _blur(x), _blur(y)
    variances = _blur(x * x) - mean_x.square() + _blur(y * y) - mean_y.square()
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def _halved(planes: Tensor) -> Tensor:
    """Means of 2x2 pixels, ``(..., H, W)`` -> ``(..., ceil(H / 2), ceil(W / 2))``."""
    height, width = planes.shape[-2:]
    padded = F.pad(planes.flatten(0, -3), (0, width % 2, 0, height % 2), mode="replicate")
    return F.avg_pool2d(padded, 2).unflatten(0, planes.shape[:-2])


def _blur(planes: Tensor) -> Tensor:
    """Gaussian window over the last two axes, ``(..., H, W)`` -> ``(..., H-10, W-10)``."""
    return _blur_last(_blur_last(planes).mT).mT


def _blur_last(planes: Tensor) -> Tensor:
    """A convolution written as products with a banded matrix: on a CPU several times faster than a depthwise
    convolution."""
    taps = [math.exp(-(offset**2) / (2 * SIGMA**2)) for offset in range(-(WINDOW // 2), WINDOW // 2 + 1)]
    outputs = planes.shape[-1] - WINDOW + 1
    size = min(_BLOCK, outputs)
    band = torch.zeros(size + WINDOW - 1, size, dtype=planes.dtype, device=planes.device)
    for offset, tap in enumerate(taps):
        band.diagonal(-offset).fill_(tap / sum(taps))
    blocks = []
    for start in range(0, outputs, size):
        block = planes[..., start:start + size + WINDOW - 1]
        blocks.append(block @ band[:block.shape[-1], :block.shape[-1] - WINDOW + 1])
    return torch.cat(blocks, dim=-1)
