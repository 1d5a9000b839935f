"""HRVGAN's gradient penalty with --compile_penalty beside without: seconds of the penalty and its backward pass through the critic.

    python -m benchmarks.penalty         # prints a table, writes benchmarks/results/penalty.json

Both are of the same critic (``--config``, at ``--height``) on the same clips and take turns; the ratio is taken turn by turn. The time
that compiling takes stands beside them.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from benchmarks.machine import describe, summary
from configs.cli import parse
from configs.schema import TrainConfig
from training.losses import lipschitz_penalty, squared_slopes
from training.penalty import CompiledSlopes
from training.registry import MODELS
from training.setup import build_task
from training.task import DataInfo
from utils import hardware
from utils.files import write_json

CPU = torch.device("cpu")
CLASSES = 8


def measure(config: TrainConfig, precision: str, turns: int) -> dict:
    critic = build_task(config, DataInfo([str(number) for number in range(CLASSES)])).nets["discriminator"]
    real, fake = torch.rand(2, config.batch_size, 3, config.frames, config.height, config.width) * 2 - 1
    label, between = torch.arange(config.batch_size) % CLASSES, torch.rand(config.batch_size)
    compiled = CompiledSlopes(critic)
    ways = {"plain": squared_slopes, "compiled": lambda discriminator, video: compiled(discriminator, video, label)}

    def timed(slopes) -> float:
        start = time.perf_counter()
        critic.zero_grad()
        with hardware.autocast(hardware.pick_dtype(precision, CPU), CPU):
            penalty = lipschitz_penalty(lambda video: critic(video, label), real, fake, between, slopes)
        penalty.backward()
        return time.perf_counter() - start

    first = {name: timed(slopes) for name, slopes in ways.items()}
    if not compiled.works:
        raise SystemExit("error: the penalty could not be compiled here; see the line above")
    seconds = {name: [] for name in ways}
    for _ in range(turns):
        for name, slopes in ways.items():
            seconds[name].append(timed(slopes))
    return {"seconds": {name: summary(values) for name, values in seconds.items()}, "first_call": first,
            "speedup": summary([plain / ours for plain, ours in zip(seconds["plain"], seconds["compiled"])])}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--config", default="configs/faithful/hrvgan.yaml")
    options.add_argument("--height", type=int, default=64)
    options.add_argument("--batch_size", type=int, default=8)
    options.add_argument("--turns", type=int, default=10)
    options.add_argument("--output", default="benchmarks/results/penalty.json")
    given = options.parse_args()
    flags = ["--height", str(given.height), "--width", str(given.height), "--batch_size", str(given.batch_size), "--grow_from", "0"]
    config = parse(TrainConfig, ["--config", given.config, *flags], models=MODELS)
    result = {"command": f"python -m benchmarks.penalty --config {given.config} --height {given.height} --batch_size {given.batch_size}",
              "machine": describe(), **{precision: measure(config, precision, given.turns) for precision in ("fp32", "bf16")}}
    write_json(Path(given.output), result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
