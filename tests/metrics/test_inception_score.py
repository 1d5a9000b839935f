"""Inception score in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.inception_score import inception_score


def sure(classes: torch.Tensor, count: int, certainty: float = 50.0) -> torch.Tensor:
    return certainty * torch.nn.functional.one_hot(classes, count).float()


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(1, 30), each=st.integers(1, 8), certainty=st.sampled_from([60.0, 1e4, 1e30]))
def test_sure_and_evenly_spread_gives_the_number_of_classes(classes, each, certainty):
    logits = sure(torch.arange(classes).repeat(each), classes, certainty)
    assert inception_score(logits, splits=1).value == pytest.approx(classes, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(count=st.integers(10, 60), classes=st.integers(1, 30), level=st.floats(-1e3, 1e3))
def test_undecided_or_always_alike_gives_one(count, classes, level):
    score = inception_score(torch.full((count, classes), level))
    assert score.value == pytest.approx(1) and score.parts["standard deviation over splits"] == pytest.approx(0, abs=1e-9)
    same = torch.linspace(-3, 9, classes).expand(count, -1)
    assert inception_score(same).value == pytest.approx(1)


def test_between_the_two_it_is_its_definition():
    logits = 3 * torch.randn(500, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = np.exp(logits.numpy())
    p /= p.sum(axis=1, keepdims=True)
    expected = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    assert inception_score(logits, splits=1).value == pytest.approx(expected, rel=1e-9)
    ten = inception_score(logits)
    assert 1 < ten.value < 7 and ten.parts["standard deviation over splits"] > 0 and ten.note == ""
    assert ten.value == inception_score(logits, seed=2020).value != inception_score(logits, seed=1).value


def test_a_class_that_never_occurs_does_no_harm():
    assert inception_score(sure(torch.arange(4).repeat(5), 9, 2e3), splits=2).value > 3


def test_few_samples_a_split_are_noted_and_too_few_refused():
    logits = sure(torch.arange(25), 100)
    score = inception_score(logits, splits=10)
    assert score.value < 3 and "at most 3 samples a split for 100 classes" in score.note
    for splits in (0, 26):
        with pytest.raises(ValueError, match="25 samples"):
            inception_score(logits, splits=splits)
    with pytest.raises(ValueError, match="not finite"):
        inception_score(torch.full((20, 3), torch.inf))
