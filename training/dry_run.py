"""``--dry_run``: what a run would be, without writing anything into its directory."""

import sys
import time
from math import lcm

import torch
import yaml

from configs.schema import TrainConfig
from data.batches import Batches
from training.growth import grown_at
from training.setup import Setup, prepare
from training.step import run_phase
from utils import distributed


def dry_run(config: TrainConfig) -> int:
    """Print the resolved config, parameters, a memory estimate and how long measured steps took, at full size."""
    setup = prepare(config)
    if distributed.is_main():
        _introduce(setup)
    batches = Batches(setup.dataset, config.batch_size, config.seed, ordered=config.ordered, m_per_class=config.m_per_class,
                      rank=distributed.rank(), world=distributed.world_size())
    measured, peak = _measure(setup, batches)
    batches.close()
    if distributed.is_main():
        print(f"steps          {setup.steps:,}")
        print(f"arithmetic     {str(setup.dtype).removeprefix('torch.')} on {setup.device}")
        print(f"memory         about {_state_bytes(setup) / 2**20:,.0f} MiB for weights, optimiser state and averaged weights; {peak}")
        print(f"one step       {_told(measured, setup)}")
    distributed.stop()
    return 0


def _introduce(setup: Setup) -> None:
    config = setup.config
    print(yaml.safe_dump(config.as_dict(), sort_keys=False).rstrip())
    print(f"\nvideos         {setup.dataset.num_frames:,} frames, {len(setup.dataset):,} clips of {config.frames}, "
          f"{len(setup.dataset.classes)} class(es), {setup.dataset.fps:g} fps")
    for name, net in setup.task.nets.items():
        print(f"{name:<14} {sum(parameter.numel() for parameter in net.parameters()):,} parameters", flush=True)


def _kinds(setup: Setup) -> dict[int, float]:
    """Steps that do different work, each with the share of all steps that do the same, from the first on at which networks that grow
    have grown: before, steps need less. The first of them does all that any does."""
    config, phases = setup.config, setup.task.phases
    lazy = config.penalty_every if config.r1 or config.r2 else 1
    period = lcm(lazy, *(phase.every for phase in phases))
    first = -(-grown_at(config) // period) * period
    alike = {}
    for step in range(first, first + period):
        alike.setdefault((step % lazy == 0, *(phase.due(step) for phase in phases)), []).append(step)
    return {steps[0]: len(steps) / period for steps in alike.values()}


def _measure(setup: Setup, batches: Batches) -> tuple[list[tuple[float, float]], str]:
    """(share, seconds) of each kind of step, and the highest memory use seen. What does everything is done once before, as the first time
    allocates and compiles."""
    kinds, measured = _kinds(setup), []
    for position, step in enumerate([next(iter(kinds)), *kinds]):
        raw = batches.at(position)
        start = time.perf_counter()
        _take(setup, raw, step)
        measured.append((kinds[step], time.perf_counter() - start))
    if setup.device.type == "cuda":
        return measured[1:], f"peak on the device {torch.cuda.max_memory_allocated(setup.device) / 2**20:,.0f} MiB"
    import resource
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, elsewhere kilobytes
    return measured[1:], f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:,.0f} MiB"


def _take(setup: Setup, raw: dict[str, torch.Tensor], step: int) -> None:
    """Every phase that is due at ``step``, waited for."""
    for phase in setup.task.phases:
        for repeat in range(phase.repeats if phase.due(step) else 0):
            run_phase(setup.task, phase, raw, setup.config, step=step, repeat=repeat, device=setup.device, dtype=setup.dtype)
    if setup.device.type == "cuda":
        torch.cuda.synchronize(setup.device)


def _told(measured: list[tuple[float, float]], setup: Setup) -> str:
    """Seconds of the average step and of the whole run."""
    mean, each = sum(share * seconds for share, seconds in measured), [seconds for _, seconds in measured]
    spread = f" on average ({min(each):.3f} to {max(each):.3f})" if len(each) > 1 else ""
    most = " at full size, so at most" if setup.config.grow_from else ", so"
    return f"{mean:.3f} s{spread}{most} about {_clock(mean * setup.steps)} in all"


def _state_bytes(setup: Setup) -> int:
    """Weights, the moments that the optimisers hold after the steps just made, and the averaged copies."""
    nets = setup.task.nets
    tensors = [value for net in nets.values() for value in net.parameters()]
    tensors += [value for phase in setup.task.phases for state in phase.optimizer.state.values() for value in state.values()]
    tensors += [value for name in setup.task.ema if setup.config.ema for value in nets[name].parameters()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
