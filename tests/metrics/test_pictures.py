"""Pictures hold what they are of, and nothing is cut off at their edges."""

import warnings

import cv2
import numpy as np
import pytest
import torch
from matplotlib import colormaps

from metrics import pictures, plots


def read(png: bytes) -> np.ndarray:
    """Colours as drawn, int (H, W, 3) RGB."""
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def edge(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def area(picture: np.ndarray, color) -> int:
    """Pixels of exactly this colour."""
    return int((picture == color).all(axis=2).sum())


def flat(level: int, height: int = 32, width: int = 48) -> np.ndarray:
    """A frame of one colour that no text and no chart has."""
    return np.full((height, width, 3), (level, 7, 99), np.uint8)


def places(picture: np.ndarray, levels) -> list[tuple[int, int]]:
    """Top and left of what is left of each :func:`flat` frame."""
    found = [np.argwhere((picture == (level, 7, 99)).all(axis=2)) for level in levels]
    return [tuple(where.min(axis=0).tolist()) for where in found]


def test_neighbours_stand_beneath_and_every_pair_is_shown():
    fake, real = [flat(10 + n) for n in range(7)], [flat(100 + n) for n in range(7)]
    picture = read(pictures.neighbours(fake, real, [f"0.{n}" for n in range(7)]))
    above, below = places(picture, range(10, 17)), places(picture, range(100, 107))
    assert all(a[1] == b[1] and a[0] < b[0] for a, b in zip(above, below))
    assert {area(picture, (level, 7, 99)) for level in (*range(10, 17), *range(100, 107))} == {150 * 100}
    assert len(set(above)) == 7 and len({top for top, _ in above}) == 2 and picture.shape[1] < 1060
    assert (edge(picture) == 255).all()


def test_captions_of_neighbours_are_never_wider_than_their_picture():
    caption = "0.1234, WWWW/walk_0123456789.mp4, class 12"
    picture = read(pictures.neighbours([flat(10)], [flat(20)], [caption]))
    assert (edge(picture) == 255).all()


@pytest.mark.parametrize("frames, times", [(2, [0, 1]), (5, [0, 1, 2, 3, 4]), (22, [0, 3, 6, 9, 12, 15, 18, 21])])
def test_strips_run_from_the_first_frame_to_the_last(frames, times):
    clip = torch.from_numpy(np.stack([flat(10 + time) for time in range(frames)]))
    picture = read(pictures.strips([clip] * 9, [clip + torch.tensor([100, 0, 0], dtype=torch.uint8)] * 2))
    real, fake = places(picture, [10 + time for time in times]), places(picture, [110 + time for time in times])
    assert sorted(real, key=lambda place: place[1]) == real and len({top for top, _ in real}) == 1 and fake[0][0] > real[0][0]
    tiles = {area(picture, (level + time, 7, 99)) for level in (10, 110) for time in times}
    assert len(tiles) == 1 and tiles.pop() in (2 * 146 * 97, 2 * 126 * 84)  # two clips of each side: there are no more
    shown = {int(level) - 10 for level in np.unique(picture[..., 0][(picture[..., 1:] == (7, 99)).all(axis=2)]) if level < 110}
    assert shown == set(times) and (edge(picture) == 255).all() and picture.shape[1] < 1100


def band(frames):
    return np.linspace(100, 90, frames), np.full(frames, 5.0)


@pytest.mark.parametrize("frames", [1, 2, 16])
def test_profiles_show_both_sides_at_any_length(frames):
    measures = {name: {"real": band(frames), "fake": band(frames)} for name in ("brightness", "contrast", "sharpness")}
    if frames > 1:
        measures["change"] = {"real": band(frames - 1), "fake": band(frames - 1)}
    picture = read(plots.profiles(measures))
    assert (edge(picture) == 255).all() and area(picture, (47, 111, 192)) > 50


def test_quartiles_are_those_of_the_films_that_last():
    films = [np.array([1.0, 2.0, np.inf, 8.0]), np.array([3.0, 4.0, np.inf]), np.array([5.0, np.nan, np.inf])]
    quartiles = plots.quartiles_of(films)
    np.testing.assert_allclose(quartiles, [[2, 2.5, np.nan, 8], [3, 3, np.nan, 8], [4, 3.5, np.nan, 8]])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lengths", [(1,), (40,), (12, 30, 31)])
def test_curves_of_one_film_and_of_many(lengths):
    films = {f"film {number}": np.linspace(20, 30 + number, length) for number, length in enumerate(lengths)}
    films["film 0"][len(films["film 0"]) // 2:][:1] = 25.0 if len(films["film 0"]) == 1 else np.inf
    picture = read(plots.over_time({"psnr": films, "ssim": films, "ms_ssim": films}, {"psnr": "dB"}))
    assert (edge(picture) == 255).all() and area(picture, (47, 111, 192)) > 20
    middle = area(picture, (218, 229, 244)) + area(picture, (217, 229, 243))  # the band
    assert (middle > 500) == (len(lengths) > 1)


@pytest.mark.filterwarnings("error")
def test_controls_color_by_the_size_of_the_damage_and_mark_what_is_caught():
    names = ["blur, sigma 1", "frames shuffled"], ["swd", "a_metric_of_long_name"]
    values = np.array([[np.inf, 3456.0], [np.nan, 0.4]])
    none, all_ = np.zeros((2, 2), bool), np.array([[False, True], [False, False]])
    plain, marked = (read(plots.controls(*names, values, caught)) for caught in (none, all_))
    assert plain.shape == marked.shape and (plain != marked).any() and (edge(marked) == 255).all()
    assert area(marked, (103, 0, 31)) > 1000 and area(marked, (227, 230, 234)) > 1000  # the largest; not measured
    assert area(marked, (103, 0, 31)) < area(plain, (103, 0, 31))  # the mark covers some of it
    assert [plots.cell(value, value > 9) for value in (3456.4, 10.04, 0.4, np.nan)] == ["3456 ✓", "10.0 ✓", "0.40", "–"]
    same = read(plots.controls(*names, np.zeros((2, 2)), none, neutral=0, label="difference"))
    assert area(same, (103, 0, 31)) == 0
    assert (edge(read(plots.controls(["blur"], ["x"], np.array([[2.0]]), np.array([[True]])))) == 255).all()
    assert (edge(read(plots.controls(["blur"], ["x"], np.array([[np.nan]]), np.array([[False]])))) == 255).all()


def test_the_line_to_infinitely_many_clips():
    sizes = [512, 724, 1024, 2048]
    straight = read(plots.fit_line(sizes, [12 + 9000 / size for size in sizes], 12.0))
    assert (edge(straight) == 255).all() and area(straight, (47, 111, 192)) > 60
    assert (edge(read(plots.fit_line([100, 200], [5.0, 5.5], 6.0, "a_metric"))) == 255).all()


def test_bars_and_grids_are_whole():
    picture = read(plots.bars("swd", "x 1e-3", {"fake": {"64x64": 12.0, "32x32": 4.0}, "real": {"64x64": 2.0, "32x32": 1.0}}))
    assert (edge(picture) == 255).all() and area(picture, (59, 111, 182)) > area(picture, (185, 196, 208)) > 500


def test_pictures_are_the_same_whenever_they_are_made():
    assert plots.fit_line([8, 16], [3.0, 2.0], 1.0) == plots.fit_line([8, 16], [3.0, 2.0], 1.0)


def test_a_heat_map_survives_what_is_infinitely_far_from_chance():
    huge, large = (read(plots.controls(["blur"], ["x", "y"], np.array([[1.0, far]]), np.array([[False, True]]), neutral=0))
                   for far in (1e15, 1e4))
    assert np.array_equal(huge, large)


@pytest.mark.parametrize("name", ["cash$5_$6", "price $5 and $6", "caf\udce9", "_hidden", "100%"])
def test_any_name_may_stand_in_a_picture(name):
    frame = np.zeros((16, 200, 3), np.uint8)
    pictures.differences([(f"{name}, frame 0", frame, frame)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with_name, without = (plots.over_time({"psnr": {each: np.arange(5.0)}}, {"psnr": "dB"}) for each in (name, ""))
    assert with_name != without


def test_differences_stand_beside_the_pair_and_know_no_sign():
    picture = read(pictures.differences([("a", flat(10), flat(60)), ("b", flat(160), flat(110))]))
    real, fake, other, made = places(picture, [10, 60, 160, 110])
    assert real[0] == fake[0] < other[0] == made[0] and real[1] == other[1] < fake[1] == made[1]
    worst = (np.array(colormaps["hot_r"](1.0)[:3]) * 255).round()
    assert area(picture, worst) >= 2 * 426 * 284  # both maps wholly


def test_samples_are_spread_over_both_sides_and_real_ones_stand_to_the_left():
    picture = read(pictures.side_by_side([flat(10 + n) for n in range(30)], [flat(100 + n) for n in range(12)], "real", "fake"))
    (first, last), (other, end) = places(picture, [10, 39]), places(picture, [100, 111])
    assert first[0] == other[0] < last[0] == end[0] and first[1] < last[1] < other[1] < end[1]
    assert area(picture, (10, 7, 99)) == 209 * 139


def test_curves_stand_where_their_numbers_say(monkeypatch):
    figures, ones = [], np.ones(2)
    monkeypatch.setattr(plots, "png", lambda figure: figures.append(figure) or b"")
    plots.profiles({"brightness": {side: (np.ones(3), np.ones(3)) for side in ("real", "fake")},
                    "change": {"real": (np.array([1.0, 2.0]), ones), "fake": (np.array([3.0, 4.0]), ones)}})
    lines = {line.get_label(): line for line in figures[0].axes[1].lines}
    assert [lines[side].get_color() for side in ("real", "fake")] == ["#6b7682", "#2f6fc0"]
    assert lines["real"].get_xydata().tolist() == [[1, 1], [2, 2]] and lines["fake"].get_xydata().tolist() == [[1, 3], [2, 4]]
    plots.fit_line([100, 200], [7.0, 6.0], 5.0)
    np.testing.assert_allclose(figures[1].axes[0].lines[0].get_xydata(), [[0, 5], [0.0105, 7.1]])
