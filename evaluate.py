"""Numbers with their protocol: a trained model against videos, or one folder of videos or images against another.

    python evaluate.py --checkpoint runs/city --data videos/ --metrics swd,fid --output report/
    python evaluate.py --real a/ --fake b/ --metrics psnr,ssim,swd --output report/
    python evaluate.py --checkpoint runs/city --protocol fid10k
    python evaluate.py --real a/ --controls --metrics swd,fid_random,fvd_random
    python evaluate.py --compare runs/a/report,runs/b/report
"""

import shlex
import sys
from pathlib import Path

import torch

from configs.cli import parse
from data.synthetic import is_synthetic
from evaluation.config import EvaluateConfig, given
from evaluation.controls import measure_controls
from evaluation.folders import measure_folder_sets, measure_pairs
from evaluation.measured import Measured, together
from evaluation.models import measure_model
from evaluation.networks import load_networks
from evaluation.sources import keep_out
from metrics import report
from metrics.compare import compare
from metrics.registry import choose, describe
from metrics.tables import markdown
from utils import distributed, hardware
from utils.errors import UserError, script
from utils.files import writable_folder


def main(argv: list[str] | None = None) -> int:
    """Measure, write the report, print the table. Nothing is written before everything is measured."""
    argv = sys.argv[1:] if argv is None else argv
    config = parse(EvaluateConfig, merge_weights(argv), "Measure a model against videos, or one folder against another.")
    if config.metrics == "help":
        print(describe())
        return 0
    if config.compare:
        rows, notes = compare([Path(path) for path in config.compare.split(",")])
        print("\n".join([markdown(rows), "", *(f"- {note}" for note in notes)]))
        return 0
    if config.threads:
        torch.set_num_threads(config.threads)
    output = writable_folder(Path(config.output))
    if (output / "checkpoints").is_dir() and (output / "config.yaml").exists():
        raise UserError(f"--output {output}: is the folder of a run, whose report.html would be lost; take {output}/evaluation")
    if foreign := report.foreign(output):
        raise UserError(f"--output {output}: holds a {foreign} that is none of ours; take another folder")
    for name, source in given(config, "real", "fake", "data").items():
        if not is_synthetic(source) and not Path(source).exists():
            raise UserError(f"--{name} {source}: there is no such file or folder")
        keep_out(output, f"--{name}", source)
    distributed.start(hardware.pick_device(config.device, distributed.local_rank()))
    measured = measure(config)
    if measured is not None:  # else another process writes the report
        command = shlex.join(["python", "evaluate.py", *argv])
        report.write(output, measured.results, measured.pictures, measured.notes, command, measured.tables)
        print(report.summary(measured.results, measured.notes, measured.tables))
        print(f"report: {output / 'report.html'}")
    distributed.wait_for_main()
    distributed.stop()  # not after an error: it would wait for the others, and they for this process
    return 0


def measure(config: EvaluateConfig) -> Measured | None:
    """All that was asked for; None in processes that only help."""
    chosen = choose(config.metrics)
    metrics, networks, notes = load_networks(chosen, config)
    pairs = {name: metric for name, metric in metrics.items() if metric.kind == "pairs"}
    sets = {name: metric for name, metric in metrics.items() if metric.kind != "pairs"}
    if config.controls:
        parts = [measure_controls(config, metrics, networks)]
    elif config.checkpoint:
        parts = measure_model(config, pairs, sets, networks)
    else:
        # Sets first: they may be refused, and pairs may have taken hours by then.
        of_sets = [measure_folder_sets(config, sets, networks)] if sets else []
        parts = ([measure_pairs(config, pairs)] if pairs and distributed.is_main() else []) + of_sets
    if not distributed.is_main():
        return None
    measured = together(list(chosen), parts)
    measured.notes[:0] = notes
    return measured


def merge_weights(argv: list[str]) -> list[str]:
    """Several ``--weights`` as one, comma-separated."""
    words, found = [], []
    rest = iter(argv)
    for word in rest:
        if word == "--weights":
            found.append(next(rest, ""))
        elif word.startswith("--weights="):
            found.append(word.partition("=")[2])
        else:
            words.append(word)
    return [*words, f"--weights={','.join(found)}"] if found else words


if __name__ == "__main__":
    script(main)
