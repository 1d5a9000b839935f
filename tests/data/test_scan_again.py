"""What a scan keeps for the next one, and how it counts frames."""

import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cache import cache_folder
from data.decode import pick
from data.health import Health
from data.layouts import find_sources
from data.probe import ProbeTask, probe
from data.scan import scan
from tests.data.films import numbered, write_film
from utils.images import save_png


def test_a_scan_cut_short_goes_on_from_there(tmp_path):
    for name in "abc":
        write_film(tmp_path / "v" / f"{name}.mp4", numbered(4 + "abc".index(name)))
    layout, folder = find_sources(tmp_path / "v"), cache_folder(tmp_path / "c")

    class CutShort:
        def map(self, function, tasks, on_done):
            asked.extend(task.name for task in tasks)
            on_done(1, function(tasks[1], lambda *_: None))
            raise KeyboardInterrupt

    for expected in (["a.mp4", "b.mp4", "c.mp4"], ["a.mp4", "c.mp4"]):
        asked = []
        with pytest.raises(KeyboardInterrupt):
            scan(layout, CutShort(), folder=folder, quiet=True)
        assert asked == expected


def test_a_picture_that_the_disk_did_not_give_is_not_remembered(tmp_path, monkeypatch):
    for index in range(3):
        save_png(tmp_path / "v" / "clip" / f"{index}.png", np.zeros((8, 8, 3), np.uint8))
    read = np.fromfile

    def fails(file, dtype):
        if file.name == "1.png":
            raise OSError(errno.EIO, "Input/output error")
        return read(file, dtype)

    task = ProbeTask(str(tmp_path / "v" / "clip"), "frames", "clip", "", 0, False, 25.0)
    assert not probe(task, lambda *_: None).passing
    monkeypatch.setattr(np, "fromfile", fails)
    health = probe(task, lambda *_: None)
    assert health.passing and (health.frames, health.corrupt, health.status) == (2, 1, "damaged")


@given(frames=st.integers(1, 200), rate=st.sampled_from([8, 12.5, 24, 25, 30000 / 1001, 30, 50, 60]),
       fps=st.sampled_from([0.2, 1, 5, 6, 10, 12, 23.976, 24, 25, 30, 60]))
def test_frames_at_a_rate_are_counted_as_they_are_picked(frames, rate, fps):
    class Steady:
        def __init__(self):
            self.times = iter([index / rate for index in range(frames)])

        def step(self):
            return next(self.times, None)

        def picture(self):
            return np.zeros((1, 1, 3), np.uint8)

    picked = sum(repeats for _, repeats, _ in pick(Steady(), fps=fps, on_step=lambda: None))
    assert Health("film", frames=frames, fps=rate).frames_at(fps) == picked


def test_where_frames_come_as_they_please_their_times_count():
    for more, expected in ((dict(), 10), (dict(variable_rate=True), 40), (dict(variable_rate=True, bad=[(1.0, 2.0)]), 10)):
        assert Health("film", frames=10, fps=10, seconds=4.0, **more).frames_at(10) == expected
