"""The shelf of what is known of real clips, on a disk that is full or that a killed run has left half-written."""

import os
import resource
import time

import pytest
import torch

from data.cache import cache_folder
from metrics.shelf import Shelf


class Held:
    """A collector that holds a tensor."""

    def __init__(self, values=None):
        self.values = values

    def state(self):
        return {"values": self.values}

    def restore(self, state):
        self.values = state["values"]


@pytest.fixture
def full_disk():
    """Writes fail after 1000 bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_measurement_and_leaves_nothing_half_written(full_disk, tmp_path):
    Shelf(tmp_path).save("much", Held(torch.zeros(10_000)))
    assert not list(tmp_path.iterdir()) and not Shelf(tmp_path).restore({"much": Held()})


def test_a_folder_that_cannot_be_made_costs_no_measurement(tmp_path):
    (tmp_path / "features").write_text("a file")
    Shelf(tmp_path / "features").save("little", Held(torch.zeros(2)))


def test_a_file_cut_short_is_looked_at_again(tmp_path):
    shelf, held = Shelf(tmp_path), Held()
    shelf.save("it", Held(torch.ones(3)))
    assert shelf.restore({"it": held}) == {"it"} and held.values.tolist() == [1, 1, 1]
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert not shelf.restore({"it": Held()})


def test_what_a_killed_run_left_is_cleared_away_after_a_day(tmp_path):
    (tmp_path / "features").mkdir()
    for name, days in (("old", 2), ("new", 0)):
        left = tmp_path / "features" / f".{name}.1.ab.tmp.safetensors"
        left.touch()
        os.utime(left, (time.time() - days * 86400,) * 2)
    cache_folder(tmp_path)
    assert [left.name for left in (tmp_path / "features").iterdir()] == [".new.1.ab.tmp.safetensors"]
