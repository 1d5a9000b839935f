"""The shelf of what is known of real clips, on a disk that is full or that a killed run has left half-written."""

import os
import subprocess
import sys
import time

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


def test_a_full_disk_costs_no_measurement_and_leaves_nothing_half_written(tmp_path):
    script = """
import resource, sys
from pathlib import Path
import torch
from metrics.shelf import Shelf
from tests.metrics.test_shelf import Held
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # writes fail after 1000 bytes of a file
Shelf(folder).save("much", Held(torch.zeros(10_000)))
assert not list(folder.iterdir()) and not Shelf(folder).restore({"much": Held()})
"""
    # In a process of its own: what this one prints may go to a file, too.
    done = subprocess.run([sys.executable, "-B", "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
