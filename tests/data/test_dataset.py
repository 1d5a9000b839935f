from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data import store
from data.batches import Batches
from data.dataset import VideoDataset
from data.pool import WorkerPool
from tests.data.films import moving, numbered, numbers, write_film
from utils.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes; video n of class c starts at level 16 + 3 * 10 c."""
    root = tmp_path_factory.mktemp("videos")
    write_film(root / "a" / "0.mp4", numbered(30))
    write_film(root / "a" / "1.mp4", numbered(12))
    write_film(root / "b" / "0.mp4", numbered(40)[10:])
    return root


def build(folder, frames=4, **options):
    return VideoDataset(folder, 32, 32, frames, workers=2, quiet=True, **options)


@pytest.mark.parametrize("skip, frames", [(1, 1), (1, 5), (2, 3), (3, 4), (7, 2)])
def test_a_clip_spans_n_minus_1_times_k_plus_1(folder, skip, frames):
    dataset = build(folder, frames, frame_skip=skip)
    clips = [numbers(dataset[index]["video"]) for index in range(len(dataset))]
    assert all(np.diff(clip).tolist() == [skip] * (frames - 1) for clip in clips)
    kept = [len(range(0, count, skip)) for count in (30, 12, 30)]
    assert len(dataset) == sum(max(0, count - frames + 1) for count in kept)
    assert dataset.num_frames == sum(kept) and dataset.fps == 25 / skip
    with_exact_span = build(folder / "a" / "1.mp4", 2, frame_skip=11)  # 12 frames hold exactly one clip of span 12
    assert numbers(with_exact_span[0]["video"]) == [0, 11] and len(with_exact_span) == 1


def test_labels_classes_and_types(folder):
    dataset = build(folder)
    assert dataset.classes == ["a", "b"] and [dataset[index]["label"].item() for index in (0, 35, 36, len(dataset) - 1)] == [0, 0, 1, 1]
    item, batch = dataset[-1], dataset.gather(torch.tensor([0, 5, 5]))
    assert item["video"].dtype == torch.uint8 and item["video"].shape == (4, 32, 32, 3) and item["label"].shape == ()
    assert batch["video"].shape == (3, 4, 32, 32, 3) and batch["label"].dtype == torch.int64
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    with pytest.raises(IndexError):
        dataset.gather(torch.tensor([-1]))


@pytest.mark.parametrize("storage", ["disk", "memory", "device"])
def test_storages_agree(folder, storage):
    order = torch.randperm(63, generator=torch.Generator().manual_seed(0))
    other, reference = build(folder, storage=storage), build(folder)
    assert other.storage == storage and reference.storage == "device"
    for name, value in reference.gather(order).items():
        assert torch.equal(other.gather(order)[name], value)


def test_frames_are_brought_into_memory_a_few_at_a_time(folder, monkeypatch):
    """A long film copied as a whole would be there twice."""
    copied = []

    class Seen:
        def __getattr__(self, name):
            return getattr(np, name)

        def array(self, frames):
            copied.append(len(frames))
            return np.array(frames)
    monkeypatch.setattr(store, "_COPIED", 7)
    monkeypatch.setattr(store, "np", Seen())
    order = torch.arange(63)
    assert torch.equal(build(folder, storage="memory").gather(order)["video"], build(folder, storage="disk").gather(order)["video"])
    assert max(copied) == 7 and sum(copied) == 72


def test_frames_that_do_not_fit_are_one_line(folder, monkeypatch):
    monkeypatch.setattr(store, "_free_bytes", lambda device: 1000)
    assert build(folder).storage == "disk"
    for storage in ("memory", "device"):
        with pytest.raises(UserError, match=f"--storage {storage}: the frames take .* --storage disk"):
            build(folder, storage=storage)


def test_processes_of_one_machine_share_its_memory(folder, monkeypatch):
    size = 76 * 32 * 32 * 3
    monkeypatch.setattr(store, "_free_bytes", lambda device: 10 * size)
    assert build(folder).storage == "device"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert build(folder).storage == "disk" and build(folder, storage="memory").storage == "memory"
    monkeypatch.setattr(store, "_free_bytes", lambda device: None)  # not Linux
    assert build(folder).storage == "device" and build(folder, storage="memory").storage == "memory"


def test_selection_by_rate_and_by_number(folder):
    assert build(folder, 1, fps=5).num_frames == 6 + 3 + 6 and build(folder, 1, fps=5).fps == 5
    by_number = build(folder, 1, max_frames=25)
    assert by_number.frame_skip == 3 and by_number.num_frames == 10 + 4 + 10
    with pytest.raises(UserError, match="exclude each other"):
        build(folder, fps=5, frame_skip=2)


def test_clips_do_not_cross_cuts(tmp_path):
    write_film(tmp_path / "a.mp4", moving(20, seed=1) + [frame // 3 for frame in moving(15, seed=2)])
    dataset = build(tmp_path, 8)
    assert len(dataset) == 13 + 8 and "1 scene cut" in dataset.report.videos[0].notes
    whole = build(tmp_path, 1).gather(np.arange(35))["video"][:, 0]
    assert torch.equal(dataset[12]["video"], whole[12:20]) and torch.equal(dataset[13]["video"], whole[20:28])
    assert dataset.consecutive_clips().tolist() == [0, 8, 13]


def test_more_frames_than_any_video_has(folder):
    with pytest.raises(UserError, match="--frames 16 spans 31 frames, but the longest video has 30") as caught:
        build(folder, 16, frame_skip=2)
    assert "\n" not in str(caught.value)
    for how, remedy in (({"frame_skip": 2}, "or a smaller --frame_skip"), ({"fps": 5}, "or a higher --fps"),
                        ({"max_frames": 20}, "or more --max_frames"), ({}, "fewer --frames")):
        with pytest.raises(UserError) as caught:
            build(folder, 64, **how)
        assert str(caught.value).endswith(remedy)
    shorter = build(folder, 15, frame_skip=2)
    assert len(shorter) == 2 and [video.status for video in shorter.report.videos] == ["ok", "too short", "ok"]


@pytest.mark.parametrize("options, words", [({"frame_skip": 0}, "--frame_skip 0"), ({"fit": "squash"}, "--fit squash"),
                                            ({"storage": "cloud"}, "--storage cloud"), ({"frames": 0}, "--frames 0"),
                                            ({"fps": -1.0}, "--fps -1"), ({"max_frames": 0}, "--max_frames 0")])
def test_impossible_settings_are_one_line(folder, options, words):
    with pytest.raises(UserError, match=words):
        build(folder, **options)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_fork_and_spawn_extract_the_same(folder, tmp_path, monkeypatch, method):
    monkeypatch.setattr("data.dataset.WorkerPool", partial(WorkerPool, context=method))
    dataset = build(folder, cache_dir=tmp_path)
    reference = build(folder)
    assert torch.equal(dataset.gather(np.arange(63))["video"], reference.gather(np.arange(63))["video"])


@pytest.fixture(scope="module")
def dataset(folder):
    return build(folder)


def test_one_epoch_meets_every_clip_once(dataset):
    with Batches(dataset, 9, seed=3) as batches:
        assert len(dataset) == 63
        for epoch in range(2):
            seen = np.concatenate([batches.indices(position) for position in range(7 * epoch, 7 * epoch + 7)])
            assert sorted(seen.tolist()) == list(range(63))


@settings(max_examples=40, deadline=None)
@given(position=st.integers(0, 10**9), seed=st.integers(0, 2**40), size=st.sampled_from([1, 4, 8, 60]), world=st.sampled_from([1, 2, 4]))
def test_ranks_share_the_batch_of_one(dataset, position, seed, size, world):
    if size % world:
        with pytest.raises(UserError, match="cannot be shared evenly"):
            Batches(dataset, size, seed, world=world)
        return
    whole = Batches(dataset, size, seed, workers=0).at(position)
    parts = [Batches(dataset, size, seed, rank=rank, world=world, workers=0).at(position) for rank in range(world)]
    for name, value in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), value)


@pytest.mark.parametrize("ordered", [False, True])
def test_batches_depend_on_seed_and_position_alone(folder, dataset, ordered):
    positions = [0, 1, 2, 3, 50, 2, 1000003, 7, 8]  # with jumps back and forth: prefetching must not show
    with (Batches(dataset, 6, 1, ordered=ordered, workers=0) as plain,
          Batches(build(folder, storage="disk"), 6, 1, ordered=ordered, workers=3) as other):
        for position in positions:
            one, two = plain.at(position), other.at(position)
            assert torch.equal(one["video"], two["video"]) and torch.equal(one["label"], two["label"])
        assert other.wait_seconds > 0 and len(other._coming) <= 6  # jumps leave no forgotten batches behind
    if not ordered:
        assert not np.array_equal(Batches(dataset, 63, 1).indices(0), Batches(dataset, 63, 2).indices(0))


def test_ordered_batches_follow_the_videos(folder):
    single = build(folder, 1)
    with Batches(single, 6, 0, ordered=True) as batches:
        frames = [numbers(batches.at(position)["video"][:, 0]) for position in range(12)]
    assert sum(frames, []) == list(range(30)) + list(range(12)) + list(range(10, 40))
    with Batches(build(folder, 5), 4, 0, ordered=True) as batches:
        assert batches.items == 6 + 2 + 6
        first = [numbers(clip) for clip in batches.at(0)["video"]]
        assert sum(first, []) == list(range(20))
        assert torch.equal(batches.at(3)["video"][2:], batches.at(0)["video"][:2])  # after the last comes the first again


@settings(max_examples=20, deadline=None)
@given(position=st.integers(0, 10**9), seed=st.integers(0, 2**40), m=st.integers(2, 9), world=st.sampled_from([1, 2, 4]))
def test_clips_of_one_class_stand_side_by_side(dataset, position, seed, m, world):
    whole, plain = (Batches(dataset, 8, seed, m_per_class=size, workers=0).indices(position) for size in (m, 1))
    labels = dataset.labels().numpy()[whole]
    assert len(dataset.classes) > 1
    assert all(len(set(labels[at:at + m])) == 1 for at in range(0, 8, m)) and np.array_equal(whole[::m], plain[::m])
    shares = [Batches(dataset, 8, seed, m_per_class=m, rank=rank, world=world, workers=0).indices(position) for rank in range(world)]
    assert np.array_equal(np.concatenate(shares), whole)


def test_those_beside_the_first_are_any_of_its_class_each_as_often(dataset):
    batches, labels = Batches(dataset, 64, 5, m_per_class=8, workers=0), dataset.labels().numpy()
    clips = np.concatenate([batches.indices(position).reshape(8, 8)[:, 1:].ravel() for position in range(400)])
    shares = np.bincount(clips, minlength=len(dataset)) / len(clips)
    expected = 1 / len(dataset)  # classes come as often as they have clips
    assert np.abs(shares - expected).max() < 6 * np.sqrt(expected / len(clips) * 8)
    assert not np.array_equal(clips, np.concatenate([Batches(dataset, 64, 6, m_per_class=8, workers=0).indices(position)
                                                     .reshape(8, 8)[:, 1:].ravel() for position in range(400)]))


def test_of_one_class_an_epoch_still_meets_every_clip_once(folder):
    single = build(folder)
    single.classes[:] = single.classes[:1]
    batches = Batches(single, 9, 3, m_per_class=3, workers=0)
    assert sorted(np.concatenate([batches.indices(position) for position in range(7)]).tolist()) == list(range(63))


def test_batch_size_must_be_positive(dataset):
    with pytest.raises(UserError, match="--batch_size 0"):
        Batches(dataset, 0, 0)


def test_frames_too_many_for_the_device_lie_in_memory_and_then_on_disk(monkeypatch):
    monkeypatch.setattr(store, "_free_bytes", lambda device: None)
    for room, expected in (({"meta": 99, "cpu": 99}, "device"), ({"meta": 1, "cpu": 99}, "memory"), ({"meta": 1, "cpu": 1}, "disk")):
        monkeypatch.setattr(store, "_comfortable", lambda device, room=room: room[device.type])
        opened = store.open_store([lambda: np.zeros((2, 2, 2, 3), np.uint8)], np.array([0]), (2, 2, 2, 3), "auto", torch.device("meta"))
        assert opened.name == expected
