"""Cross-checks, round trips, and which settings a run may be continued with."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import FREE_TO_CHANGE, TrainConfig, differences, from_dict
from data.dataset import VideoDataset
from training.registry import MODELS
from utils.errors import UserError


def config(**settings) -> TrainConfig:
    return TrainConfig(**{"model": MODELS["dcgan"](), **settings})


@pytest.mark.parametrize("settings, flag", [
    *((dict([(name, 0)]), name) for name in ("height", "width", "frames", "frame_skip", "batch_size", "accumulate", "d_repeats",
      "g_every", "penalty_every", "log_every", "sample_every", "checkpoint_every", "keep", "samples", "steps", "epochs",
      "max_frames", "workers", "threads", "eval_threads", "eval_samples", "class_ce_steps", "lr", "lr_d", "fps",
      "clip_grad", "image_fps", "alarm_patience", "split_list")),
    *((dict([(name, -1)]), name) for name in ("r1", "r2", "max_rollbacks", "seed", "ema", "beta1", "augment_p", "max_broken",
                                              "batch_size", "eval_every", "class_ce", "class_ce_d", "class_ce_then")),
    *((dict([(name, 1)]), name) for name in ("ema", "beta1", "beta2")),
    *((dict([(name, float(value))]), name) for name in ("lr", "fps", "image_fps", "r1", "gp", "clip_grad") for value in ("inf", "nan")),
    ({"augment_p": 1.01}, "augment_p"), ({"metrics": " ,"}, "metrics"), ({"best": "fid"}, "best"),
    ({"wrong_labels": 1.5}, "wrong_labels"), ({"max_broken": 2}, "max_broken"), ({"seed": 2**63}, "seed"),
    ({"m_per_class": 0}, "m_per_class"), ({"m_per_class": 2, "ordered": True}, "ordered"), ({"steps": 5, "epochs": 5}, "steps"),
    ({"fps": 5.0, "frame_skip": 2}, "fps"), ({"fps": 5.0, "max_frames": 10}, "max_frames"),
    ({"frame_skip": 2, "max_frames": 10}, "frame_skip"), ({"batch_size": 10, "accumulate": 4}, "accumulate"),
], ids=lambda value: value if isinstance(value, str) else "-".join(f"{name}={number}" for name, number in value.items()))
def test_settings_that_make_no_sense_are_refused_by_name(settings, flag):
    with pytest.raises(UserError, match=f"--{flag}"):
        config(**settings).check()


@pytest.mark.parametrize("family, settings", [
    ("dcgan", {"g_width": 0}), ("dcgan", {"growth": 0}), ("dcgan", {"g_depth": -1}), ("dcgan", {"d_dropout": 1.0}),
    ("dcgan", {"latent_dim": -1}), ("vgan", {"max_width": 0}), ("vgan", {"depth": -1}), ("hrvgan", {"class_dim": -1}),
    ("mlp_gan", {"components": -1}), ("keyframes", {"crop": 0}), ("hrvgan", {"sprites": -1}), ("hrvgan", {"sprite_size": 0.0}),
    ("hrvgan", {"sprite_size": float("nan")}), ("hrvgan", {"sprite_turn": -0.1})])
def test_sizes_of_networks_are_refused_by_name(family, settings):
    (name,) = settings
    with pytest.raises(UserError, match=f"--model.{name} {settings[name]}: must be (at least|above)"):
        TrainConfig(family=family, model=MODELS[family](**settings)).check()


@pytest.mark.parametrize("family, name", [("mlp_gan", "components"), ("vgan", "time_depth"), ("hrvgan", "time_doublings"),
                                          ("hrvgan", "sprites"), ("hrvgan", "sprite_turn")])
def test_what_may_be_nothing_is_allowed(family, name):
    TrainConfig(family=family, model=MODELS[family](**{name: 0})).check()


@pytest.mark.parametrize("settings", [
    {}, {"r1": 0.0}, {"ema": 0.0}, {"beta1": 0.0}, {"augment_p": 1.0}, {"augment_p": 0.0}, {"max_rollbacks": 0}, {"steps": 1},
    {"epochs": 1}, {"class_ce_d": 0.0}, {"class_ce_steps": 1}, {"fps": 0.5}, {"max_frames": 1}, {"batch_size": 12, "accumulate": 4},
    {"seed": 2**63 - 1}, {"alarm_after": 0}, {"m_per_class": 5, "batch_size": 12}, {"metrics": "fid, SWD", "best": "swd"}])
def test_settings_at_the_border_are_allowed(settings):
    assert config(**settings).check() == config(**settings)


values = st.fixed_dictionaries({
    "height": st.integers(1, 999), "lr": st.floats(1e-9, 1), "fps": st.none() | st.floats(0.1, 99), "data": st.text(min_size=1, max_size=9),
    "restart": st.booleans(), "loss": st.sampled_from(["bce", "hinge", "rpgan"]), "seed": st.integers(0, 2**63 - 1)})


@given(values, st.integers(1, 999))
def test_a_dictionary_and_back(settings, latent_dim):
    first = config(**settings, model=MODELS["dcgan"](latent_dim=latent_dim))
    again = from_dict(first.as_dict(), MODELS, "here")
    assert again == first and type(again.model) is type(first.model)
    assert differences(first, again) == []


@pytest.mark.parametrize("spoil", [
    lambda d: d.update(family="nope"), lambda d: d.update(unheard_of=1), lambda d: d["model"].update(unheard_of=1),
    lambda d: d.pop("family"), lambda d: d.update(model=3)], ids=["family", "setting", "model setting", "no family", "model a number"])
def test_a_dictionary_of_something_else_is_refused(spoil):
    values = config().as_dict()
    spoil(values)
    with pytest.raises(UserError, match="state.json"):
        from_dict(values, MODELS, "run/state.json")


@given(st.sampled_from([item for item in dataclasses.fields(TrainConfig) if item.name not in ("model", "family")]))
def test_differences_are_those_that_change_the_weights(field):
    old = config()
    new = dataclasses.replace(old, **{field.name: "other"})
    found = differences(old, new)
    assert found == ([] if field.name in FREE_TO_CHANGE else [f"{field.name}: {field.default} -> other"])


def test_differences_reach_into_the_family_settings():
    new = config(model=MODELS["dcgan"](latent_dim=5))
    assert differences(config(), new) == [f"model.latent_dim: {MODELS['dcgan']().latent_dim} -> 5"]


def test_what_may_change_when_a_run_goes_on_is_what_no_weight_depends_on():
    assert FREE_TO_CHANGE == {
        "steps", "epochs", "out", "restart", "dry_run", "data", "workers", "storage", "cache_dir", "scan", "max_broken", "device",
        "threads", "log_every", "sample_every", "checkpoint_every", "keep", "samples", "tensorboard", "on_alarm", "max_rollbacks",
        "alarm_patience", "alarm_after", "eval_every", "metrics", "eval_samples", "best", "eval_threads", "eval_flags",
        "model.vgg_weights"}
    assert FREE_TO_CHANGE <= {item.name for item in dataclasses.fields(TrainConfig)} | {
        f"model.{item.name}" for model in MODELS.values() for item in dataclasses.fields(model)}


def test_data_settings_are_what_the_dataset_takes():
    import inspect
    accepted = inspect.signature(VideoDataset).parameters
    settings = config(height=48, max_frames=7).data_kwargs()
    assert settings.keys() <= accepted.keys()
    assert (settings["height"], settings["max_frames"]) == (48, 7)
    decided_elsewhere = {"data", "storage", "device", "quiet"}
    assert accepted.keys() - settings.keys() == decided_elsewhere


def test_every_setting_is_documented_and_defaults_are_finite():
    import ast
    from pathlib import Path

    import configs.schema
    tree = ast.parse(Path(configs.schema.__file__).read_text())
    body = next(node for node in tree.body if getattr(node, "name", "") == "TrainConfig").body
    documented = {before.target.id for before, after in zip(body, body[1:]) if isinstance(before, ast.AnnAssign) and
                  isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)}
    assert {item.name for item in dataclasses.fields(TrainConfig)} <= documented
    assert all(math.isfinite(item.default) for item in dataclasses.fields(TrainConfig) if isinstance(item.default, float))
