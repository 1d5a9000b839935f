import itertools

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.decode import VideoStream, fit_frame, pick, read_frames
from tests.data.films import moving, numbered, numbers, texture, write_film
from utils.errors import UserError


class Listed:
    """A stream of numbered pictures with given times."""

    def __init__(self, times):
        self._times, self._place, self.opened = list(times), -1, []

    def step(self):
        self._place += 1
        return self._times[self._place] if self._place < len(self._times) else None

    def picture(self):
        self.opened.append(self._place)
        return np.full((1, 1, 3), self._place, np.uint8)


def picked(times, **options):
    stream = Listed(times)
    out = list(itertools.chain.from_iterable([int(picture[0, 0, 0])] * repeats for picture, repeats, _ in pick(stream, **options)))
    return out, stream.opened


@given(count=st.integers(0, 60), skip=st.integers(1, 12))
def test_frame_skip_opens_only_what_it_keeps(count, skip):
    assert picked(np.arange(count) / 25, frame_skip=skip) == (list(range(0, count, skip)),) * 2


@pytest.mark.parametrize("rate, fps, expected", [
    (25, 25, list(range(50))), (30000 / 1001, 30000 / 1001, list(range(50))), (30, 15, list(range(0, 50, 2))),
    (30, 10, list(range(0, 50, 3))), (25, 5, list(range(0, 50, 5))), (60, 4, [0, 15, 30, 45]),
    (25, 12.5, list(range(0, 50, 2))), (10, 20, [i // 2 for i in range(99)])])
@pytest.mark.parametrize("clock", [None, 1000])
def test_fps_divides_a_constant_rate_evenly(rate, fps, expected, clock):
    times = np.arange(50) / rate
    times = times if clock is None else np.round(times * clock) / clock  # containers that count milliseconds
    assert picked(times, fps=fps)[0] == expected


@given(steps=st.lists(st.sampled_from([0.01, 0.02, 0.04, 0.1, 0.5]), min_size=1, max_size=80), fps=st.sampled_from([5.0, 12.0, 25.0]))
def test_fps_follows_the_clock_of_a_variable_rate(steps, fps):
    times = np.cumsum([0, *steps])
    out, _ = picked(times, fps=fps)
    # A quarter of a frame early is on time.
    due = np.maximum.accumulate(times * fps + 0.25 * np.minimum(1, np.diff(times, prepend=0) * fps))
    assert len(out) == int(np.floor(due[-1])) + 1
    for tick, shown in enumerate(out):  # the first frame in the tick's window, else the one before again
        window = np.flatnonzero((due >= tick) & (due < tick + 1))
        assert shown == (window[0] if len(window) else out[tick - 1])


def test_breaks_in_time_and_damage_are_marked():
    stream = Listed([0, 0.04, 0.08, 0.12, 0.16, 0.2])
    assert [(int(picture[0, 0, 0]), broken) for picture, _, broken in pick(stream, bad=[(0.07, 0.13)])] == [
        (0, False), (1, False), (4, True), (5, False)]
    jump = Listed([0, 0.04, 1e6, 1e6 + 0.04, 0.16])  # damaged time stamps must not make millions of repeats
    assert [(int(picture[0, 0, 0]), repeats, broken) for picture, repeats, broken in pick(jump, fps=25)] == [
        (0, 1, False), (1, 1, False), (2, 1, True), (3, 1, False), (4, 1, True)]


@pytest.mark.parametrize("skip", [1, 2, 3, 7])
def test_the_right_frames_of_a_real_file(tmp_path, skip):
    path = write_film(tmp_path / "n.mp4", numbered(60), options={"crf": "4", "bf": "3", "g": "12"})
    assert numbers(read_frames(path, frame_skip=skip)) == list(range(0, 60, skip))


def test_a_variable_rate_file_by_time(tmp_path):
    times = np.cumsum([0] + [0.04, 0.04, 0.12] * 13)
    path = write_film(tmp_path / "v.mkv", numbered(40), seconds=times)
    expected = [int(np.searchsorted(times, tick / 25 + 0.011, side="right") - 1) for tick in range(round(times[-1] * 25) + 1)]
    assert numbers(read_frames(path, fps=25)) == expected


@pytest.mark.parametrize("codec, ending", [("libx264", "mp4"), ("ffv1", "mkv"), ("mpeg4", "avi")])
def test_pixels_are_those_of_an_independent_decoder(tmp_path, codec, ending):
    path = write_film(tmp_path / f"a.{ending}", moving(12), codec=codec, options={"bf": "2"} if codec == "libx264" else {})
    with av.open(str(path)) as container:
        peer = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    ours = list(read_frames(path))
    assert len(ours) == len(peer) == 12 and np.abs(np.stack(ours).astype(int) - np.stack(peer)).max() <= 2
    if codec == "ffv1":
        assert np.array_equal(np.stack(ours), np.stack(moving(12)))  # lossless: to the last bit what was written


def test_real_clip_equals_an_independent_decoder(clips):
    with av.open(str(clips / "bikes.mp4")) as container:
        peer = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(container.decode(video=0), 24)][::4]
    ours = list(itertools.islice(read_frames(clips / "bikes.mp4", frame_skip=4), 6))
    assert np.abs(np.stack(ours).astype(int) - np.stack(peer)).max() <= 2


def test_nothing_to_read_is_one_line(tmp_path):
    (tmp_path / "a.mp4").write_text("no film")
    for path in (tmp_path / "a.mp4", tmp_path / "absent.mp4"):
        with pytest.raises(UserError, match=path.name):
            list(read_frames(path))


def ramp(height, width):
    """Red grows to the right, green downwards, linearly in the pixel centres; blue marks the border."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return np.round(np.stack([x, y, np.zeros_like(x)], -1) * 255).astype(np.uint8)


@pytest.mark.parametrize("size, target", [((90, 160), (64, 64)), ((160, 90), (64, 64)), ((40, 40), (160, 320)), ((272, 640), (160, 320)),
                                          ((33, 57), (20, 90))])
def test_crop_keeps_the_aspect_and_the_centre(size, target):
    (high, wide), (height, width) = size, target
    out = fit_frame(ramp(high, wide), height, width, "crop").astype(float) / 255
    scale = max(height / high, width / wide)
    part_x, part_y = width / scale / wide, height / scale / high  # the share of the picture that stays
    x = 0.5 + ((np.arange(width) + 0.5) / width - 0.5) * part_x
    y = 0.5 + ((np.arange(height) + 0.5) / height - 0.5) * part_y
    inner = (slice(3, -3), slice(3, -3))
    assert np.abs(out[..., 0] - x[None, :])[inner].max() < 1.5 / min(wide, width) + 0.01
    assert np.abs(out[..., 1] - y[:, None])[inner].max() < 1.5 / min(high, height) + 0.01


def test_pad_adds_even_black_bars_and_stretch_fills():
    white = np.full((50, 100, 3), 255, np.uint8)
    padded = fit_frame(white, 64, 64, "pad")
    assert padded.shape == (64, 64, 3) and np.all(padded[16:48] == 255) and not padded[:16].any() and not padded[48:].any()
    tall = fit_frame(np.full((100, 50, 3), 255, np.uint8), 64, 64, "pad")
    assert np.array_equal(tall, padded.transpose(1, 0, 2))
    out = fit_frame(ramp(50, 100), 64, 64, "stretch").astype(float) / 255
    assert np.abs(out[3:-3, 3:-3, 0] - ((np.arange(64) + 0.5) / 64)[None, 3:-3]).max() < 0.03
    assert np.abs(out[3:-3, 3:-3, 1] - ((np.arange(64) + 0.5) / 64)[3:-3, None]).max() < 0.03


def test_shrinking_averages_areas():
    fine = texture(1, 96, 128)
    assert np.abs(fit_frame(fine, 24, 32).astype(float) - fine.reshape(24, 4, 32, 4, 3).mean((1, 3))).max() <= 0.5 + 1e-6
    checks = np.indices((64, 64)).sum(0)[..., None].repeat(3, 2) % 2 * 255
    assert np.all(np.abs(fit_frame(checks.astype(np.uint8), 16, 16).astype(int) - 127.5) < 1)  # no aliasing


@given(high=st.integers(1, 90), wide=st.integers(1, 90), height=st.integers(1, 70), width=st.integers(1, 70),
       fit=st.sampled_from(["crop", "pad", "stretch"]))
def test_any_size_becomes_any_size(high, wide, height, width, fit):
    out = fit_frame(np.full((high, wide, 3), 200, np.uint8), height, width, fit)
    assert out.shape == (height, width, 3) and out.dtype == np.uint8 and out.max() == 200
    if fit != "pad":
        assert out.min() == 200


def test_equal_size_is_untouched():
    picture = texture(3)
    assert np.array_equal(fit_frame(picture, *picture.shape[:2]), picture)


def test_a_damaged_packet_is_not_the_end_of_a_film(tmp_path):
    path = write_film(tmp_path / "film.mp4", moving(120), options={"crf": "20", "g": "10", "bf": "0"})
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][33]
    data = bytearray(path.read_bytes())
    data[packet.pos:packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    stamps, stream = [], VideoStream(path)
    while (time := stream.step()) is not None:
        stamps.append(time)
    stream.close()
    assert len(stamps) >= 110 and stamps[-1] == pytest.approx(119 / 25, abs=0.01) and stamps == sorted(stamps)
