"""Every command of train.py, generate.py and evaluate.py in the README parses, and the family that it adds trains."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from configs.cli import parse
from configs.schema import TrainConfig
from evaluate import EvaluateConfig
from generate import GenerateConfig
from tests.conftest import ROOT
from training import registry

README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"^(?:torchrun --nproc_per_node \d+|python) "
                                 r"((?:train|generate|evaluate)\.py.*?)(?:\s+#.*)?$", README, re.M)))


def test_there_are_commands():
    assert {command.split()[0] for command in COMMANDS} == {"train.py", "generate.py", "evaluate.py"}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_parses(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    script, *argv = shlex.split(command)
    if script == "train.py":
        assert parse(TrainConfig, argv, models=registry.MODELS).family in registry.FAMILIES
    else:
        assert parse({"generate.py": GenerateConfig, "evaluate.py": EvaluateConfig}[script], argv)


STEPS_OF_A_USER = """
import os, runpy, sys
import train, generate, evaluate  # once, for all the children
def run(script, *words):
    child = os.fork()
    if not child:
        sys.argv = [script, *words]
        runpy.run_path(script, run_name="__main__")
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
flags = ["--family", "patches", "--batch_size", "4", "--height", "16", "--width", "24", "--out", "run", "--cache_dir", "cache", "--threads",
         "1", "--tensorboard", "false", "--data", "synthetic:num_videos=4,frames=4"]
print("statuses", [run("train.py", *flags, "--steps", "2"), run("train.py", *flags, "--steps", "4"),
                   run("generate.py", "--checkpoint", "run", "--output", "film.mp4", "--num_frames", "5"),
                   run("evaluate.py", "--checkpoint", "run", "--metrics", "swd", "--num_samples", "8", "--output", "report"),
                   run("train.py", *flags, "--height", "20", "--out", "other"), run("train.py", *flags, "--frames", "4", "--out", "other")])
"""


def test_the_family_in_the_readme_trains_resumes_generates_and_evaluates(tmp_path):
    """The code blocks that add a family are put where they say, into a copy of the project."""
    (networks,) = re.findall(r"```python\n(# models/patches\.py\n.*?)```", README, re.S)
    imported, line = re.findall(r"```python\n# training/registry\.py[^\n]*\n(from [^\n]*\n)(    [^\n]*\n)```", README)[0]
    for folder in ("configs", "data", "evaluation", "metrics", "models", "training", "utils"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ("train.py", "generate.py", "evaluate.py"):
        shutil.copy(ROOT / script, tmp_path)
    (tmp_path / "models" / "patches.py").write_text(networks)
    registry_file = tmp_path / "training" / "registry.py"
    text = registry_file.read_text()
    assert text.count("FAMILIES = {\n") == 1
    registry_file.write_text(imported + text.replace("FAMILIES = {\n", "FAMILIES = {\n" + line))
    done = subprocess.run([sys.executable, "-c", STEPS_OF_A_USER], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)})
    assert "statuses [0, 0, 0, 0, 2, 2]" in done.stdout, done.stdout + done.stderr
    assert "--model.patch 8: must divide --height 20" in done.stderr and "patches makes single frames" in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "step_000004").is_dir() and (tmp_path / "film.mp4").stat().st_size
    assert (tmp_path / "report" / "metrics.json").exists() and not (tmp_path / "other").exists()
