"""The task of keyframes: an autoencoder for some frames, an interpolator for those between, each with a phase of its own."""

import torch
from torch import Tensor, nn

from configs.schema import TrainConfig
from models.keyframes import build
from training.optimizers import make_optimizer
from training.pixel_losses import PixelLoss
from training.task import Batch, DataInfo, Phase, Request
from utils.errors import UserError


class KeyframeTask:
    """Trains on real frames between: from a clip of T >= 3 frames, the first and last of a stretch chosen at random are the
    keyframes, and one of the real frames between them is what the interpolator has to make, told its true time."""

    ema = ("autoencoder", "interpolator")
    latent_dim = 0
    wants_video = True

    def __init__(self, config: TrainConfig, info: DataInfo, device: torch.device):
        model = config.model
        if config.frames < 3:
            raise UserError(f"--frames {config.frames}: keyframes learns from a frame between two others; give at least 3")
        if model.crop is not None and not 1 <= model.crop <= min(config.height, config.width):
            raise UserError(f"--model.crop {model.crop}: must be from 1 to the frame's shorter side, "
                            f"{min(config.height, config.width)}")
        self.nets = {name: net.to(device) for name, net in build(model).items()}
        self.config = config
        self._loss = {"ae": PixelLoss(model.reconstruction, "--model.reconstruction", model.vgg_weights, device),
                      "flow": PixelLoss(model.interpolation, "--model.interpolation", model.vgg_weights, device)}
        self.phases = [Phase(name, self.nets[net], make_optimizer(config, self.nets[net], config.lr))
                       for name, net in (("ae", "autoencoder"), ("flow", "interpolator")) if model.learns in ("both", net)]

    def losses(self, phase: str, batch: Batch) -> dict[str, Tensor]:
        """"ae": keyframes against themselves. "flow": a frame between against the real one. With every term of the loss, and the
        PSNR in dB over the batch."""
        first, middle, second, time = stretches(batch)
        if self.config.model.symmetries:
            first, middle, second, time = mirrored(batch, first, middle, second, time)
        if self.config.model.crop:
            first, middle, second = cropped(batch, self.config.model.crop, first, middle, second)
        if phase == "ae":
            real = torch.cat([first, second])
            made = self.nets["autoencoder"](real)
        else:
            real, made = middle, self.nets["interpolator"](first, second, time)
        error = (made.detach().float().clamp(-1, 1) - real).square().mean() / 4
        return {**self._loss[phase](made, real), "decibel": -10 * torch.log10(error + 1e-10)}

    def sample(self, nets: dict[str, nn.Module], request: Request) -> Tensor:
        """The real clips (B, 3, T, H, W) remade from their first and last frame: those through the autoencoder, the others
        between."""
        length = request.video.shape[2]
        first, last = (nets["autoencoder"](request.video[:, :, index]).clamp(-1, 1) for index in (0, -1))
        times = [torch.full((len(first),), index / (length - 1), device=first.device) for index in range(1, length - 1)]
        return torch.stack([first, *(nets["interpolator"](first, last, time) for time in times), last], 2)


def stretches(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From each clip the ends of a random stretch of three or more frames and one frame between: (first, middle, second) of
    (B, 3, H, W) each, and the middle one's time (B,), in (0, 1)."""
    clips = batch.video.shape[2]
    draws = batch.noise.uniform("stretch", 3)
    span = 2 + _below(draws[:, 0], torch.full_like(draws[:, 0], clips - 2))
    start = _below(draws[:, 1], clips - span)
    step = 1 + _below(draws[:, 2], span - 1)
    rows = torch.arange(len(span), device=batch.video.device)
    first, middle, second = (batch.video[rows, :, index.long()] for index in (start, start + step, start + span))
    return first, middle, second, step / span


def _below(uniform: Tensor, count: Tensor) -> Tensor:
    """A whole number from 0 to ``count`` - 1."""
    return (uniform * count).floor().clamp(max=count - 1)


def mirrored(batch: Batch, first: Tensor, middle: Tensor, second: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each clip left to right, top to bottom and backwards in time, each with a chance of one half."""
    chosen = batch.noise.uniform("mirrored", 3) < 0.5
    backwards = chosen[:, 0].view(-1, 1, 1, 1)
    frames = torch.where(backwards, second, first), middle, torch.where(backwards, first, second)
    for column, axis in ((1, -1), (2, -2)):
        frames = tuple(torch.where(chosen[:, column].view(-1, 1, 1, 1), frame.flip(axis), frame) for frame in frames)
    return (*frames, torch.where(chosen[:, 0], 1 - time, time))


def cropped(batch: Batch, side: int, *frames: Tensor) -> list[Tensor]:
    """The same random square of every frame of a clip."""
    height, width = frames[0].shape[-2:]
    draws = batch.noise.uniform("crop", 2)
    ys = _below(draws[:, 0], torch.full_like(draws[:, 0], height - side + 1)).long().tolist()
    xs = _below(draws[:, 1], torch.full_like(draws[:, 1], width - side + 1)).long().tolist()
    return [torch.stack([frame[row, :, y:y + side, x:x + side] for row, (y, x) in enumerate(zip(ys, xs))]) for frame in frames]
