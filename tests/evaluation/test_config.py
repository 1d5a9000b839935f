"""What can be asked, and the flag that each complaint names."""

import pytest

import evaluate
from evaluation.config import EvaluateConfig, once
from evaluation.networks import split_weights
from utils.errors import UserError


def test_help_lists_the_metrics_and_needs_nothing_else(capsys):
    assert evaluate.main(["--metrics", "help"]) == 0
    assert "fid" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["checkpoint", "data", "real", "fake", "output", "cache_dir", "protocol", "weights", "compare"])
def test_an_empty_value_is_no_value(flag):
    with pytest.raises(UserError, match=f"--{flag}: is empty"):
        evaluate.main(["--real", "a", "--fake", "b", f"--{flag}="])


def test_a_protocol_and_a_rate_exclude_each_other_by_name():
    with pytest.raises(UserError, match="--fps 12: --protocol fid_random_16"):
        EvaluateConfig(real="a", fake="b", protocol="fid_random_16", fps=12).check()


@pytest.mark.parametrize("flags, message", [
    ({"controls": True, "real": "a", "draws": 3}, "--draws 3: --controls"), ({"controls": True, "real": "a", "data": "b"}, "--data b"),
    ({"controls": True, "real": "a", "one_per_video": True}, "--one_per_video True"),
    ({"real": "a", "fake": "b", "clip_frames": 2, "frames_per_clip": 3}, "--frames_per_clip 3: clips have --clip_frames 2")])
def test_what_could_have_no_effect_is_refused(flags, message):
    with pytest.raises(UserError, match=message):
        EvaluateConfig(**flags).check()


def test_controls_take_protocols_of_clips_too():
    assert EvaluateConfig(controls=True, real="a", protocol="fvd_random_20_16f").check().clip_frames == 16


def test_reports_are_not_written_where_they_would_be_measured(tmp_path):
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
    for name in ("real", "fake"):
        with pytest.raises(UserError, match=f"--output .*report: lies in --{name}"):
            evaluate.main(["--real", f"{tmp_path}/real", "--fake", f"{tmp_path}/fake", "--output", f"{tmp_path}/{name}/deep/report"])
    assert not list(tmp_path.glob("*/*"))


def test_what_pairs_have_no_use_for_is_told():
    told = lambda **flags: once(EvaluateConfig(real="a", fake="b", **flags), ["psnr", "ssim"])
    assert told() == [] and told(draws=2) == told(one_per_video=True) == [
        "psnr, ssim: measured once; --draws and --one_per_video are for metrics of sets"]


def test_weights_may_be_given_one_by_one():
    words = evaluate.merge_weights(["--weights", "own=runs/a", "--seed", "3", "--weights=i3d=x.pt"])
    assert words == ["--seed", "3", "--weights=own=runs/a,i3d=x.pt"]
    assert split_weights("own=runs/a, i3d=x.pt") == ("runs/a", {"i3d": "x.pt"}) and split_weights(None) == (None, {})


@pytest.mark.parametrize("flag, value, fixed", [("metrics", "swd", "fid_random"), ("num_samples", 1024, 16)])
def test_a_protocol_refuses_other_settings_though_they_are_usual(flag, value, fixed):
    with pytest.raises(UserError, match=f"--{flag} {value}: --protocol fid_random_16 fixes it at {fixed}"):
        EvaluateConfig(real="a", fake="b", protocol="fid_random_16", **{flag: value}).check()
    usual = EvaluateConfig(real="a", fake="b").check()
    assert (usual.metrics, usual.num_samples) == ("swd", 1024)
