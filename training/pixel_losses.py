"""How far a picture is from the one it should be, by name and weight: "laplacian:1,census:0.5".

A loss is a function of (made, real), both float32 (B, 3, H, W) with pixels in [0, 1], that returns a scalar; a new one needs
nothing but its line in ``LOSSES``.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.vgg import SMALLEST, Perceptual
from utils.errors import UserError

_LAPLACIAN_LEVELS = 5
_CENSUS_SIDE = 7


def l1(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (made - real).abs().mean()


def charbonnier(made: Tensor, real: Tensor, epsilon: float = 1e-3) -> Tensor:
    """A smooth l1: sqrt(d^2 + epsilon^2) (Charbonnier et al. 1994; epsilon as in IFRNet, whose 1e-6 stands under the root)."""
    return ((made - real).square() + epsilon**2).sqrt().mean()


def psnr(made: Tensor, real: Tensor) -> Tensor:
    """Minus the mean PSNR in units of 10 dB: what counts is by how much each frame improves, not how hard it is."""
    return torch.log10((made - real).square().mean((1, 2, 3)) + 1e-7).mean()


def laplacian(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute differences of the levels of a Laplacian pyramid, added up (Bojanowski et al. 2018, arXiv 1707.05776, eq. 3,
    with equal weights): five bands, fewer for frames under 32 pixels, and the rest. The coarser level comes back by bilinear
    interpolation between pixel centres, which lies half a pixel beside where it was taken: bands hold a little of the slope too."""
    total, difference = 0.0, made - real  # the pyramid is linear
    for _ in range(_LAPLACIAN_LEVELS):
        if min(difference.shape[-2:]) < 4:
            break
        coarse = _smooth(difference)[..., ::2, ::2]
        band = difference - F.interpolate(coarse, size=difference.shape[-2:], mode="bilinear", align_corners=False)
        total, difference = total + band.abs().mean(), coarse
    return total + difference.abs().mean()


def _smooth(image: Tensor) -> Tensor:
    """Binomial 1 4 6 4 1 in both directions, edges repeated."""
    taps = torch.tensor([1.0, 4, 6, 4, 1], device=image.device) / 16
    kernel = torch.outer(taps, taps).expand(image.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernel, groups=image.shape[1])


def census(made: Tensor, real: Tensor) -> Tensor:
    """Difference of soft ternary census signatures, 7x7 (Meister et al. 2018, arXiv 1711.07837): what counts is which neighbours
    are lighter or darker, not how light it is. Frames under 7 pixels have no signature: 0."""
    if min(made.shape[-2:]) < _CENSUS_SIDE:
        return (made * 0).sum()
    a, b = _signature(made), _signature(real)
    squared = (a - b).square()
    return (squared / (0.1 + squared)).mean()


def _signature(image: Tensor) -> Tensor:
    grey = (image * image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True) * 255
    half, (height, width) = _CENSUS_SIDE // 2, image.shape[-2:]
    centre = grey[..., half:height - half, half:width - half]
    steps = [(dy, dx) for dy in range(_CENSUS_SIDE) for dx in range(_CENSUS_SIDE) if (dy, dx) != (half, half)]
    around = torch.cat([grey[..., dy:dy + height - 2 * half, dx:dx + width - 2 * half] for dy, dx in steps], 1)
    return (around - centre) / (0.81 + (around - centre).square()).sqrt()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1, "charbonnier": charbonnier, "psnr": psnr, "laplacian": laplacian, "census": census}


class PixelLoss:
    """Several losses by name with their weights, as ``flag`` of the command line gives them in ``text``.

    ``vgg_weights`` is a file for "perceptual", which compares features of a trained network and therefore needs one. Names and weights
    are checked at once; the file is read by :meth:`load` or the first call.
    """

    def __init__(self, text: str, flag: str, vgg_weights: str | None, device: torch.device):
        self.terms: dict[str, tuple[float, Callable]] = {}
        self._given = f"{flag} {text}"
        for part in text.split(","):
            name, _, weight = (word.strip() for word in part.partition(":"))
            if name not in LOSSES and name != "perceptual":
                raise UserError(f"{flag} {text}: {name!r} is not one of {', '.join(LOSSES)}, perceptual; "
                                "write for example l1:1,census:0.5")
            if name in self.terms:
                raise UserError(f"{flag} {text}: {name} stands there twice; give it one weight")
            function = Perceptual(vgg_weights, device) if name == "perceptual" else LOSSES[name]
            self.terms[name] = _weight(weight, flag, text), function

    def check(self, height: int, width: int) -> None:
        """UserError if frames of this size are too small for one of the losses."""
        if "perceptual" in self.terms and min(height, width) < SMALLEST:
            raise UserError(f"{self._given}: perceptual needs at least {SMALLEST}x{SMALLEST} pixels, these are {height}x{width}; "
                            "take larger frames or crops, or another loss")

    def load(self) -> dict[str, str]:
        """Read what the losses need from files, whose contents it tells by the flags that name them. UserError if one cannot be used."""
        found = {}
        for _, function in self.terms.values():
            if isinstance(function, Perceptual):
                function.load()
                found["--model.vgg_weights"] = function.content()
        return found

    def __call__(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) in [-1, 1] each -> every term by name, and their weighted sum "loss"; float32 also under autocast."""
        with torch.autocast(made.device.type, enabled=False):
            pair = (made.float() + 1) / 2, (real.float() + 1) / 2
            shown = {name: function(*pair) for name, (_, function) in self.terms.items()}
        return {"loss": sum(self.terms[name][0] * value for name, value in shown.items()), **shown}


def _weight(word: str, flag: str, text: str) -> float:
    try:
        weight = float(word or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UserError(f"{flag} {text}: {word!r} is no weight; write a number above 0, for example l1:1")
    return weight
