"""FID from files to number beside torch-fidelity and pytorch-fid: the same weights, the same PNG frames, each in a process of its own.

    pip install --no-deps --target runs/peers pytorch-fid==0.3.0
    python -m benchmarks.fid                       # 2,048 frames a side; writes benchmarks/results/fid.json
    python -m benchmarks.fid --frames 256 --turns 1

The frames are those of synthetic videos, one side blurred a little. The weights are random, of Inception's shape and scaled so that
features vary, so that nothing has to be fetched; a comparison of programs does not need trained ones. Every program gets
all cores and reads both folders anew; ours extracts them to a fresh cache, too. The programs take turns, ratios are within a turn.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import torch

from benchmarks.machine import command, describe, summary
from data.synthetic import draw_factors, render
from utils.files import write_json
from utils.seeds import torch_generator

PEERS = {
    "torch-fidelity": """
import sys, json, utils.vision, torch_fidelity
a, b, weights, count = sys.argv[1:]
found = torch_fidelity.calculate_metrics(input1=b, input2=a, cuda=False, fid=True, kid=True, isc=True, batch_size=32, save_cpu_ram=True,
    kid_subset_size=min(1000, int(count)), feature_extractor_weights_path=weights, cache=False, verbose=False)
print(json.dumps({"fid": found["frechet_inception_distance"], "kid": found["kernel_inception_distance_mean"], \
"is": found["inception_score_mean"]}))
""",
    "torch-fidelity, FID alone": """
import sys, json, utils.vision, torch_fidelity
a, b, weights, count = sys.argv[1:]
found = torch_fidelity.calculate_metrics(input1=b, input2=a, cuda=False, fid=True, batch_size=32, save_cpu_ram=True,
    feature_extractor_weights_path=weights, cache=False, verbose=False)
print(json.dumps({"fid": found["frechet_inception_distance"]}))
""",
    "pytorch-fid": """
import sys, json, utils.vision, torch
a, b, weights, count = sys.argv[1:]
import pytorch_fid.inception as inception
inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
from pytorch_fid.fid_score import calculate_fid_given_paths
print(json.dumps({"fid": float(calculate_fid_given_paths([a, b], 50, "cpu", 2048, 2))}))
""",
}
OURS = {"ours, FID alone": [], "ours, bf16": ["--network_precision", "bf16"]}
AGREEMENT = {"ours": ["--metrics", "fid,kid,is"], "ours, pytorch-fid's resize": ["--network_resize", "pytorch"]}


def write_frames(folder: Path, count: int, seed: int, sigma: float, size: int) -> None:
    """``count`` frames of as many synthetic videos as PNG files."""
    folder.mkdir(parents=True)
    for number in range(count):
        (frame,) = render(draw_factors(seed, number), 1, size, size, 24)
        frame = cv2.GaussianBlur(frame, (0, 0), sigma) if sigma else frame
        cv2.imwrite(str(folder / f"{number:05d}.png"), frame[..., ::-1])


def write_weights(path: Path) -> None:
    """Random weights for torch-fidelity's Inception: He's variance, so that signals neither die nor grow."""
    import utils.vision  # noqa: F401
    # isort: split
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_, **__):
            pass

    empty = path.with_suffix(".empty")
    torch.save({}, empty)
    net, generator = Unloaded("inception", ["2048"], str(empty)), torch_generator(0, "inception")
    empty.unlink()
    state = {name: value.float() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    for name, value in state.items():
        if name.endswith("conv.weight") or name == "fc.weight":
            state[name] = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(value.shape, generator=generator)
        elif name.endswith(("bn.weight", "bn.bias", "running_mean")):
            state[name] = torch.randn(value.shape, generator=generator) * 0.1 + name.endswith("bn.weight")
    torch.save(state, path)


def run_peer(code: str, work: Path, count: int) -> tuple[float, dict]:
    arguments = [str(work / "real"), str(work / "fake"), str(work / "weights.pth"), str(count)]
    return timed([sys.executable, "-c", code, *arguments])


def run_ours(flags: list[str], work: Path, count: int) -> tuple[float, dict]:
    shutil.rmtree(work / "cache", ignore_errors=True)
    command = [sys.executable, "evaluate.py", "--real", str(work / "real"), "--fake", str(work / "fake"), "--num_samples", str(count),
               "--floor", "false", "--resamples", "0", "--batch_size", "32", "--weights", f"inception={work / 'weights.pth'}",
               "--cache_dir", str(work / "cache"),
               "--output", str(work / "report"), *([] if "--metrics" in flags else ["--metrics", "fid"]), *flags]
    seconds, _ = timed(command, parse=False)
    measured = json.loads((work / "report" / "metrics.json").read_text())["metrics"]
    return seconds, {name: result["score"]["value"] for name, result in measured.items()}


def timed(command: list[str], parse: bool = True) -> tuple[float, dict]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), "runs/peers"])}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} ... failed: {done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout.strip().splitlines()[-1]) if parse else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2048)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/fid"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/fid.json"))
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    write_frames(options.work / "real", options.frames, 0, 0, options.size)
    write_frames(options.work / "fake", options.frames, 1, 0.7, options.size)
    write_weights(options.work / "weights.pth")
    values, seconds = {}, {}
    timed_ones = [name for name in PEERS if name != "torch-fidelity"] + list(OURS)
    for turn in range(options.turns):
        for name in timed_ones:
            run = (lambda: run_peer(PEERS[name], options.work, options.frames)) if name in PEERS else \
                (lambda: run_ours(OURS[name], options.work, options.frames))
            took, values[name] = run()
            seconds.setdefault(name, []).append(took)
            print(f"turn {turn}: {name} {took:.1f} s {values[name]}", flush=True)
    values["torch-fidelity"] = run_peer(PEERS["torch-fidelity"], options.work, options.frames)[1]
    for name, flags in AGREEMENT.items():
        values[name] = run_ours(flags, options.work, options.frames)[1]
        print(name, values[name], flush=True)
    peers = [name for name in timed_ones if name in PEERS]
    ratios = {name: [min(seconds[peer][turn] for peer in peers) / seconds[name][turn] for turn in range(options.turns)] for name in OURS}
    relative = lambda a, b: abs(a - b) / abs(b)
    differences = {f"{name} to torch-fidelity": relative(values["ours"][name], values["torch-fidelity"][name])
                   for name in ("fid", "kid", "is")}
    differences["fid to pytorch-fid, its resize"] = relative(values["ours, pytorch-fid's resize"]["fid"], values["pytorch-fid"]["fid"])
    differences["fid in bf16 to torch-fidelity"] = relative(values["ours, bf16"]["fid"], values["torch-fidelity"]["fid"])
    for name, turns in ratios.items():
        print(f"{name}: {statistics.median(turns):.2f} times as fast as the faster peer")
    print(differences)
    write_json(options.output, {"command": command(), "machine": describe(),
                                "frames": options.frames, "size": options.size,
                                "seconds": {name: summary(took) for name, took in seconds.items()},
                                "times_as_fast_as_the_faster_peer": {name: summary(turns) for name, turns in ratios.items()},
                                "values": values, "relative_differences": differences})


if __name__ == "__main__":
    main()
