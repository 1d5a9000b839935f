"""Protocols by name: what a name fixes, and what it refuses."""

import pytest

from evaluation.config import EvaluateConfig
from metrics.protocols import named_protocol
from utils.errors import UserError


@pytest.mark.parametrize("name, metric, count, frames, skip", [
    ("fid10k", "fid", 10_000, None, 1), ("fid_random_512", "fid_random", 512, None, 1), ("kid1k", "kid", 1000, None, 1),
    ("fvd2048_16f", "fvd", 2048, 16, 1), ("fvd_r3d_18_256_16f_skip2", "fvd_r3d_18", 256, 16, 2), ("is_c3d_10k", "is_c3d", 10_000, 16, 1),
    ("swd1024", "swd", 1024, None, 1), ("diversity1k", "diversity", 1000, 16, 1), ("warping_error_1k_8f", "warping_error", 1000, 8, 1),
    ("swd_motion_1k_4f", "swd_motion", 1000, 4, 1), ("FVD_random_64_8f", "fvd_random", 64, 8, 1)])
def test_a_name_says_everything(name, metric, count, frames, skip):
    fixed = named_protocol(name)
    assert (fixed["metrics"], fixed["num_samples"], fixed.get("clip_frames"), fixed["frame_skip"]) == (metric, count, frames, skip)
    assert fixed["one_per_video"] == metric.startswith("fvd") and fixed["seed"] == 0 and fixed["split"] == "train"


@pytest.mark.parametrize("name, message", [("fid", "number of clips"), ("fid0", "number of clips"), ("nothing10k", "unknown nothing"),
                                           ("fid10k_16f", "single frames"), ("psnr100", "pairs"), ("fid_i3d_10k", "ask for fvd_i3d"),
                                           ("10k", "number of clips")])
def test_other_names_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        named_protocol(name)


def test_a_protocol_fills_in_the_settings_and_refuses_others():
    config = EvaluateConfig(real="a", fake="b", protocol="fvd_random_64_8f").check()
    assert (config.metrics, config.num_samples, config.clip_frames, config.one_per_video) == ("fvd_random", 64, 8, True)
    EvaluateConfig(real="a", fake="b", protocol="fvd_random_64_8f", num_samples=64).check()
    for own in ({"num_samples": 65}, {"seed": 3}, {"metrics": "fid"}, {"network_resize": "clean"}):
        with pytest.raises(UserError, match=f"--{next(iter(own))} .*fixes it"):
            EvaluateConfig(real="a", fake="b", protocol="fvd_random_64_8f", **own).check()


@pytest.mark.parametrize("name, kept", [("precision_random_50k", 50_000), ("is50k", 50_000), ("kid1k", 10_000), ("fid50k", None)])
def test_features_of_all_clips_are_kept_where_the_metric_needs_them(name, kept):
    assert named_protocol(name).get("max_features_kept") == kept
