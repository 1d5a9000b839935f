"""Cuts that are easily missed, and what looks like them. Easier ones are in test_extract.py and test_remake.py."""

import numpy as np
import pytest

from data.cuts import find_cuts, thumbnail, with_cuts
from data.decode import fit_frame, read_frames
from data.synthetic import draw_factors, render
from tests.data.films import moving


def cuts_of(frames) -> list[int]:
    return find_cuts(np.stack([thumbnail(frame) for frame in frames]))


def told(frames) -> list[int]:
    return [place for place, (_, begins) in enumerate(with_cuts(iter(frames))) if begins]


def shots(length: int, count: int = 8) -> list[np.ndarray]:
    return [frame for seed in range(count) for frame in moving(length, seed=seed, speed=1)]


def framed(frames, rows: int, columns: int) -> list[np.ndarray]:
    """The frames with black bars of so many pixels on all sides."""
    return [np.pad(frame, ((rows, rows), (columns, columns), (0, 0))) for frame in frames]


def turned(frames, how, every: int) -> list[np.ndarray]:
    """A film of which every second stretch of ``every`` frames is mirrored."""
    return [how(frame) if index // every % 2 else frame for index, frame in enumerate(frames)]


def captioned(frames, every: int = 12) -> list[np.ndarray]:
    """White words over a tenth of the picture that come and go."""
    words = np.random.default_rng(0).random((6, 48)) > 0.5
    frames = [frame.copy() for frame in frames]
    for index, frame in enumerate(frames):
        if index // every % 2:
            frame[-10:-4, 8:56][np.roll(words, index // every, axis=1)] = 255
    return frames


def test_a_still_part_of_the_picture_hides_no_cut(clips):
    """Half of each frame is a diagram that stands still; then black bars are all but a ninth of it."""
    frames = list(read_frames(clips / "scene_cuts.mp4"))
    assert told(frames) == [30, 76, 137, 187, 242]
    assert cuts_of(fit_frame(frame, 64, 64, "pad") for frame in frames) == [30, 76, 137, 187, 242]


@pytest.mark.parametrize("length", [2, 3, 4, 5])
@pytest.mark.parametrize("bars", [(0, 0), (16, 0), (24, 32)])
def test_shots_of_a_few_frames(length, bars):
    frames = framed(shots(length), *bars)
    assert cuts_of(frames) == told(frames) == list(range(length, 8 * length, length))


@pytest.mark.parametrize("how", [np.fliplr, np.flipud])
@pytest.mark.parametrize("every", [2, 3, 20])
def test_a_mirrored_scene_is_another_though_its_colours_stay(how, every):
    frames = turned(moving(60, seed=4, speed=1), how, every)
    assert told(frames) == list(range(every, 60, every))


def test_a_real_film_mirrored_at_known_places(clips):
    frames = [frame for index, frame in enumerate(read_frames(clips / "bikes.mp4")) if 140 <= index < 185]
    assert told(turned(frames, np.fliplr, 9)) == [9, 18, 27, 36]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("flash", [lambda frame: frame // 3, lambda frame: frame // 2 + 128, np.zeros_like, lambda frame: frame | 255])
def test_light_that_comes_and_goes_is_no_cut(width, flash):
    assert told([flash(frame) if index % 20 < width else frame for index, frame in enumerate(moving(70), 10)]) == []


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("bars", [(0, 0), (24, 32)])
def test_captions_are_no_cut(still, bars):
    frames = list(render(draw_factors(0, 3), 60, 48, 64, 24))
    assert told(framed(captioned(frames[:1] * 60 if still else frames), *bars)) == []


@pytest.mark.parametrize("name", ["vtest.avi", "carphone_pristine.mp4", "test.avi", "tree.avi"])
def test_frames_held_for_two_are_no_cuts(clips, name):
    """As drawings on twos: motion comes and pauses by turns."""
    small = [thumbnail(frame) for index, frame in enumerate(read_frames(clips / name)) if index < 200]
    assert find_cuts(np.repeat(np.stack(small), 2, axis=0)) == []
