"""The critic's update with its gradient penalty compiled, beside the plain one.

    python -m benchmarks.penalty           # prints and writes benchmarks/results/penalty.json

HRVGAN's critic under wgan_gp and DCGAN's under r1 at every step, both with the published networks, on clips of noise. The two take turns,
so that a busy machine slows both, and the ratio is taken turn by turn. Compiling, checks included, is timed apart.
"""

import argparse
import json
from pathlib import Path

import torch

from benchmarks.machine import command, describe, summary
from benchmarks.step import CPU, timed
from configs.cli import parse
from configs.schema import TrainConfig
from training.registry import MODELS
from training.setup import build_task
from training.step import run_phase
from training.task import DataInfo
from utils import hardware
from utils.files import write_json

CASES = {
    "hrvgan": ["--config", "configs/faithful/hrvgan.yaml", "--frames", "8", "--height", "64", "--width", "64", "--grow_from", "0",
               "--batch_size", "8"],
    "dcgan": ["--config", "configs/faithful/dcgan.yaml", "--height", "64", "--width", "64", "--batch_size", "16", "--model.d_norm", "none",
              "--model.d_dropout", "0", "--r1", "1", "--penalty_every", "1"],
}


def critic_update(flags: list[str], precision: str):
    """A step of the critic alone: (function, the task)."""
    config = parse(TrainConfig, [*flags, "--precision", precision], models=MODELS)
    torch.manual_seed(0)
    task = build_task(config, DataInfo())
    phase = next(phase for phase in task.phases if phase.name == "d")
    raw = {"video": torch.randint(0, 256, (config.batch_size, config.frames, config.height, config.width, 3), dtype=torch.uint8),
           "label": torch.zeros(config.batch_size, dtype=torch.int64)}
    dtype = hardware.pick_dtype(precision, CPU)
    return (lambda: run_phase(task, phase, raw, config, step=1, repeat=0, device=CPU, dtype=dtype)), task


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--turns", type=int, default=15)
    options.add_argument("--output", default="benchmarks/results/penalty.json")
    given = options.parse_args()
    found = {}
    for family, flags in CASES.items():
        for precision in ("fp32", "bf16"):
            plain, _ = critic_update(flags, precision)
            compiled, task = critic_update([*flags, "--compile_penalty", "true"], precision)
            first = timed(compiled)
            if not task.compiled_slopes.works:
                found[f"{family}, {precision}"] = {"seconds_of_the_first_update": first, "given_up": True}
                continue
            for step in (plain, compiled, plain, compiled):  # warm up
                step()
            turns = [(timed(plain), timed(compiled)) for _ in range(given.turns)]
            found[f"{family}, {precision}"] = {
                "seconds_of_the_first_update": first, "plain_seconds": summary([turn[0] for turn in turns]),
                "compiled_seconds": summary([turn[1] for turn in turns]), "times_as_fast": summary([turn[0] / turn[1] for turn in turns])}
            print(f"{family}, {precision}: {json.dumps(found[f'{family}, {precision}']['times_as_fast'])}, first {first:.0f} s", flush=True)
    write_json(Path(given.output), {"command": command(), "machine": describe(),
                                    "cases": found})


if __name__ == "__main__":
    main()
