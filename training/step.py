"""One optimiser step of one phase: freeze, forward, backward, average, clip, update."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from configs.schema import TrainConfig
from training.task import Batch, Noise, Phase, Task
from utils import distributed, hardware
from utils.seeds import derive


def to_float(video: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, T, H, W, 3) anywhere -> float32 (B, 3, T, H, W) in [-1, 1] on ``device``, colours last in memory."""
    return (hardware.upload(video, device).permute(0, 4, 1, 2, 3).float() / 127.5).sub_(1)


def run_phase(task: Task, phase: Phase, raw: dict[str, Tensor], config: TrainConfig, *, step: int, repeat: int,
              device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Train ``phase.module`` on this process's clips. Returns detached scalars: the losses, "grad_norm".

    The batch may be taken in parts (``config.accumulate``): gradients are those of the mean over the whole batch.
    """
    _only_learns(task, phase)
    keys = (config.seed, step, phase.name, repeat)
    # Dropout and its like draw from torch's own generator, which thereby is a function of (seed, rank, step) too.
    torch.manual_seed(derive(*keys, "torch", distributed.rank()))
    first = distributed.local_rows(config.batch_size).start
    size = len(raw["video"]) // config.accumulate
    totals: dict[str, Tensor] = {}
    for part in range(config.accumulate):
        rows = slice(part * size, (part + 1) * size)
        video = to_float(raw["video"][rows], device)
        if config.flip:
            video = _flip(video, Noise((*keys, "flip"), _shift(rows, first), config.batch_size, device))
        batch = Batch(video, hardware.upload(raw["label"][rows], device), Noise(keys, _shift(rows, first), config.batch_size, device), step)
        with hardware.autocast(dtype, device):
            losses = task.losses(phase.name, batch)
        with _updated_while_backward(phase, config) as norms:
            (losses["loss"].float() / config.accumulate).backward()
        for name, value in losses.items():
            totals[name] = totals.get(name, 0) + value.detach().float() / config.accumulate
    gradients = [parameter.grad for parameter in phase.module.parameters() if parameter.grad is not None]
    distributed.average(gradients)
    totals["grad_norm"] = nn.utils.get_total_norm(gradients + norms)  # the norm of norms is the norm of the whole
    if config.clip_grad:
        nn.utils.clip_grads_with_norm_(phase.module.parameters(), config.clip_grad, totals["grad_norm"])
    phase.optimizer.step()
    if phase.clamp is not None:
        with torch.no_grad():
            for parameter in phase.module.parameters():
                parameter.clamp_(-phase.clamp, phase.clamp)
    return totals


@contextmanager
def _updated_while_backward(phase: Phase, config: TrainConfig) -> Iterator[list[Tensor]]:
    """Each parameter is updated as soon as its gradient is whole, and the gradient freed: never more than a few exist at a time.
    Gives the list that the gradients' norms go to.

    Only with an optimiser whose parameters do not depend on each other (it has ``update``), and where nothing is done to gradients
    after the backward pass; else nothing happens here. Autograd calls the hook of a parameter after all that read it has run, and
    refuses to go on if anything saved was changed, so the result is that of a step afterwards.
    """
    norms: list[Tensor] = []
    if not hasattr(phase.optimizer, "update") or config.accumulate > 1 or config.clip_grad or distributed.world_size() > 1:
        yield norms
        return

    def update(parameter: Tensor, group: dict) -> None:
        norms.append(torch.linalg.vector_norm(parameter.grad))
        phase.optimizer.update(parameter, group)
        parameter.grad = None

    handles = [parameter.register_post_accumulate_grad_hook(partial(update, group=group))
               for group in phase.optimizer.param_groups for parameter in group["params"]]
    try:
        yield norms
    finally:
        for handle in handles:
            handle.remove()


def _only_learns(task: Task, phase: Phase) -> None:
    """No gradients for the frozen networks, old ones neither: it is faster, and nothing but the phase's module can change."""
    for net in task.nets.values():
        net.zero_grad(set_to_none=True)
        net.requires_grad_(False)
    phase.module.requires_grad_(True)
    # A frozen spectral norm would still iterate its singular vectors, which are buffers, at every forward pass.
    for part in (part for net in task.nets.values() for part in net.modules()):
        if isinstance(part, ParametrizationList):
            part.train(part.original.requires_grad)


def _flip(video: Tensor, noise: Noise) -> Tensor:
    mirrored = noise.uniform("flip") < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1, 1), video.flip(-1), video)


def _shift(rows: slice, by: int) -> slice:
    return slice(rows.start + by, rows.stop + by)
