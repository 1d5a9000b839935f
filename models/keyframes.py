"""Keyframes: an autoencoder that keeps a fraction of a frame, and beside it the two small networks of the published system.

The published ones are github.com/Aurits/video_generation_project's: an autoencoder whose code is larger than the frame, and an
interpolator of three convolutions, kept to measure ours against.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.interpolator import Interpolator
from models.layers import in_float32
from models.warp import backward_warp, pad_to
from utils.errors import UserError

_LEVELS = 127  # a value of the code is one of -127..127, so one byte keeps it


@dataclass
class KeyframesConfig:
    """The two networks, their losses, and how clips become keyframes and targets."""

    networks: Literal["pyramid", "published"] = "pyramid"
    """Ours (a bottleneck; motion from coarse to fine), or the tiny ones of the published code."""
    learns: Literal["both", "autoencoder", "interpolator"] = "both"
    """Which of the two is trained; the other stays as it was initialised."""
    ae_width: int = 48
    """Channels of the autoencoder at half size."""
    ae_downsampling: int = 8
    """The code is this many times lower and narrower than the frame; a power of two."""
    ae_channels: int = 16
    """Channels of the code. It keeps ae_channels / (3 ae_downsampling^2) values per value of the frame: 16 at 8 is 1/12."""
    flow_width: int = 16
    """Channels of the interpolator at half size."""
    flow_levels: int = 4
    """Halvings at which the interpolator looks for motion."""
    reconstruction: str = "charbonnier:1"
    """Losses of the autoencoder, NAME:WEIGHT with commas between: l1, charbonnier, laplacian, census, psnr, perceptual."""
    interpolation: str = "laplacian:1,census:0.1"
    """Losses of the interpolator, likewise."""
    vgg_weights: str | None = None
    """VGG16 weights for the perceptual loss, a .safetensors file."""
    crop: int | None = None
    """Train on squares of this side, cut out at random; the whole frame if not given."""
    symmetries: bool = True
    """Mirror clips in both directions and in time, each at random."""


class Autoencoder(nn.Module):
    """A frame of any size <-> a code of one byte per value.

    It begins as the lowest frequencies of a block cosine transform, as JPEG keeps them, and learns that and all that convolutions can add.
    ``downsampling``: a power of two, the side of a block; ``channels`` of the code;
    ``width`` of the widest feature map, which doubles once.
    """

    def __init__(self, width: int = 48, downsampling: int = 8, channels: int = 16):
        super().__init__()
        if downsampling < 2 or downsampling & (downsampling - 1):
            raise UserError(f"--model.ae_downsampling {downsampling}: must be a power of two, 2 or more")
        self.downsampling, self.channels = downsampling, channels
        halvings = downsampling.bit_length() - 1
        widths = [width] + [2 * width] * (halvings - 1)
        # Pixels move into channels and back, which loses nothing; the convolutions decide what to keep.
        down, up = [], []
        for before, here in zip([3, *widths], widths):
            down += [nn.PixelUnshuffle(2), nn.Conv2d(4 * before, here, 3, 1, 1), _Residual(here)]
            up = [_Residual(here), nn.Conv2d(here, 4 * before, 3, 1, 1), nn.PixelShuffle(2), *up]
        self.encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], channels, 1))
        self.decoder = nn.Sequential(nn.Conv2d(channels, widths[-1], 3, 1, 1), _Residual(widths[-1]), *up)
        self.transform = nn.Conv2d(3, channels, downsampling, downsampling, bias=False)
        self.inverse = nn.ConvTranspose2d(channels, 3, downsampling, downsampling, bias=False)
        basis, gain = cosines(downsampling, channels)
        with torch.no_grad():
            self.transform.weight.copy_(basis * gain)
            self.inverse.weight.copy_(basis / gain)
            for last in (self.encoder[-1], up[-2]):
                last.weight.zero_()
                last.bias.zero_()

    @property
    def kept(self) -> float:
        """Values of the code per value of the frame."""
        return self.channels / (3 * self.downsampling**2)

    def encode(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, channels, ceil(H / downsampling), ceil(W / downsampling)), multiples of 1/127 in [-1,
        1]. Rounding passes the gradient on as it is (Theis et al. 2017, arXiv 1703.00395, section 2.1)."""
        frames = pad_to(frames, self.downsampling)
        code = torch.tanh(_float32(self.transform, frames) + self.encoder(frames).float())
        rounded = (code * _LEVELS).round() / _LEVELS
        return rounded.detach() + (code - code.detach())

    def decode(self, code: Tensor, height: int, width: int) -> Tensor:
        """The inverse, cut to ``height`` x ``width``: float32 (B, 3, height, width)."""
        most = 1 - 0.5 / _LEVELS  # beyond it atanh has no end
        frames = _float32(self.inverse, torch.atanh(code.float().clamp(-most, most))) + self.decoder(code).float()
        return frames[..., :height, :width]

    @staticmethod
    def pack(code: Tensor) -> bytes:
        """What has to be kept of a code: one byte per value."""
        return (code * _LEVELS).round().to(torch.int8).cpu().numpy().tobytes()

    @staticmethod
    def unpack(packed: bytes, shape: torch.Size) -> Tensor:
        """The inverse of :meth:`pack`, exactly."""
        return torch.frombuffer(bytearray(packed), dtype=torch.int8).view(shape).float() / _LEVELS

    def forward(self, frames: Tensor) -> Tensor:
        """Frames after being kept as codes: (B, 3, H, W) in about [-1, 1]."""
        return self.decode(self.encode(frames), *frames.shape[-2:])


