"""One optimiser step of one phase: freeze, forward, backward, average, clip, update."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from configs.schema import TrainConfig
from training.task import Batch, Noise, Phase, Task
from utils import distributed, hardware
from utils.seeds import derive


def to_float(video: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, T, H, W, 3) anywhere -> float32 (B, 3, T, H, W) in [-1, 1] on ``device``, colours last in memory."""
    return (video.to(device, non_blocking=True).permute(0, 4, 1, 2, 3).float() / 127.5).sub_(1)


def run_phase(task: Task, phase: Phase, raw: dict[str, Tensor], config: TrainConfig, *, step: int, repeat: int,
              device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Train ``phase.module`` on this process's clips. Returns detached scalars: the losses, "grad_norm".

    The batch may be taken in parts (``config.accumulate``): gradients are those of the mean over the whole batch.
    """
    _only_learns(task, phase.module)
    keys = (config.seed, step, phase.name, repeat)
    # Dropout and its like draw from torch's own generator, which thereby is a function of (seed, rank, step) too.
    torch.manual_seed(derive(*keys, "torch", distributed.rank()))
    phase.optimizer.zero_grad(set_to_none=True)
    first = distributed.local_rows(config.batch_size).start
    size = len(raw["video"]) // config.accumulate
    totals: dict[str, Tensor] = {}
    for part in range(config.accumulate):
        rows = slice(part * size, (part + 1) * size)
        video = to_float(raw["video"][rows], device)
        if config.flip:
            video = _flip(video, Noise((*keys, "flip"), _shift(rows, first), config.batch_size, device))
        batch = Batch(video, raw["label"][rows].to(device), Noise(keys, _shift(rows, first), config.batch_size, device), step)
        with hardware.autocast(dtype, device):
            losses = task.losses(phase.name, batch)
        (losses["loss"].float() / config.accumulate).backward()
        for name, value in losses.items():
            totals[name] = totals.get(name, 0) + value.detach().float() / config.accumulate
    gradients = [parameter.grad for parameter in phase.module.parameters() if parameter.grad is not None]
    distributed.average(gradients)
    totals["grad_norm"] = nn.utils.get_total_norm(gradients)
    if config.clip_grad:
        nn.utils.clip_grads_with_norm_(phase.module.parameters(), config.clip_grad, totals["grad_norm"])
    phase.optimizer.step()
    if phase.clamp is not None:
        with torch.no_grad():
            for parameter in phase.module.parameters():
                parameter.clamp_(-phase.clamp, phase.clamp)
    return totals


def _only_learns(task: Task, module: nn.Module) -> None:
    """No gradients for the frozen networks: it is faster, and nothing but the phase's module can change."""
    for net in task.nets.values():
        net.requires_grad_(False)
    module.requires_grad_(True)
    # A frozen spectral norm would still iterate its singular vectors, which are buffers, at every forward pass.
    for part in (part for net in task.nets.values() for part in net.modules()):
        if isinstance(part, ParametrizationList):
            part.train(part.original.requires_grad)


def _flip(video: Tensor, noise: Noise) -> Tensor:
    mirrored = noise.uniform("flip") < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1, 1), video.flip(-1), video)


def _shift(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)
