"""Every command in the README parses, and the family that it adds trains."""

import importlib
import re
import shlex
from functools import partial

import pytest

from configs.cli import parse
from configs.schema import TrainConfig
from evaluate import EvaluateConfig
from generate import GenerateConfig
from tests.conftest import ROOT
from training import registry
from training.gan import GANTask

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


def test_the_family_in_the_readme_trains(tmp_path, monkeypatch):
    """The code block that adds a family is run as it stands."""
    from training.loop import train

    (code,) = re.findall(r"```python\n# models/patches\.py\n(.*?)```", README, re.S)
    (tmp_path / "patches.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    patches = importlib.import_module("patches")
    family = registry.Family(patches.PatchesConfig, partial(GANTask, build=patches.build))
    monkeypatch.setitem(registry.FAMILIES, "patches", family)
    monkeypatch.setitem(registry.MODELS, "patches", family.config)
    argv = ["--family", "patches", "--steps", "2", "--batch_size", "4", "--height", "16", "--width", "24", "--out", str(tmp_path / "run"),
            "--cache_dir", str(tmp_path / "cache"), "--tensorboard", "false", "--data", "synthetic:num_videos=4,frames=4"]
    assert train(parse(TrainConfig, argv, models=registry.MODELS)) == 0
    assert (tmp_path / "run" / "checkpoints" / "step_000002").is_dir()
