"""Several processes train as one: the same losses, the same batches and latents in shares, one that writes."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from configs.schema import TrainConfig
from tests.ports import free_port
from tests.training.runner import ROOT, TINY, newest, outcome, rows, steps_done
from training.step import run_phase
from training.task import Phase
from utils import distributed
from utils.errors import EXIT_INTERRUPTED

STEPS, TOLERANCE = 20, 1e-4
# The default rates. Without warm-up, Adam turns last-bit differences into whole steps where a gradient is nearly zero,
# and runs drift apart.
BASE = ["--precision", "fp32", "--steps", STEPS, "--warmup", "500"]
SETTINGS = {
    "batch norm": ["--model.g_norm", "batch"],
    "batch norm in both": ["--model.g_norm", "batch", "--model.d_norm", "batch", "--loss", "hinge"],
    "augment, pairs": ["--augment", "color,translation,cutout", "--augment_p", "0.7", "--loss", "rpgan", "--flip"],
    "penalties": ["--r1", "0.1", "--r2", "0.05", "--penalty_every", "2", "--augment", "translation", "--diversity", "0.5",
                  "--model.d_minibatch_std", "true"],
    "parts, repeats": ["--accumulate", "2", "--d_repeats", "2", "--model.d_norm", "spectral", "--model.g_norm", "none",
                       "--model.d_minibatch_std", "false", "--clip_grad", "1"],
}


def start_two(runner, *arguments, others=()):
    """The two processes, set up by the same environment variables as torchrun sets. ``others``: further arguments of the second."""
    port = str(free_port())
    return [runner.start(*arguments, *(others if rank else ()), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank),
                         MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            for rank in range(2)]


def run_two(script: Path, *arguments) -> list[str]:
    """What the two processes of a script print."""
    port = str(free_port())
    processes = [subprocess.Popen([sys.executable, script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {
        "WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}) for rank in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return printed


def train_two(runner, *arguments, expect: int = 0):
    runs = start_two(runner, *arguments)
    statuses = [run.wait() for run in runs]
    assert statuses == [expect] * 2, "".join(run.stdout + run.stderr for run in runs)
    return runs


def difference(out: Path, reference: Path) -> float:
    """The largest difference of any loss at any step."""
    ours, theirs = rows(out), rows(reference)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs] == list(range(1, STEPS + 1))
    return max(abs(a[name] - b[name]) for a, b in zip(ours, theirs) for name in ("d/loss", "g/loss"))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_two_processes_lose_what_one_loses(runner, tmp_path, settings):
    runner.train("--out", tmp_path / "one", *BASE, *settings)
    train_two(runner, "--out", tmp_path / "two", *BASE, *settings)
    assert difference(tmp_path / "two", tmp_path / "one") < TOLERANCE


def test_penalties_through_batch_norm_have_the_gradient_of_one_process(runner, tmp_path):
    """The backward pass of the statistics is differentiated itself."""
    settings = ["--precision", "fp32", "--steps", 1, "--model.d_norm", "batch", "--r1", "100"]
    runner.train("--out", tmp_path / "one", *settings)
    train_two(runner, "--out", tmp_path / "two", *settings)
    (ours,), (theirs,) = rows(tmp_path / "two"), rows(tmp_path / "one")
    assert ours["d/grad_norm"] == pytest.approx(theirs["d/grad_norm"], rel=2e-5)


def test_two_processes_are_one_with_its_batch_in_two_parts(runner, tmp_path):
    """To the last bit: the same halves are summed. (Batch normalisation would see the parts apart, hence none.)"""
    command = ["--precision", "fp32", "--steps", STEPS, "--model.g_norm", "none", "--r1", "1", "--augment", "color,cutout",
               "--loss", "rpgan", "--clip_grad", "1"]
    runner.train("--out", tmp_path / "parts", *command, "--accumulate", "2")
    train_two(runner, "--out", tmp_path / "two", *command)
    parts, two = outcome(tmp_path / "parts"), outcome(tmp_path / "two")
    assert [parts[name] == two[name] for name in parts if name.endswith("safetensors")] == [True] * 3
    assert difference(tmp_path / "two", tmp_path / "parts") < 1e-6


@pytest.mark.parametrize("first", [1, 2])
def test_resumes_with_another_number_of_processes(runner, tmp_path, first):
    settings = ["--model.g_norm", "batch", "--r1", "0.1", "--augment", "color,translation"]
    runner.train("--out", tmp_path / "straight", *BASE, *settings)
    out = tmp_path / "run"
    train = {1: runner.train, 2: partial(train_two, runner)}
    train[first]("--out", out, *BASE, *settings, "--steps", STEPS // 2)
    assert newest(out).name == "step_000010"
    train[3 - first]("--out", out, *BASE, *settings)
    assert difference(out, tmp_path / "straight") < TOLERANCE


def test_a_signal_to_one_process_stops_all_at_the_same_step(runner, tmp_path):
    out = tmp_path / "run"
    command = ["--out", out, *BASE, "--steps", 300]
    runs = start_two(runner, *command)
    assert runs[0].until(lambda: steps_done(out) >= 5)
    runs[1].signal(15)
    assert [run.wait() for run in runs] == [EXIT_INTERRUPTED] * 2
    reached = len(rows(out))
    assert 5 <= reached < 300 and newest(out).name == f"step_{reached:06d}"


class _Onlooker:
    """A task that keeps what it is given."""

    def __init__(self):
        self.nets = {"net": nn.Linear(1, 1)}
        self.phases = [Phase("d", self.nets["net"], torch.optim.SGD(self.nets["net"].parameters(), lr=0.1))]
        self.latents, self.draws, self.clips = [], [], []

    def losses(self, phase, batch):
        self.latents.append(batch.noise.normal("latent", 5))
        self.draws.append(batch.noise.uniform("real", 7))
        self.clips.append(batch.video)
        return {"loss": self.nets["net"](torch.ones(1)).sum()}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_latents_differ_by_rank_and_are_together_those_of_one_process(monkeypatch, accumulate):
    config = TrainConfig(batch_size=8, accumulate=accumulate, flip=True)
    video = torch.randint(0, 256, (8, 1, 6, 6, 3), dtype=torch.uint8)

    def seen(rank: int, world: int) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: world)
        monkeypatch.setattr(distributed, "average", lambda tensors: None)
        task, mine = _Onlooker(), distributed.local_rows(8)
        run_phase(task, task.phases[0], {"video": video[mine], "label": torch.zeros(8 // world, dtype=torch.int64)}, config, step=3,
                  repeat=0, device=torch.device("cpu"), dtype=torch.float32)
        return {name: torch.cat(getattr(task, name)) for name in ("latents", "draws", "clips")}

    whole, shares = seen(0, 1), [seen(0, 2), seen(1, 2)]
    for name, value in whole.items():
        assert torch.equal(torch.cat([share[name] for share in shares]), value), name
        assert len(torch.unique(value.flatten(1), dim=0)) == 8, name


def _torchrun(out: Path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d",
               "--rdzv_endpoint", f"127.0.0.1:{free_port()}", "train.py", *TINY, "--out", out, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_torchrun_itself(runner, tmp_path):
    """The command as the README gives it; only one process writes and talks."""
    runner.train("--out", tmp_path / "one", *BASE)
    done = _torchrun(tmp_path / "two", *BASE)
    assert done.returncode == 0, done.stderr
    assert difference(tmp_path / "two", tmp_path / "one") < TOLERANCE
    assert done.stdout.count("done: 20 steps") == 1 and done.stderr.count("train: 20/20 steps") == 1
    files = lambda out: sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_a_dry_run_measures_the_share_of_each_process(runner, tmp_path):
    first, second = train_two(runner, "--out", tmp_path / "run", *BASE, "--flip", "--augment", "translation", "--dry_run")
    assert "one step" in first.stdout and not second.stdout and not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_shared_is_one_line(runner, tmp_path):
    runs = train_two(runner, "--out", tmp_path / "run", *BASE, "--batch_size", "7", expect=2)
    for run in runs:
        assert run.stderr == "error: --batch_size 7 is not a multiple of the 2 processes; take --batch_size 8\n" and not run.stdout
    # A share that cannot be split into the parts asked for is the same mistake.
    runs = train_two(runner, "--out", tmp_path / "run", *BASE, "--batch_size", "6", "--accumulate", "2", expect=2)
    assert all(run.stderr.count("\n") == 1 and "--accumulate" in run.stderr for run in runs)


@pytest.mark.parametrize("what", ["--data", "--out"])
def test_a_mistake_that_the_first_process_finds_is_told_once(runner, tmp_path, what):
    (tmp_path / "file.txt").write_text("mine")
    first, second = train_two(runner, "--out", tmp_path / "run", *BASE, what, tmp_path / "file.txt", expect=2)
    said = first.stderr.splitlines()[-1]
    assert said.startswith("error: ") and "file.txt" in said and "Traceback" not in first.stderr and not second.stderr


def test_nobody_goes_on_before_all_have_joined(tmp_path):
    """Whoever then leaves with an error would have the others fail while they join."""
    script = tmp_path / "join.py"
    script.write_text("""
