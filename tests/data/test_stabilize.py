"""Stabilisation of videos whose shake is known."""

import json

import cv2
import numpy as np
import pytest

from data.dataset import VideoDataset
from data.stabilize import STRETCH, Stretch, stabilized
from tests.data.films import texture, write_film
from utils.errors import UserError

HEIGHT, WIDTH = 96, 128


def scene(seed: int = 0) -> np.ndarray:
    """A picture with detail at several scales, larger than a frame."""
    coarse, fine = texture(seed, 192, 256), np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return cv2.addWeighted(coarse, 0.6, cv2.resize(fine, (256, 192), interpolation=cv2.INTER_LINEAR), 0.4, 0)


def shake(count: int, seed: int = 0, strength: float = 4.0) -> list[np.ndarray]:
    """For each frame the 3x3 matrix that takes its pixels to those of the scene: shifts, a turn and a zoom, by chance."""
    draw = np.random.default_rng(seed)
    matrices = []
    for index in range(count):
        shift, angle, zoom = draw.normal(0, strength, 2), draw.normal(0, 0.3 * strength), 1 + draw.normal(0, 0.004 * strength)
        turn = np.vstack([cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle if index else 0, zoom if index else 1), [0, 0, 1]])
        matrices.append(np.array([[1, 0, 64 + (shift[0] if index else 0)], [0, 1, 48 + (shift[1] if index else 0)], [0, 0, 1]]) @ turn)
    return matrices


def pan(count: int, seed: int = 0, strength: float = 4.0) -> list[np.ndarray]:
    """As :func:`shake`, shifts alone."""
    shifts = np.vstack([[0, 0], np.random.default_rng(seed).normal(0, strength, (count - 1, 2))])
    return [np.array([[1, 0, 64 + x], [0, 1, 48 + y], [0, 0, 1.0]]) for x, y in shifts]


def film(matrices: list[np.ndarray], picture: np.ndarray) -> list[np.ndarray]:
    return [cv2.warpPerspective(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) for matrix in matrices]


def steady(frames: list[np.ndarray], **options) -> tuple[list[np.ndarray], list[int]]:
    """Stabilised frames, and where new stretches begin."""
    out = list(stabilized(((frame, 1, False) for frame in frames), **options))
    return [frame for frame, _, _ in out], [index for index, (_, _, broken) in enumerate(out) if broken]


