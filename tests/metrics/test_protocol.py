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
    with pytest.raises(UserError, match="fid, kid; known are psnr, ssim, swd"):
        choose("fid,psnr,kid")


def test_every_metric_on_sets_names_something_that_is_collected():
    for metric in METRICS.values():
        assert (metric.collects in COLLECTORS) == (metric.kind == "sets")


@pytest.mark.parametrize("value, text", [(None, "infinite"), (0.83551, "0.8355"), (1.0, "1.000"), (1234.5, "1234"), (23456.7, "23457"), (1.2e-5, "1.200e-05"), (float("inf"), "infinite"), (7, "7"), (0.0, "0.000")])
def test_numbers_in_tables(value, text):
    assert number(value) == text
