"""One DCGAN training step at 160x320 beside a plain float32 PyTorch loop over the same networks.

    python -m benchmarks.step            # prints and writes benchmarks/results/step.json

Both make one discriminator and one generator update with Adam and cross-entropy on the same real frames. The plain loop is the
shape of PyTorch's own DCGAN example: float32, contiguous, discriminator on real and on generated frames apart, one generator
forward for both updates. Ours is what train.py runs, logging and averaging of the generator included. The two take turns, so
that a busy machine slows both; the ratio is taken turn by turn. Each runs in a process of its own, because train.py changes how memory
is handed back to the system and the plain loop does not.
"""

import argparse
import copy
import json
import multiprocessing
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import command, describe, summary
from configs.cli import parse
from configs.schema import TrainConfig
from training.ema import Averaged
from training.registry import MODELS
from training.setup import build_task
from training.step import run_phase
from training.task import DataInfo
from utils import hardware
from utils.files import write_json

CPU = torch.device("cpu")


def plain_loop(nets: dict, real: torch.Tensor, config: TrainConfig):
    """The textbook step on float32 copies of ``nets``."""
    generator, discriminator = (copy.deepcopy(nets[name]).to(memory_format=torch.contiguous_format)
                                for name in ("generator", "discriminator"))
    betas = (config.beta1, config.beta2)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=config.lr_d or config.lr, betas=betas)
    optimizer_g = torch.optim.Adam(generator.parameters(), lr=config.lr, betas=betas)
    ones, zeros = torch.ones(len(real)), torch.zeros(len(real))

    def step():
        discriminator.zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(real), ones).backward()
        fake = generator(torch.randn(len(real), config.model.latent_dim))
        F.binary_cross_entropy_with_logits(discriminator(fake.detach()), zeros).backward()
        optimizer_d.step()
        generator.zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(fake), ones).backward()
        optimizer_g.step()
    return step


def our_loop(task, raw: dict, config: TrainConfig, dtype: torch.dtype):
    average = Averaged({"generator": task.nets["generator"]}, config.ema)
    number = 0

    def step():
        nonlocal number
        number += 1
        for phase in task.phases:
            values = run_phase(task, phase, raw, config, step=number, repeat=0, device=CPU, dtype=dtype)
            torch.stack(list(values.values())).tolist()
        average.update(task.nets, number)
    return step


def timed(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def serve(pipe, kind: str, config: TrainConfig) -> None:
    """A process that makes one step of ``kind`` whenever it is asked to, and answers with the seconds it took."""
    task = build_task(config, DataInfo())
    frames = torch.randint(0, 256, (config.batch_size, 1, config.height, config.width, 3), dtype=torch.uint8)
    if kind == "plain":
        step = plain_loop(task.nets, (frames[:, 0].permute(0, 3, 1, 2).float() / 127.5 - 1).unsqueeze(2).contiguous(), config)
    else:
        hardware.keep_freed_memory()
        dtype = torch.float32 if "float32" in kind else hardware.pick_dtype("auto", CPU)
        step = our_loop(task, {"video": frames, "label": torch.zeros(config.batch_size, dtype=torch.int64)}, config, dtype)
    while pipe.recv():
        pipe.send(timed(step))


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """GFLOP/s of a square matrix product, the best of ten."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    return 2 * size**3 / min(timed(lambda: a @ b) for _ in range(10)) / 1e9


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--config", default="configs/dcgan.yaml")
    options.add_argument("--batch_size", type=int, default=16)
    options.add_argument("--turns", type=int, default=15)
    options.add_argument("--output", default="benchmarks/results/step.json")
    given = options.parse_args()
    # The comparison is of the same work: no penalty, no augmentation, cross-entropy on both sides.
    config = parse(TrainConfig, ["--config", given.config, "--batch_size", str(given.batch_size), "--loss", "bce", "--r1", "0", "--r2", "0",
                                 "--augment", ""], models=MODELS)
    dtype = hardware.pick_dtype("auto", CPU)
    with FlopCounterMode(display=False) as counter:
        real = torch.zeros(config.batch_size, 3, 1, config.height, config.width)
        plain_loop(build_task(config, DataInfo()).nets, real, config)()
    flops = counter.get_total_flops()
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for kind in ("plain", "ours", "ours in float32"):
        pipes[kind], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, kind, config), daemon=True).start()
    seconds = {kind: [] for kind in pipes}
    rates = []
    for turn in range(given.turns + 2):  # the first two warm up
        for kind, pipe in pipes.items():
            pipe.send(True)
            seconds[kind].append(pipe.recv())
        rates.append(matmul_rate(dtype))
    for pipe in pipes.values():
        pipe.send(False)
    seconds = {kind: values[2:] for kind, values in seconds.items()}
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"])]
    rate = statistics.median(rates)
    result = {"command": command(),
              "machine": describe(), "arithmetic": str(dtype), "seconds": {name: summary(values) for name, values in seconds.items()},
              "speedup": summary(ratios), "gflop_of_the_plain_step": flops / 1e9, "matmul_gflops": summary(rates),
              "share_of_matmul_rate": flops / 1e9 / statistics.median(seconds["ours"]) / rate}
    Path(given.output).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(given.output), result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
