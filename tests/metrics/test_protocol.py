"""Results as JSON, metrics by name."""

import json
import math

import pytest

from metrics.protocol import finite_only
from metrics.registry import COLLECTORS, METRICS, choose
from metrics.report import number
from utils.errors import UserError


def test_numbers_that_are_not_finite_become_null_however_deep():
    value = {"a": math.inf, "b": [1.5, -math.inf, {"c": math.nan}], "d": (2, "x", None, True)}
    text = json.dumps(finite_only(value), allow_nan=False)
    assert json.loads(text) == {"a": None, "b": [1.5, None, {"c": None}], "d": [2, "x", None, True]}


def test_metrics_are_chosen_by_name_once_each_in_the_order_asked():
    assert list(choose(" SWD, psnr,swd ")) == ["swd", "psnr"]
    assert [metric.name for metric in choose("fid,fid_random,is_c3d").values()] == ["fid", "fid_random", "is_c3d"]
    with pytest.raises(UserError, match="unknown fod; known are psnr, ssim, ms_ssim"):
        choose("fid,psnr,fod")


@pytest.mark.parametrize("name, needs",
                         [("fid", ("inception", "frames")), ("fid_random", ("random", "frames")), ("fvd_random", ("random", "clips")),
                          ("fvd_r3d_18", ("r3d_18", "clips")), ("kid_script", ("script", "frames")), ("is_c3d", ("c3d", "clips")),
                          ("precision_own", ("own", "clips"))])
def test_a_network_may_follow_the_name(name, needs):
    (metric,) = choose(name).values()
    assert metric.needs == needs and metric.name == name


@pytest.mark.parametrize("name, message", [("fid_i3d", "ask for fvd_i3d"), ("fvd_inception", "ask for fid_inception"),
                                           ("is_random", "does not classify"), ("swd_random", "unknown swd_random")])
def test_networks_that_do_not_fit_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        choose(name)


def test_every_metric_on_sets_names_something_that_is_collected():
    for metric in METRICS.values():
        assert (metric.collects in COLLECTORS) == (metric.kind != "pairs")


@pytest.mark.parametrize("value, text", [(None, "undefined"), (float("nan"), "undefined"),
                                         (0.83551, "0.8355"), (1.0, "1.000"), (1234.5, "1234"), (23456.7, "23457"),
                                         (1.2e-5, "1.200e-05"), (float("inf"), "infinite"), (7, "7"), (0.0, "0.000")])
def test_numbers_in_tables(value, text):
    assert number(value) == text
