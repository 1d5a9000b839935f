import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest

from data.cache import FrameCache, cache_folder
from data.cuts import find_cuts, thumbnail
from data.dataset import VideoDataset, nearest_skip
from data.decode import fit_frame, read_frames
from data.extract import Extraction, extract_all, extract_frames
from data.health import Health
from data.layouts import Source, find_sources
from data.pool import WorkerPool
from data.scan import scan
from tests.conftest import ROOT
from tests.data.films import moving, numbered, numbers, texture, write_film
from utils.errors import UserError

BUILD = ("import sys; from data.dataset import VideoDataset\n"
         "VideoDataset(sys.argv[1], 48, 64, 2, cache_dir=sys.argv[2], workers=2, quiet=True, scan='quick')")


def entries(folder):
    return {path.name: path.read_bytes() for path in (folder / "frames").iterdir() if not path.name.startswith(".")}


def test_cached_frames_are_the_decoded_frames(tmp_path):
    path = write_film(tmp_path / "v" / "a.mp4", moving(30))
    dataset = VideoDataset(path, 24, 40, 3, frame_skip=2, cache_dir=tmp_path / "c", quiet=True)
    expected = np.stack([fit_frame(frame, 24, 40) for frame in read_frames(path, frame_skip=2)])
    file, = (tmp_path / "c" / "frames").glob("*.npy")
    assert np.array_equal(np.load(file, mmap_mode="r"), expected) and expected.dtype == np.uint8
    assert np.array_equal(dataset[4]["video"].numpy(), expected[4:7])


def test_a_full_cache_is_only_read(tmp_path):
    write_film(tmp_path / "v" / "a.mp4", moving(20))
    build = lambda **options: VideoDataset(tmp_path / "v", 24, 40, 2, cache_dir=tmp_path / "c", quiet=True, **options)  # noqa: E731
    first = build()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*.*") if path.is_file()}
    (tmp_path / "v" / "a.mp4").rename(tmp_path / "v" / "renamed.mp4")  # the key is the content, not the name
    again = build()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*.*") if path.is_file()} == stamps
    assert np.array_equal(first[3]["video"], again[3]["video"])
    build(fit="stretch"), build(frame_skip=2), build(fps=5)
    assert len(list((tmp_path / "c" / "frames").glob("*.npy"))) == 4  # other settings, other entries
    write_film(tmp_path / "v" / "renamed.mp4", moving(20, seed=9))
    assert not np.array_equal(build()[3]["video"], first[3]["video"])  # other content under the same name


def test_a_half_entry_is_done_again(tmp_path):
    write_film(tmp_path / "v" / "a.mp4", moving(20))
    build = lambda: VideoDataset(tmp_path / "v", 24, 40, 2, cache_dir=tmp_path / "c", quiet=True, storage="disk")[5]["video"]  # noqa: E731
    first = build()
    file, = (tmp_path / "c" / "frames").glob("*.npy")
    for damage in (lambda: os.truncate(file, 1000), file.unlink, file.with_suffix(".json").unlink,
                   lambda: file.with_suffix(".json").write_text("{")):
        damage()
        assert np.array_equal(build(), first)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for index in range(24):
        write_film(folder / f"{index}.mp4", moving(60, seed=index, height=144, width=192))
    return folder


def test_killed_at_any_moment_nothing_half_written_stays(many, tmp_path):
    subprocess.run([sys.executable, "-c", BUILD, str(many), str(tmp_path / "whole")], cwd=ROOT, check=True)
    expected = entries(tmp_path / "whole")
    assert len(expected) == 48
    for count in (1, 14):
        process = subprocess.Popen([sys.executable, "-c", BUILD, str(many), str(tmp_path / "cut")], cwd=ROOT, start_new_session=True)
        while process.poll() is None and len(list((tmp_path / "cut").glob("frames/*.npy"))) < count:
            time.sleep(0.002)
        with suppress(ProcessLookupError):  # it was done sooner
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert all(expected[name] == data for name, data in entries(tmp_path / "cut").items())
    subprocess.run([sys.executable, "-c", BUILD, str(many), str(tmp_path / "cut")], cwd=ROOT, check=True)
    assert entries(tmp_path / "cut") == expected


