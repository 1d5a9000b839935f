"""What is told of settings that mean little."""

import pytest

from configs.cli import parse
from configs.schema import TrainConfig
from models.hrvgan_parts import HRVGANConfig
from tests.configs.test_recipes import FOLDER
from training.registry import MODELS
from training.remarks import _of_no_effect
from training.setup import build_task
from training.task import DataInfo

GROUPS = HRVGANConfig(g_width=4, d_width=4, max_width=8, time_doublings=1)


@pytest.mark.parametrize("settings, said", [
    ({"loss": "wgan"}, "nothing bounds the critic's slopes"), ({"loss": "wgan_gp", "gp": 0.0}, "nothing bounds the critic's slopes"),
    ({"loss": "wgan", "clip_weights": 0.01}, ""), ({"loss": "wgan", "spectral_norm": True}, ""), ({"loss": "wgan_gp"}, ""),
    ({"batch_size": 10, "accumulate": 2}, "the 5 clips of a pass make no groups"), ({"batch_size": 12, "accumulate": 2}, ""),
    ({"loss": "wgan_gp", "penalty_every": 16}, "--penalty_every 16: there is nothing here"), ({"r2": 1.0, "penalty_every": 16}, ""),
    ({"gp": 1.0}, "--gp 1.0: there is nothing"), ({"augment_p": 0.5}, "--augment_p 0.5"), ({"augment_p": 0.5, "augment": "color"}, ""),
    ({"grow_steps": 7}, "--grow_steps 7"), ({"optimizer": "rmsprop", "beta1": 0.1}, "--beta1 0.1"),
    ({"lr_decay_from": 7}, "--lr_decay_from 7")])
def test_what_means_little_is_told(capsys, settings, said):
    config = TrainConfig(family="hrvgan", height=16, width=16, frames=4, model=GROUPS, **settings)
    build_task(config.check(), DataInfo()).get_ready()
    warned = capsys.readouterr().err
    assert said in warned and warned.count("warning: ") == bool(said)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_recipes_ask_for_nothing_in_vain(path):
    config = parse(TrainConfig, ["--config", str(path)], models=MODELS)
    assert not _of_no_effect(config)


@pytest.mark.parametrize("settings, warned", [({"batch_size": 12, "accumulate": 2, "m_per_class": 4}, "groups of 3 of the 6"),
                                              ({"batch_size": 12, "m_per_class": 3}, "groups of 4 of the 12"),
                                              ({"batch_size": 12, "m_per_class": 2}, ""), ({"batch_size": 16, "m_per_class": 8}, ""),
                                              ({"batch_size": 18, "m_per_class": 1}, "")])
def test_groups_of_a_class_that_the_minibatch_deviation_mixes_are_warned_of(capsys, settings, warned):
    build_task(TrainConfig(family="hrvgan", height=16, width=16, frames=4, model=GROUPS, **settings), DataInfo()).get_ready()
    said = capsys.readouterr().err
    assert warned in said and said.count("warning: --m_per_class") == bool(warned)


@pytest.mark.parametrize("norm, flags, warned", [("batch", "--loss wgan_gp", 1), ("group", "--loss wgan_gp", 0), ("batch", "--r1 5", 1),
                                                 ("batch", "--loss hinge", 0)])
def test_a_penalty_on_clips_that_a_batch_mixes_is_warned_of_once(runner, tmp_path, norm, flags, warned):
    run = runner.train("--out", tmp_path / "run", "--steps", "1", *flags.split(), "--model.d_norm", norm)
    lines = [line for line in run.stderr.splitlines() if line.startswith(f"warning: {flags}: the penalty is on each clip")]
    assert len(lines) == warned and all("--model.d_norm group" in line for line in lines)
