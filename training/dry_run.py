"""``--dry_run``: what a run would be, without writing anything into its directory."""

import time

import torch
import yaml

from configs.schema import TrainConfig
from data.batches import Batches
from training.setup import Setup, prepare
from training.step import run_phase


def dry_run(config: TrainConfig) -> int:
    """Print the resolved config, parameters, a memory estimate and one measured step."""
    setup = prepare(config)
    print(yaml.safe_dump(config.as_dict(), sort_keys=False).rstrip())
    print(f"\nvideos         {setup.dataset.num_frames:,} frames, {len(setup.dataset):,} clips of {config.frames}, "
          f"{len(setup.dataset.classes)} class(es), {setup.dataset.fps:g} fps")
    for name, net in setup.task.nets.items():
        print(f"{name:<14} {sum(parameter.numel() for parameter in net.parameters()):,} parameters")
    batches = Batches(setup.dataset, config.batch_size, config.seed, ordered=config.ordered, m_per_class=config.m_per_class)
    seconds, peak = _measure(setup, batches)
    batches.close()
    print(f"steps          {setup.steps:,}")
    print(f"arithmetic     {str(setup.dtype).removeprefix('torch.')} on {setup.device}")
    print(f"memory         about {_state_bytes(setup) / 2**20:,.0f} MiB for weights, moments and averages; {peak}")
    print(f"one step       {seconds:.3f} s, so about {_clock(seconds * setup.steps)} in all")
    return 0


def _measure(setup: Setup, batches: Batches) -> tuple[float, str]:
    """Seconds of the second step (the first one allocates), and the highest memory use seen."""
    cuda = setup.device.type == "cuda"
    seconds = 0.0
    for step in (1, 2):
        raw = batches.at(step)
        start = time.perf_counter()
        for phase in setup.task.phases:
            for repeat in range(phase.repeats):
                run_phase(setup.task, phase, raw, setup.config, step=step, repeat=repeat, device=setup.device, dtype=setup.dtype)
        if cuda:
            torch.cuda.synchronize(setup.device)
        seconds = time.perf_counter() - start
    if cuda:
        return seconds, f"peak on the device {torch.cuda.max_memory_allocated(setup.device) / 2**20:,.0f} MiB"
    import resource
    return seconds, f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB"


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