def motion(frames: list[np.ndarray]) -> float:
    """Root mean square shift against the first frame, in pixels, by phase correlation."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32) for frame in frames]
    window = cv2.createHanningWindow(gray[0].shape[::-1], cv2.CV_32F)
    shifts = np.array([cv2.phaseCorrelate(gray[0], other, window)[0] for other in gray[1:]])
    return float(np.sqrt((shifts**2).sum(1).mean()))


def test_the_picture_holds_still():
    frames = film(pan(31), scene())
    out, breaks = steady(frames)
    assert not breaks and len(out) == 31 and np.array_equal(out[0], frames[0])
    assert motion(frames) > 3 and motion(out) < motion(frames) / 8


@pytest.mark.parametrize("make", [pan, shake])
@pytest.mark.parametrize("seed", [0, 1])
def test_homographies_agree_with_the_known_ones(make, seed):
    """Corners end up where the first frame has them, turns and zooms included."""
    matrices = make(24, seed)
    frames = film(matrices, scene(seed))
    stretch = Stretch(frames[0])
    corners = np.float64([[[8, 8]], [[WIDTH - 8, 8]], [[8, HEIGHT - 8]], [[WIDTH - 8, HEIGHT - 8]]])
    before, after = [], []
    for frame, matrix in zip(frames[1:], matrices[1:]):
        assert stretch.warp(frame) is not None
        true = cv2.perspectiveTransform(corners, np.linalg.inv(matrices[0]) @ matrix)
        before.append(np.linalg.norm(true - corners, axis=-1))
        after.append(np.linalg.norm(true - cv2.perspectiveTransform(corners, stretch._to_first), axis=-1))
    assert np.mean(before) > 3 and np.mean(after) < np.mean(before) / 30


def test_far_from_the_first_frame_homographies_are_accumulated():
    """Where nothing of the first frame is recognised any more, the chain from frame to frame goes on."""
    matrices = pan(6, 2)
    frames = film(matrices, scene())
    stretch = Stretch(frames[0])
    stretch._first = stretch._first[0][:0], stretch._first[1][:0]
    for frame, matrix in zip(frames[1:], matrices[1:]):
        assert stretch.warp(frame) is not None
        np.testing.assert_allclose(stretch._to_first[:2, 2], (np.linalg.inv(matrices[0]) @ matrix)[:2, 2], atol=1.0)


def test_a_match_that_contradicts_the_chain_is_not_taken():
    """What is left of the first frame may be a thing that moves by itself."""
    frames = film(pan(8, 4, 1.0), scene())
    thing = scene(9)[:36, :48]
    for index, frame in enumerate(frames):
        frame[40:76, 4 + 10 * index:52 + 10 * index] = thing
    stretch = Stretch(frames[0])
    points, descriptors = stretch._first
    on_it = ((points > (6, 42)) & (points < (50, 74))).all(1)
    stretch._first = points[on_it], descriptors[on_it]
    assert on_it.sum() > 20
    out = [stretch.warp(frame) for frame in frames[1:]]
    assert all(frame is not None for frame in out)
    change = [np.abs(frame[:20].astype(int) - frames[0][:20]).mean() for frame in out]  # above the thing
    assert max(change) < 12


def test_holes_are_filled_from_the_frame_before():
    frames = film([np.array([[1, 0, 64 + x], [0, 1, 48], [0, 0, 1.0]]) for x in (0, 12, 20)], scene())
    out, breaks = steady(frames)
    assert not breaks
    # The camera went right: the left edge is out of view and stays as the first frame had it.
    assert all(np.array_equal(frame[:, :8], frames[0][:, :8]) for frame in out)
    assert all(np.abs(frame[8:-8, 8:].astype(int) - frames[0][8:-8, 8:]).mean() < 3 for frame in out)


def test_edges_are_not_darkened_by_what_lies_outside():
    frames = film([np.array([[1, 0, 64 + x], [0, 1, 48 + x], [0, 0, 1.0]]) for x in (0, 0.4, -0.4, 0.3)], scene())
    out, breaks = steady(frames)
    edges = lambda frame: np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]]).astype(int)
    assert not breaks and all(np.abs(edges(frame) - edges(frames[0])).mean() < 8 for frame in out)


def test_stretches_end_at_their_length_at_cuts_and_at_gaps():
    one, two = film(shake(12, 0, 1.5), scene(0)), film(shake(8, 1, 1.5), scene(1))
    assert steady(one + two)[1] == [12]
    assert steady(one, stretch=5)[1] == [5, 10]
    out = list(stabilized((frame, 1, index == 4) for index, frame in enumerate(one)))
    assert [index for index, (_, _, broken) in enumerate(out) if broken] == [4] and np.array_equal(out[4][0], one[4])
    assert [broken for _, _, broken in stabilized((frame, 3, False) for frame in one[:4])] == [False] * 4
    assert [broken for _, _, broken in stabilized(((frame, 3, False) for frame in one[:4]), stretch=6)] == [False, False, True, False]


def test_a_camera_that_leaves_the_view_begins_anew():
    frames = film([np.array([[1, 0, 6 * index], [0, 1, 48], [0, 0, 1.0]]) for index in range(21)], scene())
    _, breaks = steady(frames)
    assert breaks and all(6 <= gap <= 10 for gap in np.diff([0, *breaks]))  # 40% of 128 pixels are 8 frames


def test_blank_frames_match_nothing():
    blank = [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 3
    out, breaks = steady(blank)
    assert breaks == [1, 2] and all(np.array_equal(*pair) for pair in zip(out, blank))


def test_a_moving_object_does_not_carry_the_scene_along():
    frames = film(shake(16, 3, 2.0), scene())
    for index, frame in enumerate(frames):
        cv2.circle(frame, (20 + 5 * index, 48), 10, (0, 0, 255), -1)
    out, breaks = steady(frames)
    change = lambda film_: np.mean([np.abs(frame.astype(int) - film_[0])[4:34, 8:-8].mean() for frame in film_[1:]])  # above the ball
    assert not breaks and change(out) < change(frames) / 3


@pytest.fixture(scope="module")
def shaky(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shaky")
    for seed in range(2):
        write_film(folder / f"{seed}.mp4", [frame[..., ::-1] for frame in film(pan(40, seed), scene(seed))])
    return folder


def dataset(folder, cache, **options) -> VideoDataset:
    return VideoDataset(folder, HEIGHT, WIDTH, 8, cache_dir=cache, quiet=True, **options)


def test_extraction_stabilises_caches_and_keeps_other_entries(shaky, tmp_path):
    plain = dataset(shaky, tmp_path)
    still = dataset(shaky, tmp_path, stabilize=True)
    files = sorted((tmp_path / "frames").glob("*.npy"))
    assert len(files) == 4 and still.fingerprint != plain.fingerprint
    drift = lambda data: np.mean([motion(list(data[index]["video"].numpy())) for index in (0, 12, 24)])
    assert drift(still) < drift(plain) / 5
    stamps = [file.stat().st_mtime_ns for file in files]
    again = dataset(shaky, tmp_path, stabilize=True)
    assert [file.stat().st_mtime_ns for file in files] == stamps and again.fingerprint == still.fingerprint
    elsewhere = dataset(shaky, tmp_path / "elsewhere", stabilize=True, workers=1)
    assert all(np.array_equal(elsewhere[index]["video"], still[index]["video"]) for index in range(0, len(still), 7))
    entry = [json.loads(file.with_suffix(".json").read_text()) for file in files]
    assert sorted(each["settings"]["stabilize"] for each in entry) == [False, False, True, True]


def test_clips_do_not_cross_stretches(tmp_path):
    write_film(tmp_path / "v" / "a.mp4", [frame[..., ::-1] for frame in film(shake(STRETCH + 20, 0, 1.0), scene())])
    plain, still = dataset(tmp_path / "v", tmp_path / "c"), dataset(tmp_path / "v", tmp_path / "c", stabilize=True)
    assert len(plain) == STRETCH + 20 - 7 and len(still) == STRETCH - 7 + 20 - 7


def test_longer_clips_than_stretches_are_refused(shaky, tmp_path):
    with pytest.raises(UserError, match=f"--frames {STRETCH + 1}: .*--stabilize"):
        VideoDataset(shaky, 48, 64, STRETCH + 1, stabilize=True, cache_dir=tmp_path)


def test_a_real_hand_held_film(clips):
    """A talking head in a car: its frame holds still, the view through the window moves."""
    from itertools import islice

    from data.decode import read_frames
    frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in islice(read_frames(clips / "carphone_pristine.mp4"), 60)]
    out, breaks = steady(frames)
    change = lambda film_: [np.abs(frame.astype(int) - before).mean() for before, frame in zip(film_, film_[1:])]
    assert not breaks and np.mean(change(out)) < 0.9 * np.mean(change(frames)) and max(change(out)) < max(change(frames))


def test_another_size_begins_a_new_stretch():
    frames = film(pan(6, strength=1), scene())
    frames[3:] = [cv2.resize(frame, (112, 84), interpolation=cv2.INTER_AREA) for frame in frames[3:]]
    out, breaks = steady(frames)
    assert breaks == [3] and [frame.shape for frame in out] == [frame.shape for frame in frames]
