"""Several processes as one (torchrun): set-up, sums, and who speaks. Everything works unchanged in a single process."""

import os
import sys
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from utils.errors import ToldElsewhere, UserError

_flags = None  # the group that exchanges flags on CPUs: on GPUs asking would wait for all that they have to do


def start(device: torch.device) -> None:
    """Join the group that torchrun prepared, if it did: NCCL for CUDA, gloo otherwise. ``device`` becomes the current one."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what NCCL exchanges objects on
    global _flags
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        # The others wait while one process extracts the videos, which can take hours.
        patience = timedelta(hours=12)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
        _flags = dist.new_group(backend="gloo", timeout=patience) if device.type == "cuda" else dist.group.WORLD
        # One that leaves with an error while others still join would have them fail with what PyTorch says of lost connections.
        dist.barrier(group=_flags)


def stop() -> None:
    global _flags
    if dist.is_initialized():
        dist.destroy_process_group()
        _flags = None


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """True in the one process that prints and writes."""
    return rank() == 0


def barrier() -> None:
    if world_size() > 1:
        dist.barrier()


@contextmanager
def main_first():
    """The first process goes through the body before all others, which then find done what only one has to do. If it fails there, or goes
    away before, the others end with it and leave it to say why."""
    if not is_main():
        try:
            failed = any_of(False)
        except RuntimeError:  # the connection is lost
            failed = True
        if failed:
            raise ToldElsewhere("the first process failed")
        yield
        return
    try:
        yield
    except Exception:
        with suppress(RuntimeError):
            any_of(True)
        raise
    any_of(False)


def warn(text: str) -> None:
    """A warning on standard error, once for all processes."""
    if is_main():
        print(f"warning: {text}", file=sys.stderr, flush=True)


def wait_for_main() -> None:
    """To be called last of all: nobody leaves before the first process is done, as torchrun ends all of them when one fails. If that one
    failed instead, it has said so itself."""
    try:
        barrier()
    except RuntimeError:
        if is_main():
            raise


def any_of(flag: bool) -> bool:
    """True everywhere if ``flag`` is true anywhere."""
    if world_size() == 1:
        return flag
    total = torch.tensor(float(flag))
    dist.all_reduce(total, group=_flags)
    return bool(total.item() > 0)


def gather(value) -> list:
    """``value`` of every process, by rank, in the first process; [] in the others."""
    if world_size() == 1:
        return [value]
    found = [None] * world_size() if is_main() else None
    dist.gather_object(value, found)
    return found or []


def from_main(value):
    """The first process's ``value``, everywhere."""
    if world_size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder)
    return holder[0]


def average(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in place, in one exchange."""
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(mean.view_as(tensor))


def sum_with_gradient(tensor: Tensor) -> Tensor:
    """The sum over processes, through which gradients flow (the backward pass sums the gradients too)."""
    return _Sum.apply(tensor) if world_size() > 1 else tensor


def local_rows(batch_size: int) -> slice:
    """Which rows of a global batch are this process's."""
    world = world_size()
    if batch_size % world:
        raise UserError(f"--batch_size {batch_size} is not a multiple of the {world} processes; take "
                        f"--batch_size {-(-batch_size // world) * world}")
    share = batch_size // world
    return slice(rank() * share, (rank() + 1) * share)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context, tensor):
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient):
        return _Sum.apply(gradient.contiguous())  # itself differentiable: penalties go through the backward pass
