"""Models against videos: what is said where the videos are not those that it was trained on."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evaluate
from data.dataset import VideoDataset
from evaluation import models
from evaluation.config import EvaluateConfig
from evaluation.folders import _films
from evaluation.models import _check_protocol, _labels_to_ask_for
from metrics.pairs import Pair
from metrics.sets import draw_clips
from tests.test_evaluate import values_of
from utils.errors import UserError
from utils.video import write_video

GREYS = {"cat": 40, "dog": 120, "hen": 200}


class Painter:
    """A trained model that knows the grey of every class."""

    takes_image = wants_video = False
    takes_labels, classes, num_classes, step, fps, frame_skip, videos = True, list(GREYS), 3, 1, 24.0, 1, "others"
    config = SimpleNamespace(data=None, split="all", fit="crop", fps=None, frame_skip=1, max_frames=None, data_kwargs=lambda: {
        "height": 16, "width": 16, "frames": 2, "fit": "crop", "split": "all", "frame_skip": 1})

    def latents(self, num, seed, start=0):
        return torch.full((num, 1), float(start))

    def sample(self, latents, labels=None, video=None):
        grey = torch.tensor([*GREYS.values()])[labels] / 127.5 - 1 + 0.01 * torch.sin(latents[:, 0])
        return grey.view(-1, 1, 1, 1, 1).expand(-1, 3, 2, 16, 16)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    def measure(*flags, classes, fps=24, data="real"):
        for name in classes:
            for number in range(12):
                write_video(tmp_path / "real" / name / f"{number}.mp4", np.full((4, 16, 16, 3), GREYS[name] + number % 3, np.uint8), fps)
        monkeypatch.setattr("evaluation.models.load_sampler", lambda *_: Painter())
        given = ["--data", f"{tmp_path}/{data}"] if data else []
        evaluate.main(["--checkpoint", "painter", *given, "--output", str(tmp_path / "out"), "--cache_dir", str(tmp_path / "cache"),
                       "--num_samples", "45", "--resamples", "0", *flags])
        return values_of(tmp_path / "out")
    return measure


def test_what_answers_to_real_clips_is_no_copy_of_them(measured, monkeypatch):
    assert any("nearest of" in note for note in measured("--metrics", "diversity", classes=("cat", "hen"))["notes"])
    monkeypatch.setattr(Painter, "wants_video", True)
    written = measured("--metrics", "diversity", classes=("cat", "hen"))
    assert not any("nearest of" in note for note in written["notes"]) and "neighbours.png" not in written["pictures"]


@pytest.mark.parametrize("anywhere", [False, True])
def test_where_the_image_stands_in_a_prediction_is_told(measured, monkeypatch, anywhere):
    for name, value in {"wants_video": True, "takes_image": True, "sample": lambda self, latents, labels, video: video,
                        "config": SimpleNamespace(**vars(Painter.config), random_frame=anywhere)}.items():
        monkeypatch.setattr(Painter, name, value)
    notes = measured("--metrics", "psnr", classes=("cat", "dog", "hen"))["notes"]
    assert any("--random_frame" in note for note in notes) == anywhere


@pytest.mark.parametrize("length, all_apart", [(2, False), (1, True)])
def test_what_answers_to_real_clips_answers_to_others_than_it_is_compared_with(measured, monkeypatch, length, all_apart):
    """In every draw, as long as there are others, also where fewer frames are compared than the model makes. First to those that have no
    frame in common with any, of which there may be fewer than 45."""
    monkeypatch.setattr(Painter, "wants_video", True)
    kept, gather, given = models.measure_sets, VideoDataset.gather, []

    def frames(dataset, number):
        (video,), (first,) = dataset.video_of([number]), dataset.frame_of(np.array([number]))
        return {(dataset.names[video], first + later) for later in range(dataset.frames)}

    def spy(config, sets, networks, real, fake, *rest):
        read = []
        with monkeypatch.context() as patch:
            patch.setattr(VideoDataset, "gather", lambda self, numbers: read.append((self, numbers.tolist())) or gather(self, numbers))
            real.get(torch.arange(1))
            dataset = read.pop()[0]
            for draw in (0, 1):
                fake.get(45 * draw + torch.arange(45))
                whole, asked = read.pop()
                compared = [frames(dataset, number) for number in draw_clips(real, 45, config.seed + draw)[0].tolist()]
                assert len(set(asked)) == 45 and not any(frames(whole, number) in compared for number in asked)
                apart = [not frames(whole, number) & set.union(*compared) for number in asked]
                assert 5 < sum(apart) and (sum(apart) == 45) == all_apart and apart == sorted(apart, reverse=True)
                given.append((asked, sum(apart)))
        return kept(config, sets, networks, real, fake, *rest)
    monkeypatch.setattr(models, "measure_sets", spy)
    notes = measured("--metrics", "diversity", "--clip_frames", str(length), classes=("cat", "dog", "hen"))["notes"]
    assert given[0][0] != given[1][0] and any(f"only {given[0][1]} share no frame" in note for note in notes) != all_apart


def test_classes_meet_by_name(measured):
    header, *rows = measured("--metrics", "fid_random", classes=("cat", "hen"))["tables"]["by class"]
    assert header == ["class", "clips", "fid_random"]
    assert [row[0] for row in rows] == ["cat", "hen"] and all(float(row[2]) < 0.1 for row in rows)


def test_a_model_of_thinned_videos_is_measured_at_the_rate_it_knows(measured, monkeypatch):
    """Trained with --max_frames, which came to every second frame there and would come to all of them here."""
    thinned = SimpleNamespace(**vars(Painter.config) | {"max_frames": 1000, "data_kwargs": lambda: {
        "height": 16, "width": 16, "frames": 2, "fit": "crop", "split": "all", "max_frames": 1000}})
    monkeypatch.setattr(Painter, "config", thinned)
    monkeypatch.setattr(Painter, "frame_skip", 2)
    written = measured("--metrics", "diversity", classes=("cat",))
    assert written["metrics"]["diversity"]["protocol"]["frame_skip"] == 2
    with pytest.raises(UserError, match="was trained with frame_skip 2; --protocol .*_skip2 is the one"):
        _check_protocol(EvaluateConfig(checkpoint="painter", protocol="fvd_random_256_16f").check(), Painter())


def test_rates_that_differ_are_told(measured):
    assert not any("frames a second" in note for note in measured("--metrics", "diversity", classes=("cat",))["notes"])
    (told,) = [note for note in measured("--metrics", "diversity", "--frame_skip", "2", classes=("cat",))["notes"]
               if "frames a second" in note]
    assert told.startswith("real clips have 12 frames a second, generated ones 24")


def test_every_draw_asks_the_model_for_clips_of_its_own(measured, monkeypatch):
    starts = []
    monkeypatch.setattr(Painter, "latents", lambda self, num, seed, start=0: starts.append(start) or torch.full((num, 1), float(start)))
    measured("--metrics", "diversity", "--draws", "2", classes=GREYS)
    assert set(starts) == set(range(90))


def test_classes_are_asked_for_as_often_as_real_clips_show_them():
    sampler = SimpleNamespace(classes=["dog", "cat", "hen"], shown=[0, 1, 2])
    asked = _labels_to_ask_for(sampler, ["cat", "dog", "owl"], torch.tensor([0] * 90 + [1] * 10 + [2] * 5), seed=3)
    found = asked(torch.arange(100))
    assert torch.bincount(found, minlength=3).tolist() == [10, 90, 0] and torch.equal(asked(torch.arange(100, 200)), found)
    assert 0 < (found[:50] == 0).sum() < 10, "in no order"
    for classes, labels in ((["owl", "ape"], [0, 1]), ([], [0, 0])):
        assert _labels_to_ask_for(sampler, classes, torch.tensor(labels), 0)(torch.arange(5)).tolist() == [0, 1, 2, 0, 1]


def test_of_films_of_unequal_length_classes_are_those_of_the_clips_compared(measured, tmp_path):
    """Overlapping clips of long films are many; compared are those without common frames, or one of each film."""
    for number in range(12):
        write_video(tmp_path / "real" / "hen" / f"{number}.mp4", np.full((2, 16, 16, 3), 200 + number, np.uint8), 24)
        write_video(tmp_path / "real" / "dog" / f"{number}.mp4", np.full((40, 16, 16, 3), 120 + number, np.uint8), 24)
    written = measured("--metrics", "diversity", "--num_samples", "24", "--one_per_video", classes=())
    assert [row[:2] for row in written["tables"]["by class"][1:]] == [["dog", "12"], ["hen", "12"]]


def test_other_videos_than_those_of_training_are_told(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(Painter, "config", SimpleNamespace(**vars(Painter.config) | {"data": f"{tmp_path}/real"}))
    notes = lambda data: measured("--metrics", "diversity", classes=("cat",), data=data)["notes"]
    measure = lambda data: [note for note in notes(data) if "not those" in note]
    assert measure(None) and not measure("real"), "those of --data need not be"
    known = VideoDataset(tmp_path / "real", 16, 16, 2, split="all", cache_dir=tmp_path / "cache", quiet=True)
    monkeypatch.setattr(Painter, "videos", known.fingerprint)
    assert not measure(None)
    monkeypatch.setattr(Painter.config, "data_kwargs", lambda: {"height": 16, "width": 16, "frames": 4, "fit": "crop", "split": "all"})
    notes = measured("--metrics", "diversity", "--clip_frames", "2", classes=("cat",), data=None)["notes"]
    assert not any("not those" in note for note in notes), "other clips of the same videos"


def test_classes_without_real_clips_are_told(measured):
    assert "1 of the model's 3 classes have no real clip: dog" in measured("--metrics", "diversity", classes=("cat", "hen"))["notes"]


def test_a_protocol_fits_frames_as_the_model_was_trained(monkeypatch):
    monkeypatch.setattr(Painter, "config", SimpleNamespace(**vars(Painter.config) | {"fit": "pad"}))
    with pytest.raises(UserError, match="has --fit crop, the model was trained with --fit pad"):
        _check_protocol(EvaluateConfig(checkpoint="painter", protocol="fvd_random_256_16f").check(), Painter())


@pytest.mark.parametrize("names, films", [(("a/1.png", "a/2.png", "b/1.png"), ["x/a", "x/a", "x/b"]), (("1.png", "2.png"), ["1", "2"]),
                                          (("a/1.mp4", "b/2.mp4"), ["a/1", "b/2"])])
def test_frames_of_a_folder_are_a_film(names, films):
    assert _films([Pair(name.rpartition(".")[0], Path("x") / name, Path("y") / name) for name in names]) == films
