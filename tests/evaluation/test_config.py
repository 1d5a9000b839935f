"""What can be asked, and the flag that each complaint names."""

import pytest

import evaluate
from evaluation.config import EvaluateConfig
from utils.errors import UserError


def test_help_lists_the_metrics_and_needs_nothing_else(capsys):
    assert evaluate.main(["--metrics", "help"]) == 0
    assert "fid" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["checkpoint", "data", "real", "fake", "output", "cache_dir", "protocol", "weights", "compare"])
def test_an_empty_value_is_no_value(flag):
    with pytest.raises(UserError, match=f"--{flag}: is empty"):
        EvaluateConfig(**{"real": "a", "fake": "b", flag: ""}).check()


def test_a_protocol_and_a_rate_exclude_each_other_by_name():
    with pytest.raises(UserError, match="--fps 12: --protocol fid_random_16"):
        EvaluateConfig(real="a", fake="b", protocol="fid_random_16", fps=12).check()
