"""Randomness by name."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import utils.seeds
from utils.seeds import derive, numpy_generator, torch_generator

keys = st.lists(st.integers(-10**9, 10**9) | st.text(st.characters(exclude_characters="/"), min_size=1, max_size=8), max_size=4)


@given(st.integers(0, 2**63 - 1), keys)
def test_a_seed_fits_where_seeds_are_taken(seed, names):
    value = derive(seed, *names)
    assert 0 <= value < 2**63 and value == derive(seed, *names)
    np.random.default_rng(value)
    torch.Generator().manual_seed(value)


@given(st.integers(0, 10**6), keys, st.integers(0, 10**6), keys)
def test_other_keys_other_seeds(seed, names, other_seed, other_names):
    same = [str(key) for key in (seed, *names)] == [str(key) for key in (other_seed, *other_names)]
    assert (derive(seed, *names) == derive(other_seed, *other_names)) == same


def test_keys_do_not_run_into_each_other():
    assert len({derive(1, 11), derive(11, 1), derive(1, 1, 1), derive(111), derive(0, "a", "b"), derive(0, "ab")}) == 6


def test_the_same_in_every_process():
    """Python's own hash() is salted per process."""
    command = "from utils.seeds import derive; print(derive(3, 'data', 7))"
    root = Path(utils.seeds.__file__).parent.parent
    run = lambda: subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True).stdout
    printed = {run(), run()}
    assert printed == {f"{derive(3, 'data', 7)}\n"}


def test_generators_follow_their_keys_and_leave_the_global_ones_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    draw = lambda *names: torch.rand(4, generator=torch_generator(0, *names))
    assert torch.equal(draw("a", 1), draw("a", 1)) and not torch.equal(draw("a", 1), draw("a", 2))
    assert np.array_equal(numpy_generator(0, "a").random(4), numpy_generator(0, "a").random(4))
    assert not np.array_equal(numpy_generator(0, "a").random(4), numpy_generator(1, "a").random(4))
    assert torch.equal(torch.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])


def test_neighbouring_seeds_give_unrelated_streams():
    streams = np.stack([numpy_generator(seed, "x").standard_normal(2000) for seed in range(20)])
    correlation = np.corrcoef(streams) - np.eye(20)
    assert abs(correlation).max() < 0.12  # five standard deviations of chance