import sys, time, torch
import torch.distributed as dist
from utils import distributed
join = dist.init_process_group
def late(*args, **kwargs):
    join(*args, **kwargs)
    if dist.get_rank() == 1:
        time.sleep(1)
        print(time.time())
dist.init_process_group = late
distributed.start(torch.device("cpu"))
if distributed.is_main():
    print(time.time())
""")
    went_on, joined = (float(out) for out in run_two(script))
    assert went_on >= joined


def test_batch_norm_of_uneven_shares_is_that_of_the_whole(tmp_path):
    """Two clips in one process, one in the other."""
    script = tmp_path / "uneven.py"
    script.write_text("""
import sys, torch
from models.layers import BatchNorm
from utils import distributed
distributed.start(torch.device("cpu"))
x = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
layer = BatchNorm(4)
mine = layer(x[:2] if distributed.is_main() else x[2:])
torch.save((mine.detach(), layer.running_mean, layer.running_var), f"{sys.argv[1]}/{distributed.rank()}.pt")
""")
    run_two(script, tmp_path)
    x, whole = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0)), torch.nn.BatchNorm2d(4)
    expected = whole(x)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(torch.cat([rows for rows, _, _ in found]), expected)
    for _, mean, variance in found:
        torch.testing.assert_close(mean, whole.running_mean)
        torch.testing.assert_close(variance, whole.running_var)


def test_processes_that_see_other_checkpoints_are_told(runner, tmp_path):
    runner.train("--out", tmp_path / "one", *BASE, "--steps", "4")
    runs = start_two(runner, "--out", tmp_path / "one", *BASE, "--steps", "8", others=["--out", tmp_path / "elsewhere"])
    assert [run.wait() for run in runs] == [2, 2]
    assert "not all processes find the checkpoint step_000004 there" in runs[0].stderr
