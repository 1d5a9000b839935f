"""What is told of settings that mean little."""

from dataclasses import replace

import pytest
import torch

from configs.cli import parse
from configs.schema import TrainConfig
from models.hrvgan_parts import HRVGANConfig
from tests.configs.test_recipes import FOLDER
from training.registry import MODELS
from training.remarks import of_optimizer, remarks
from training.setup import build_task
from training.task import DataInfo

GROUPS = HRVGANConfig(g_width=4, d_width=4, max_width=8, time_doublings=1)


@pytest.mark.parametrize("settings, said", [
    ({"loss": "wgan"}, "nothing bounds the critic's slopes"), ({"loss": "wgan_gp", "gp": 0.0}, "nothing bounds the critic's slopes"),
    ({"loss": "wgan", "clip_weights": 0.01}, ""), ({"loss": "wgan", "spectral_norm": True}, ""), ({"loss": "wgan_gp"}, ""),
    ({"batch_size": 10, "accumulate": 2}, "the 5 clips of a pass make no groups"), ({"batch_size": 12, "accumulate": 2}, ""),
    ({"loss": "wgan_gp", "penalty_every": 16}, "--penalty_every 16: is for r1 and r2"), ({"r2": 1.0, "penalty_every": 16}, ""),
    ({"compile_penalty": True}, "there is no penalty to compile"), ({"compile_penalty": True, "r1": 1.0}, ""),
    ({"class_ce_then": 4.0}, "--class_ce_then 4: --class_ce holds to the end"), ({"class_ce_then": 4.0, "class_ce_steps": 9}, ""),
    ({"model": replace(GROUPS, sprite_class="thing")}, "--model.sprite_class thing: there are no sprites"),
    ({"model": replace(GROUPS, sprite_turn=0.5)}, "--model.sprite_turn 0.5: there are no sprites"),
    ({"model": replace(GROUPS, sprite_outline="curve")}, "--model.sprite_outline curve: there are no sprites"),
    ({"model": replace(GROUPS, sprite_class="thing", sprite_turn=0.5, sprite_outline="curve", sprites=1)}, ""),
    ({"loss": "wgan_gp", "wrong_labels": 0.5}, "--wrong_labels 0.5 with --loss wgan_gp"), ({"wrong_labels": 0.5}, ""),
    ({"loss": "wgan", "spectral_norm": True, "wrong_labels": 0.5}, "--wrong_labels 0.5 with --loss wgan"),
    ({"loss": "wgan", "clip_weights": 0.01, "wrong_labels": 0.5}, "")])
def test_what_means_little_is_told(capsys, settings, said):
    config = TrainConfig(family="hrvgan", height=16, width=16, frames=4, **{"model": GROUPS, **settings})
    build_task(config.check(), DataInfo()).get_ready()
    warned = capsys.readouterr().err
    assert said in warned and warned.count("warning: ") == bool(said)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_recipes_ask_for_nothing_in_vain(path):
    for flags in ([], ["--augment", ""], ["--r1", "0"], ["--lr_decay", "none"], ["--class_ce", "0"], ["--grow_from", "0"]):
        config = parse(TrainConfig, ["--config", str(path), *flags], models=MODELS)
        with torch.device("meta"):
            task = build_task(config, DataInfo(["a", "b"]), torch.device("meta"))
        if config.family != "keyframes":
            assert not remarks(config, task.nets["discriminator"])


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


@pytest.mark.parametrize("settings, said", [
    ({"optimizer": "adam_lean", "beta1": 0.99}, True), ({"optimizer": "adam_lean", "beta1": 0.9}, False), ({"beta1": 0.99}, False)])
def test_a_mean_that_would_stand_still_is_told(settings, said):
    assert bool(of_optimizer(TrainConfig(**settings))) == said
