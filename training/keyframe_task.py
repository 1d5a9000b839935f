"""The task of keyframes: an autoencoder for some frames, an interpolator for those between, each with a phase of its own."""

from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.schema import TrainConfig
from models.keyframes import build
from training.optimizers import make_optimizer
from training.pixel_losses import PixelLoss
from training.task import Batch, DataInfo, Phase, Request
from utils.errors import UserError

# A frame half-way whose squared error to a neighbour is so small a share of the neighbours' to each other is that neighbour again, coded
# anew. A steady change alone makes it a quarter.
_REPEAT = 1 / 30
_LEVEL = 2 / 255
_REPEATS_WEIGHT = 0.1
# Settings that ask something of a discriminator, or of a generator trained against one. Without `share_fakes` nothing is asked for.
_ADVERSARIAL = ("lr_d", "loss", "gp", "clip_weights", "d_repeats", "g_every", "compile_penalty", "grow_from", "grow_steps", "grow_fade",
                "r1", "r2", "penalty_every", "pixel_mse", "first_frame_l1", "random_frame", "wrong_labels", "class_ce", "class_ce_d",
                "class_ce_steps", "class_ce_then", "diversity", "mask_l1", "augment", "augment_p", "augment_warmup", "spectral_norm")


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
        self.tells_repeats = hasattr(self.nets["interpolator"], "repeats")
        self.config = config
        self._loss = {"ae": PixelLoss(model.reconstruction, "--model.reconstruction", model.vgg_weights, device),
                      "flow": PixelLoss(model.interpolation, "--model.interpolation", model.vgg_weights, device)}
        self.phases = [Phase(name, self.nets[net], make_optimizer(config, self.nets[net], config.lr))
                       for name, net in (("ae", "autoencoder"), ("flow", "interpolator")) if model.learns in ("both", net)]

    def get_ready(self) -> dict[str, str]:
        """UserError for settings that nothing here could apply; reads the files that the losses of its phases need. Neither is any
        concern of a checkpoint that is there."""
        defaults = {item.name: item.default for item in fields(self.config)}
        vain = [f"--{name} {getattr(self.config, name)}" for name in _ADVERSARIAL if getattr(self.config, name) != defaults[name]]
        if vain:
            raise UserError(f"{', '.join(vain)}: {self.config.family} trains against no discriminator and has nothing that "
                            f"{'it' if len(vain) == 1 else 'they'} could apply to; leave {'it' if len(vain) == 1 else 'them'} out")
        crop, files = self.config.model.crop, {}
        for phase in self.phases:
            self._loss[phase.name].check(crop or self.config.height, crop or self.config.width)
            files |= self._loss[phase.name].load()
        return files

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
            return {**self._loss[phase](made, real), "decibel": decibel(made, real)}
        if not self.tells_repeats:
            made = self.nets["interpolator"](first, second, time)
            return {**self._loss[phase](made, middle), "decibel": decibel(made, middle)}
        parts = self.nets["interpolator"].parts(first, second, time)
        made, repeated = parts["frame"], repeats(first, middle, second, time)
        # A held frame says nothing of motion. Its error is made zero, not left out: the mean must not depend on how a batch is divided.
        shown = self._loss[phase](made, torch.where(repeated.view(-1, 1, 1, 1), made.detach().float(), middle))
        shown["repeats"] = told_apart(parts["repeats"], repeated, first, second)
        return {**shown, "loss": shown["loss"] + _REPEATS_WEIGHT * shown["repeats"], "decibel": decibel(made, middle)}

    def sample(self, nets: dict[str, nn.Module], request: Request) -> Tensor:
        """The real clips (B, 3, T, H, W) remade from their first and last frame: those through the autoencoder, the others
        between."""
        length = request.video.shape[2]
        first, last = (nets["autoencoder"](request.video[:, :, index]).clamp(-1, 1) for index in (0, -1))
        times = [torch.full((len(first),), index / (length - 1), device=first.device) for index in range(1, length - 1)]
        return torch.stack([first, *(nets["interpolator"].restore(first, last, time) for time in times), last], 2)


def decibel(made: Tensor, real: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] each -> PSNR over the batch in dB, a scalar."""
    error = (made.detach().float().clamp(-1, 1) - real).square().mean() / 4
    return -10 * torch.log10(error + 1e-10)


def repeats(first: Tensor, middle: Tensor, second: Tensor, time: Tensor) -> Tensor:
    """(B,): whether the middle frame, at ``time`` (B,) between the others, is one of them again while these differ, as in footage whose
    frames are held. A steady change makes frames that are near in time alike too: errors count by its square."""
    nearer = 2 * torch.minimum(time, 1 - time)
    return torch.minimum(_apart(first, middle), _apart(middle, second)) < _REPEAT * nearer.square() * _apart(first, second)


def told_apart(logits: Tensor, repeated: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """How badly ``logits`` (B,) tell repeated frames. Frames that do not differ by more than a level of 256 count as nothing."""
    differ = _apart(first, second) > _LEVEL**2
    return (F.binary_cross_entropy_with_logits(logits, repeated.float(), reduction="none") * differ).mean()


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of frames (B, 3, H, W), each."""
    return (one - other).square().mean((1, 2, 3))


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