def test_processes_may_share_a_cold_cache(many, tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", BUILD, str(many), str(tmp_path)], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(entries(tmp_path)) == 48 and not list((tmp_path / "frames").glob(".*"))
    assert len(VideoDataset(many, 48, 64, 2, cache_dir=tmp_path, scan="quick", quiet=True)) == 24 * 59


def test_left_overs_of_killed_runs_are_swept(tmp_path):
    folder = cache_folder(tmp_path)
    old, new = folder / "frames" / ".a.1.ff.tmp.npy", folder / "frames" / ".b.1.ff.tmp.npy"
    old.touch(), new.touch()
    os.utime(old, (0, 0))
    cache_folder(tmp_path)
    assert not old.exists() and new.exists()  # the new one may be another process's, at work


def test_a_full_disk_is_one_line(many, tmp_path):
    code = ("from utils.errors import script\nimport resource, signal\n"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, (200000, {resource.RLIM_INFINITY}))\n")
    code += "def main():\n    " + BUILD.replace("\n", "\n    ") + "\nscript(main)"
    done = subprocess.run([sys.executable, "-c", code, str(many), str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "is full" in done.stderr and "--cache_dir" in done.stderr
    assert not list((tmp_path / "frames").iterdir())


def test_unwritable_cache_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written.*--cache_dir") as caught:
        cache_folder(tmp_path / "file" / "cache")
    assert "\n" not in str(caught.value)


def test_entry_description(tmp_path):
    write_film(tmp_path / "a.mp4", moving(12))
    VideoDataset(tmp_path / "a.mp4", 24, 40, 2, cache_dir=tmp_path / "c", quiet=True)
    file, = (tmp_path / "c" / "frames").glob("*.json")
    entry = json.loads(file.read_text())
    assert (entry["frames"], entry["height"], entry["width"], entry["cuts"], entry["source"]) == (12, 24, 40, [], "a.mp4")
    assert FrameCache(tmp_path / "c").load(file.stem) == entry


@pytest.mark.parametrize("lengths, wanted, skip", [([100], 100, 1), ([100], 50, 2), ([100], 34, 3), ([100, 7], 10**9, 1),
                                                   ([100, 100], 1, 100), ([10, 20, 30], 21, 3), ([795], 400, 2), ([], 5, 1)])
def test_max_frames_takes_the_nearest_skip(lengths, wanted, skip):
    assert nearest_skip(lengths, wanted) == skip
    if lengths:
        total = lambda k: sum(-(-length // k) for length in lengths)  # noqa: E731
        assert abs(total(skip) - wanted) == min(abs(total(k) - wanted) for k in range(1, 200))


def marks(frames):
    return np.stack([thumbnail(frame) for frame in frames])


def test_cuts_between_scenes_are_found():
    tints = [(1, 0.6, 0.4), (0.3, 0.5, 1), (0.9, 0.9, 0.8), (0.4, 0.5, 0.3)]
    scenes = [[(frame * tint).astype(np.uint8) for frame in moving(20, seed=index, speed=3)] for index, tint in enumerate(tints)]
    assert find_cuts(marks(sum(scenes, []))) == [20, 40, 60]


@pytest.mark.parametrize("speed", [1, 4, 12, 30])
def test_fast_motion_is_no_cut(speed):
    assert find_cuts(marks(moving(40, seed=speed, speed=speed))) == []


def test_noise_flashes_and_fades_are_no_cuts():
    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    flash = [np.full_like(frame, 255) if index in (10, 25) else frame for index, frame in enumerate(moving(40))]
    one, two = texture(1), texture(2)
    fade = [cv2.addWeighted(one, 1 - step / 20, two, step / 20, 0) for step in range(21)]
    for frames in (noise, flash, fade, numbered(40, step=5)):
        assert find_cuts(marks(frames)) == []


@pytest.mark.parametrize("name, cuts", [("bikes.mp4", [30, 76, 137, 187, 242]), ("scene_cuts.mp4", [30, 76, 137, 187, 242]),
                                        ("nasa_13013.mp4", [202]), ("vtest.avi", []), ("carphone_pristine.mp4", []), ("test.avi", [])])
def test_cuts_of_real_clips(clips, name, cuts):
    """Every one of these is a change of scene to the eye; scene_cuts.mp4 shows bikes.mp4 beside the places found by two other detectors."""
    assert find_cuts(marks(fit_frame(frame, 64, 128) for frame in read_frames(clips / name))) == cuts


def test_pictures_that_cannot_be_read_do_not_make_folders_alike(tmp_path):
    """Two folders, each with a link to nothing among its pictures, share a cache."""
    for name, level in (("a", 40), ("b", 200)):
        (tmp_path / name).mkdir()
        for index in range(6):
            cv2.imwrite(str(tmp_path / name / f"{index:03d}.png"), np.full((16, 16, 3), level, np.uint8))
        (tmp_path / name / "006.png").symlink_to(tmp_path / "nowhere.png")
    for name, level in (("a", 40), ("b", 200)):
        dataset = VideoDataset(tmp_path / name, 16, 16, 2, cache_dir=tmp_path / "cache", quiet=True)
        assert dataset.report.videos[0].corrupt == 1 and (dataset[0]["video"] == level).all(), name


def test_what_could_not_be_hashed_is_known_by_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr("data.scan.content_keys", lambda sources, *_: [("", 1) for _ in sources])
    for index, name in enumerate("ab"):
        write_film(tmp_path / name / "film.mp4", numbered(6)[index:])
    for index, name in enumerate("ab"):
        dataset = VideoDataset(tmp_path / name, 48, 64, 2, cache_dir=tmp_path / "cache", quiet=True)
        assert numbers(dataset[0]["video"]) == [index, index + 1]


def test_long_films_reach_the_disk_on_the_way(tmp_path, monkeypatch):
    """What is written at the end alone may take a slow disk longer than a worker may be silent."""
    synced = []
    monkeypatch.setattr("data.cache._SYNC_BYTES", 5000)
    monkeypatch.setattr("data.cache.os.fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    cache = FrameCache(cache_folder(tmp_path))
    cache.write("key", iter(numbered(4)), lambda count: {"height": 48, "width": 64})
    frame = 48 * 64 * 3
    assert synced[:4] == [128 + frame * count for count in (1, 2, 3, 4)]
    assert numbers(cache.open("key")) == [0, 1, 2, 3]


def test_what_must_not_be_used_is_part_of_the_key(tmp_path):
    path, counts = write_film(tmp_path / "a.mp4", numbered(20)), []
    with WorkerPool(1, context="fork") as pool:
        for bad in ([], [(0.19, 0.41)]):  # six frames, from the sixth
            health = Health("a.mp4", frames=14 if bad else 20, bad=bad, content="x")
            _, entries_ = extract_all(FrameCache(cache_folder(tmp_path / "c")), [Source(path, "video", "a.mp4")], [health],
                                      Extraction(32, 32), pool, quiet=True)
            counts.append(entries_[0]["frames"])
    assert counts == [20, 14]


def test_a_cache_without_room_is_told_before_it_is_filled(tmp_path, monkeypatch):
    write_film(tmp_path / "a.mp4", moving(20))
    monkeypatch.setattr(FrameCache, "free_bytes", lambda self: 20 * 24 * 40 * 3 - 1)
    build = lambda **how: VideoDataset(tmp_path / "a.mp4", 24, 40, 2, cache_dir=tmp_path / "c", quiet=True, **how)  # noqa: E731
    with pytest.raises(UserError, match="is full .* are free.: this needs about 0.0 GB"):
        build()
    assert build(frame_skip=2).num_frames == 10


def test_a_film_that_gave_nothing_is_tried_again(tmp_path, monkeypatch):
    write_film(tmp_path / "v" / "a.mp4", moving(20)), write_film(tmp_path / "v" / "b.mp4", moving(20, seed=1))
    build = lambda: VideoDataset(tmp_path / "v", 24, 40, 2, cache_dir=tmp_path / "c", workers=1, quiet=True)  # noqa: E731
    whole = extract_frames
    with monkeypatch.context() as patch:
        patch.setattr("data.extract.extract_frames", lambda path, *how: iter(()) if path.name == "b.mp4" else whole(path, *how))
        assert build().num_frames == 20
        (tmp_path / "v" / "a.mp4").unlink()
        with pytest.raises(UserError, match="1 of 1 videos cannot be used"):
            build()
    assert build().num_frames == 20


def test_what_cannot_be_used_is_told(tmp_path, capsys):
    write_film(tmp_path / "v" / "a.mp4", moving(20))
    (tmp_path / "v" / "b.mp4").write_bytes(b"")
    build = lambda quiet: VideoDataset(tmp_path / "v", 24, 40, 2, cache_dir=tmp_path / "c", quiet=quiet)  # noqa: E731
    build(True)
    assert capsys.readouterr().err == ""
    build(False)
    assert capsys.readouterr().err == (f"warning: {tmp_path / 'v'}: 2 videos: 1 ok, 1 empty; 20 usable frames "
                                       "(b.mp4: empty, empty file (0 bytes))\n")


def test_a_film_that_is_cut_short_while_it_is_read_leaves_no_entry(tmp_path):
    path, how = write_film(tmp_path / "v" / "a.avi", moving(60)), Extraction(24, 40)
    layout, cache, whole = find_sources(tmp_path / "v"), FrameCache(cache_folder(tmp_path / "c")), path.read_bytes()
    with WorkerPool(1, context="fork") as pool:
        health, = scan(layout, pool, quiet=True).videos
        path.write_bytes(whole[:len(whole) // 2])
        with pytest.raises(UserError, match=r"a\.avi: changed while it was read; start again once it is complete"):
            extract_all(cache, layout.sources, [health], how, pool, quiet=True)
        path.write_bytes(whole)
        _, (entry,) = extract_all(cache, layout.sources, [health], how, pool, quiet=True)
    assert entry["frames"] == health.frames == 60


@pytest.mark.parametrize("name", ["frames/.a.1.0a1b2c3d.tmp.npy", "health/.a.1.0a1b2c3d.tmp.json", "synthetic/.a.1.0a1b2c3d.tmp/0.mp4"])
def test_what_killed_runs_left_behind_is_cleared_after_a_day(tmp_path, name):
    left = tmp_path / name
    left.parent.mkdir(parents=True)
    left.touch()
    outer = tmp_path / "/".join(name.split("/")[:2])
    cache_folder(tmp_path)
    assert outer.exists()
    os.utime(outer, (0, 0))
    cache_folder(tmp_path)
    assert not outer.exists()
