from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from configs.schema import TrainConfig
from data.dataset import VideoDataset
from models.dcgan import DCGANConfig
from models.hrvgan_parts import HRVGANConfig
from models.vgan import VGANConfig
from training import setup
from training.task import DataInfo
from utils.errors import UserError


def test_mean_frame_is_the_mean_of_the_training_frames(tmp_path, monkeypatch):
    dataset = VideoDataset("synthetic:num_videos=3,frames=20", 32, 48, 2, cache_dir=tmp_path, quiet=True)
    frames = np.stack([dataset[index]["video"][0].numpy() for index in range(len(dataset))])
    expected = torch.from_numpy(frames.mean(0) / 127.5 - 1).permute(2, 0, 1).float()
    assert torch.allclose(setup.mean_frame(dataset), expected, atol=1e-5)
    monkeypatch.setattr(setup, "MEAN_FRAMES", 3)  # of a long film, a few that span it
    few = frames[[0, (len(dataset) - 1) // 2, len(dataset) - 1]].mean(0) / 127.5 - 1
    assert torch.allclose(setup.mean_frame(dataset), torch.from_numpy(few).permute(2, 0, 1).float(), atol=1e-5)


def test_clip_distance_is_that_of_clips_of_one_class(tmp_path):
    """Of 32 videos of 16 classes, the two of each class; of one video, clips half of it apart."""
    dataset = VideoDataset("synthetic:num_videos=32,frames=4", 16, 16, 4, cache_dir=tmp_path, quiet=True)
    clips, labels = dataset.gather(torch.arange(32))["video"].float() / 127.5, dataset.labels()
    means = clips.mean(1)
    expected = [(means[labels == label][0] - means[labels == label][1]).abs().mean() for label in range(16)]
    assert setup.clip_distance(dataset) == [pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)]
    small = means.reshape(32, 4, 4, 4, 4, 3).mean((2, 4))
    expected = [(small[labels == label][0] - small[labels == label][1]).abs().mean() for label in range(16)]
    whole, _, quarter = setup.clip_distance(dataset, 2)
    assert quarter == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5) and quarter < whole
    film = VideoDataset("synthetic:num_videos=1,frames=8", 16, 16, 1, cache_dir=tmp_path, quiet=True)
    frames = film.gather(torch.arange(8))["video"].float() / 127.5
    assert setup.clip_distance(film) == [pytest.approx(float((frames[:4] - frames[4:]).abs().mean()), rel=1e-5)]
    assert setup.clip_distance(VideoDataset("synthetic:num_videos=16,frames=4", 16, 16, 4, cache_dir=tmp_path, quiet=True)) == [0]


def test_principal_components_are_those_of_the_training_frames(tmp_path):
    dataset = VideoDataset("synthetic:num_videos=3,frames=20", 32, 48, 1, cache_dir=tmp_path, quiet=True)
    frames = np.stack([dataset[index]["video"][0].numpy() for index in range(len(dataset))]).transpose(0, 3, 1, 2).reshape(60, -1)
    away = np.arctanh(np.clip(frames / 127.5 - 1, -0.98, 0.98)) - np.arctanh(np.clip(frames.mean(0) / 127.5 - 1, -0.98, 0.98))
    _, values, directions = np.linalg.svd(away, full_matrices=False)
    found = setup.principal_components(dataset, 15).flatten(1).double().numpy()  # of 60 frames, four times as many
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), values[:15] / np.sqrt(60), rtol=1e-4)
    assert (np.abs((found * directions[:15]).sum(1)) >= 0.999 * np.linalg.norm(found, axis=1)).all()
    more = setup.principal_components(dataset, 70)
    assert more.shape == (70, 3, 32, 48) and not more[60:].any() and more[:50].flatten(1).norm(dim=1).min() > 0


class OnAnotherDevice:
    """Frames that lie where training is, as with --storage device."""

    def __len__(self):
        return 20

    def gather(self, chosen):
        return {"video": torch.zeros(len(chosen), 1, 4, 6, 3, dtype=torch.uint8, device="meta")}


def test_what_is_computed_of_the_frames_stands_wherever_they_lie():
    """Fake tensors have a device, and refuse to be mixed, where there is none but the CPU."""
    with FakeTensorMode():
        mean, components = setup.mean_frame(OnAnotherDevice()), setup.principal_components(OnAnotherDevice(), 3)
    assert mean.shape == (3, 4, 6) and components.shape == (3, 3, 4, 6) and {mean.device.type, components.device.type} == {"cpu"}


def test_clips_are_spread_evenly_over_any_number():
    assert setup._evenly(10, 4).tolist() == [0, 3, 6, 9] and setup._evenly(3, 4).tolist() == [0, 1, 2]
    many = 2**24 + 4  # float32 rounds its last number up
    assert setup._evenly(many, 3).tolist() == [0, (many - 1) // 2, many - 1]


@pytest.mark.parametrize("named, told", [({"class_ce": 1.0}, ["--class_ce 1.0"]), ({}, []),
                                         ({"class_ce": 1.0, "wrong_labels": 0.5}, ["1.0 and --wrong"])])
def test_asking_for_classes_where_there_are_none_is_warned_of(tmp_path, capsys, named, told):
    config = TrainConfig(family="hrvgan", data="synthetic:num_videos=1,frames=8", height=16, width=16, frames=4, batch_size=2,
                         cache_dir=str(tmp_path), model=HRVGANConfig(g_width=4, d_width=4, max_width=8, time_doublings=1), **named)
    assert setup.prepare(config).info.num_classes == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(lines) == len(told) and all(words in line for words, line in zip(told, lines))


def test_processes_that_read_other_videos_are_one_line(tmp_path, monkeypatch):
    config = TrainConfig(data="synthetic:num_videos=1,frames=8", height=16, width=16, cache_dir=str(tmp_path), model=DCGANConfig())
    monkeypatch.setattr(setup.distributed, "from_main", lambda value: "of another")
    with pytest.raises(UserError, match="not all processes read the same videos"):
        setup.read_videos(config, torch.device("cpu"))


def test_an_ordered_epoch_is_one_pass_over_clips_side_by_side(tmp_path):
    config = TrainConfig(family="vgan", data="synthetic:num_videos=4,frames=32", height=16, width=16, frames=8, batch_size=2, epochs=1,
                         workers=1, cache_dir=str(tmp_path), model=VGANConfig(g_width=4, d_width=4))
    assert setup.prepare(config).steps == 4 * (32 - 7) / 2
    assert setup.prepare(replace(config, ordered=True)).steps == 4 * 4 / 2


def test_a_generator_is_given_the_mean_frame_when_it_asks_for_it():
    mean = torch.full((3, 32, 32), 0.5)
    for asked in (True, False):
        config = TrainConfig(height=32, width=32, model=DCGANConfig(g_width=4, d_width=4, g_mean=asked))
        state = setup.build_task(config, DataInfo(mean=lambda: mean)).nets["generator"].state_dict()
        assert torch.allclose(state["mean"], torch.atanh(mean)) if asked else "mean" not in state
