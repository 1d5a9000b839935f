"""Spectral normalisation of a whole network (Miyato et al. 2018, arXiv 1802.05957)."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from models.layers import in_float32
from models.mlp_gan import Dense
from utils.errors import UserError

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear, nn.Embedding)


class InFloat32(nn.Module):
    """A map of weights (any shape) that is computed in float32 within autocast too: a norm that is rounded to bfloat16 is off by up to
    0.4%, and differently at every step."""

    def __init__(self, function: nn.Module):
        super().__init__()
        self.function = function

    def forward(self, weight: Tensor) -> Tensor:
        with in_float32(weight):
            return self.function(weight)


def normalise_spectrally(net: nn.Module) -> None:
    """Let every convolution, linear layer and embedding of ``net`` work with its weight, as a matrix (outputs, all else), divided by its
    largest singular value; layers that do so already stay as they are.

    Section 2.1 and algorithm 1: each pass in training mode makes one step of the power iteration whose vectors are buffers. The vectors of
    classes that a critic projects on are normalised too (Miyato & Koyama 2018, arXiv 1802.05637).
    """
    modules = list(net.modules())
    if any(isinstance(module, Dense) and len(module.pieces) > 1 for module in modules):
        # The largest singular value of a matrix does not follow from those of its parts.
        raise UserError("--spectral_norm: a layer of this discriminator is so large that it lies in pieces, whose common norm is not "
                        "known; take a smaller --height and --width, narrower --model.widths, or --model.components 256")
    for module in modules:
        if isinstance(module, LAYERS) and not is_parametrized(module, "weight"):
            maps = spectral_norm(module).parametrizations.weight
            maps[0] = InFloat32(maps[0])