def cosines(side: int, number: int) -> tuple[Tensor, Tensor]:
    """The ``number`` most telling filters (number, 3, side, side) of an orthonormal transform of RGB blocks: cosines (DCT-II) of lightness
    and two colour differences, low frequencies first, those of colour counting double; zeros beyond 3 side^2. And for each the factor
    (number, 1, 1, 1) that brings what frames in [-1, 1] show of it into about [-1, 1]."""
    places = (torch.arange(side) + 0.5) * math.pi / side
    waves = torch.stack([torch.cos(places * frequency) * math.sqrt((1 if frequency == 0 else 2) / side) for frequency in range(side)])
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
    colours = colours / colours.norm(dim=1, keepdim=True)
    order = sorted((((1 + y + x) * (2 if colour else 1), colour, y, x)
                    for colour in range(3) for y in range(side) for x in range(side)))[:number]
    basis, gain = torch.zeros(number, 3, side, side), torch.ones(number, 1, 1, 1)
    for index, (_, colour, y, x) in enumerate(order):
        basis[index] = colours[colour].view(3, 1, 1) * torch.outer(waves[y], waves[x])
        gain[index] = (1 if colour == y == x == 0 else 2) / (math.sqrt(3) * side)
    return basis, gain


def _float32(layer: nn.Module, x: Tensor) -> Tensor:
    """What a pixel is must not be rounded to bfloat16."""
    with in_float32(x):
        return layer(x.float())


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(nn.PReLU(width), nn.Conv2d(width, width, 3, 1, 1),
                                  nn.PReLU(width), nn.Conv2d(width, width, 3, 1, 1))
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class PublishedAutoencoder(nn.Module):
    """As published: 90,659 parameters, and a code of 64 channels at a quarter of each side, 4/3 values per value of the frame."""

    kept = 64 / 48

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
                                     nn.Conv2d(64, 64, 3, 1, 1))
        self.decoder = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(),
                                     nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Sigmoid())

    def encode(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 64, ceil(H / 4), ceil(W / 4))."""
        return self.encoder((pad_to(frames, 4) + 1) / 2).float()

    def decode(self, code: Tensor, height: int, width: int) -> Tensor:
        """The inverse: float32 (B, 3, height, width) in [-1, 1]."""
        return self.decoder(code).float()[..., :height, :width] * 2 - 1

    @staticmethod
    def pack(code: Tensor) -> bytes:
        """Four bytes per value: nothing published says how they would be rounded."""
        return code.float().cpu().numpy().tobytes()

    @staticmethod
    def unpack(packed: bytes, shape: torch.Size) -> Tensor:
        """The inverse of :meth:`pack`."""
        return torch.frombuffer(bytearray(packed), dtype=torch.float32).view(shape)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same shape."""
        return self.decode(self.encode(frames), *frames.shape[-2:])


class PublishedInterpolator(nn.Module):
    """As published: 14,213 parameters. One motion of the first frame from seven pixels around, in units of half the way from the
    first pixel to the last, times t; the warped first frame and the second are then mixed by two convolutions."""

    def __init__(self):
        super().__init__()
        self.motion = nn.Sequential(nn.Conv2d(6, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(),
                                    nn.Conv2d(32, 2, 3, 1, 1))
        self.refine = nn.Sequential(nn.Conv2d(6, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 3, 3, 1, 1), nn.Sigmoid())

    def forward(self, first: Tensor, second: Tensor, time: Tensor) -> Tensor:
        """``first``, ``second`` (B, 3, H, W) in [-1, 1], ``time`` (B,) in [0, 1] -> (B, 3, H, W)."""
        frames = (torch.cat([first, second], 1) + 1) / 2
        half = (torch.tensor(first.shape[:-3:-1], device=first.device).view(1, 2, 1, 1) - 1) / 2
        warped = backward_warp(frames[:, :3], self.motion(frames).float() * half * time.view(-1, 1, 1, 1))
        return self.refine(torch.cat([warped, frames[:, 3:]], 1)).float() * 2 - 1

    def restore(self, first: Tensor, second: Tensor, time: Tensor) -> Tensor:
        """The same: it does not know held footage from moving."""
        return self(first, second, time)


def build(config: KeyframesConfig) -> dict[str, nn.Module]:
    """The autoencoder and the interpolator; UserError for sizes that cannot be built."""
    for name in ("ae_width", "ae_channels", "flow_width", "flow_levels"):
        if getattr(config, name) < 1:
            raise UserError(f"--model.{name} {getattr(config, name)}: must be at least 1")
    if config.networks == "published":
        return {"autoencoder": PublishedAutoencoder(), "interpolator": PublishedInterpolator()}
    try:
        interpolator = Interpolator(config.flow_width, config.flow_levels)
    except ValueError as error:
        raise UserError(f"--model.flow_width {config.flow_width} --model.flow_levels {config.flow_levels}: {error}") from None
    return {"autoencoder": Autoencoder(config.ae_width, config.ae_downsampling, config.ae_channels), "interpolator": interpolator}
