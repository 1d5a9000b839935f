"""Films whose names are trouble for FFmpeg or OpenCV."""

import os
from pathlib import Path

import pytest

from data.dataset import VideoDataset
from data.ffmpeg import open_capture
from tests.data.films import numbered, numbers, write_film


@pytest.mark.parametrize("skip", [1, 4])
def test_a_colon_is_no_protocol(tmp_path, monkeypatch, skip):
    options = {"crf": "4", "preset": "ultrafast", "bf": "3", "b-pyramid": "none"}
    write_film(tmp_path / "film.mp4", numbered(40), options=options).rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    for data in ("12:30.mp4", "."):
        dataset = VideoDataset(data, 48, 64, 2, frame_skip=skip, cache_dir=tmp_path / f"cache_{data}", quiet=True)
        assert dataset.report.videos[0].status == "ok"
        assert numbers(dataset[0]["video"]) == [0, skip] and len(dataset) == len(range(0, 40, skip)) - 1


def test_bytes_that_are_not_utf_8(tmp_path):
    """In a worker, as OpenCV ended the process that gave it such a name."""
    film = write_film(tmp_path / "film.mp4", numbered(10))
    os.rename(film, os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    dataset = VideoDataset(tmp_path, 48, 64, 2, cache_dir=tmp_path / "cache", quiet=True)
    assert [video.status for video in dataset.report.videos] == ["ok"] and len(dataset) == 9
    assert numbers(dataset[3]["video"]) == [3, 4]
    capture = open_capture(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")))
    assert [capture.read()[1].shape for _ in range(10)] == [(48, 64, 3)] * 10 and not capture.read()[0]
    assert not open_capture(Path(os.fsdecode(b"absent\xe9.mp4"))).isOpened()
