"""generate.py: streams side by side, the future of a photo; evaluate.py: how good that future is."""

import json

import cv2
import numpy as np
import pytest
import torch

import evaluate
from data.decode import fit_frame
from generate import GenerateConfig, film_frames, generate_video
from tests.training.runner import QUICK
from training.films import PANELS, check_source, load_image
from training.restore import load_sampler
from utils.errors import UserError
from utils.images import to_uint8
from utils.seeds import derive

SIZE = ["--height", "16", "--width", "24", "--frames", "4", "--batch_size", "4", "--steps", "2", "--model.g_width", "4",
        "--model.d_width", "4", "--precision", "fp32"]


@pytest.fixture(scope="module")
def runs(runner, tmp_path_factory):
    """A run of each family that has hardly been trained."""
    folder = tmp_path_factory.mktemp("streams")
    for family in ("vgan", "vgan_conditional", "dcgan"):
        runner.train("--family", family, *SIZE, *(["--frames", "1"] if family == "dcgan" else ["--model.max_width", "8"]),
                     "--out", folder / family, settings=QUICK)
    runner.train("--family", "hrvgan", *SIZE, "--model.max_width", "8", "--model.sprites", "2", "--out", folder / "sprites", settings=QUICK)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A tall picture, grey above and below, red in the middle."""
    picture = np.full((300, 90, 3), 128, np.uint8)
    picture[130:170] = (200, 40, 20)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(path), picture[..., ::-1])
    return path


def frames_of(run, **settings) -> np.ndarray:
    sampler = load_sampler(run, device="cpu", precision="fp32")
    return np.stack(list(film_frames(sampler, GenerateConfig(checkpoint=str(run), **settings).check(), 24)))


def panels_of(frames: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(PANELS, np.split(frames.astype(int), 4, axis=2)))


def check_panels(frames: np.ndarray) -> None:
    """The film is mask * foreground + (1 - mask) * background; one step of 255 for each rounding."""
    parts = panels_of(frames)
    share = parts["mask"] / 255
    assert (parts["mask"][..., 0] == parts["mask"][..., 1]).all() and parts["mask"].std() > 0
    assert np.abs(share * parts["foreground"] + (1 - share) * parts["background"] - parts["film"]).max() <= 2.5


@pytest.mark.parametrize("run", ["vgan", "sprites"])
def test_streams_lie_beside_the_film(runs, run):
    frames = frames_of(runs / run, num_frames=10, streams=True)
    assert frames.shape == (10, 16, 96, 3)
    check_panels(frames)
    parts = panels_of(frames)
    assert np.abs(parts["film"] - frames_of(runs / run, num_frames=10)).max() <= 1
    for start, end in ((0, 4), (4, 8), (8, 10)):  # a background stands still as long as a clip lasts
        assert (parts["background"][start:end] == parts["background"][start]).all()
    assert (parts["background"][3] != parts["background"][4]).any()


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_while_the_networks_grow_the_film_beside_its_streams_is_the_film(runner, tmp_path, steps):
    """At half the size, in the middle of the fade, and grown: doubling begins at step 3 and fades for two."""
    runner.train("--family", "hrvgan", *SIZE, "--model.max_width", "8", "--model.sprites", "2", "--grow_from", "1", "--grow_steps", "4",
                 "--steps", steps, "--out", tmp_path / "run", settings=QUICK)
    frames = frames_of(tmp_path / "run", num_frames=4, streams=True)
    assert frames.shape == (4, 16, 96, 3)
    assert np.abs(panels_of(frames)["film"] - frames_of(tmp_path / "run", num_frames=4)).max() <= 1
    for part in panels_of(frames).values():
        squares = part[:, ::2, ::2].repeat(2, 1).repeat(2, 2)
        assert (part == squares).all() == (steps == 2)


def test_a_grid_of_streams(runs):
    sheet = frames_of(runs / "vgan", num_frames=3, streams=True, grid="2x1")
    assert sheet.shape == (3, 32, 96, 3)
    check_panels(sheet[:, :16]), check_panels(sheet[:, 16:])
    assert np.abs(sheet[:, :16].astype(int) - frames_of(runs / "vgan", num_frames=3, streams=True)).max() <= 1


@pytest.mark.parametrize("run", ["vgan", "sprites"])
def test_streams_are_those_of_the_averaged_weights(runs, run):
    sampler = load_sampler(runs / run, device="cpu", precision="fp32")
    latents = sampler.latents(3, derive(0, "film", 0, 0))
    labels = torch.tensor([2, 0, 1]) if sampler.takes_labels else None
    streams = sampler.streams(latents, labels)
    torch.testing.assert_close(streams["film"], sampler.sample(latents, labels))
    assert set(streams) == set(PANELS) and {part.device.type for part in streams.values()} == {"cpu"}


def test_an_image_is_cut_to_the_shape_of_the_frames(photo):
    image = load_image(str(photo), 16, 24)
    assert image.shape == (1, 3, 1, 16, 24)
    # 90x60 pixels of the middle: the red stripe of 40 is two thirds of the height.
    picture = to_uint8(image)[0, 0]
    assert picture[8, 12].tolist() == [200, 40, 20] and picture[0, 0].tolist() == [128] * 3
    for fit in ("crop", "pad", "stretch"):
        picture = to_uint8(load_image(str(photo), 16, 24, fit))[0, 0]
        assert np.array_equal(picture, fit_frame(cv2.imread(str(photo)), 16, 24, fit)[..., ::-1])


def test_an_image_is_brought_to_size_as_the_model_s_videos_were(runs, photo, monkeypatch):
    asked = []
    monkeypatch.setattr("generate.load_image", lambda *given: asked.append(given[3]) or load_image(*given))
    sampler = load_sampler(runs / "vgan_conditional", device="cpu", precision="fp32")
    sampler.config.fit = "pad"
    next(film_frames(sampler, GenerateConfig(num_frames=1, image=str(photo)), 24, 0))
    assert asked == ["pad"]


@pytest.mark.parametrize("shape", [(16, 24), (7, 5), (480, 640), (33, 500)])
def test_an_image_of_any_size_has_a_future(runs, tmp_path, shape):
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    assert frames_of(runs / "vgan_conditional", num_frames=5, image=str(tmp_path / "photo.jpg")).shape == (5, 16, 24, 3)


def test_a_longer_film_goes_on_from_its_own_last_frame(runs, photo):
    frames = frames_of(runs / "vgan_conditional", num_frames=9, image=str(photo))
    sampler = load_sampler(runs / "vgan_conditional", device="cpu", precision="fp32")
    image, expected = load_image(str(photo), 16, 24), []
    for first in (0, 1, 1):  # each further clip begins with the frame that it was made from: shown once
        clip = sampler.sample(torch.zeros(1, 0), video=image)
        expected.append(to_uint8(clip)[0, first:])
        image = clip[:, :, -1:]
    assert np.array_equal(frames, np.concatenate(expected)[:9])
    streams = frames_of(runs / "vgan_conditional", num_frames=9, image=str(photo), streams=True)
    check_panels(streams)
    assert np.abs(panels_of(streams)["film"] - frames).max() <= 1


def test_a_film_from_a_photo_is_written(runs, photo, tmp_path):
    made = generate_video(6, 10, tmp_path / "future.mp4", runs / "vgan_conditional", image=str(photo), streams=True, device="cpu")
    assert cv2.VideoCapture(str(made)).get(cv2.CAP_PROP_FRAME_WIDTH) == 96


@pytest.mark.parametrize("family, settings, message", [
    ("vgan_conditional", {}, "--image: vgan_conditional predicts what follows an image; give one"),
    ("vgan_conditional", {"image": "{photo}", "grid": "2x1"}, "--grid 2x1: an image has one"),
    ("vgan_conditional", {"image": "{photo}", "num_videos": 2}, "--num_videos 2: an image has one"),
    ("vgan_conditional", {"image": "{tmp}/nothing.jpg"}, "there is no such file"),
    ("vgan_conditional", {"image": "{tmp}"}, "there is no such file"),
    ("vgan_conditional", {"image": "{tmp}/text.jpg"}, "cannot be read as an image"),
    ("vgan", {"image": "{photo}"}, "vgan makes nothing from an image"),
    ("dcgan", {"image": "{photo}"}, "dcgan makes nothing from an image"),
    ("dcgan", {"streams": True}, "--streams: dcgan has no streams")])
def test_mistakes_are_named_and_leave_nothing_behind(runs, photo, tmp_path, family, settings, message):
    (tmp_path / "text.jpg").write_text("no picture")
    fill = lambda value: value.format(photo=photo, tmp=tmp_path) if isinstance(value, str) else value
    with pytest.raises(UserError) as caught:
        generate_video(2, 10, tmp_path / "film.mp4", runs / family, **{name: fill(value) for name, value in settings.items()})
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["text.jpg"]


def measured(output) -> dict:
    return json.loads((output / "metrics.json").read_text())


def test_predictions_are_measured_beside_standing_still(runs, tmp_path, capsys):
    arguments = ["--checkpoint", str(runs / "vgan_conditional"), "--metrics", "psnr,ssim,swd", "--num_samples", "12", "--device", "cpu"]
    assert evaluate.main([*arguments, "--output", str(tmp_path / "a")]) == 0
    printed = capsys.readouterr().out
    assert "repeating the first frame" in printed and "predicted: videos that the model was trained on" in printed
    found = measured(tmp_path / "a")["metrics"]
    assert list(found) == ["psnr", "ssim", "swd"]
    assert 5 < found["psnr"]["score"]["value"] < found["psnr"]["score"]["parts"]["repeating the first frame"] < 60  # it is hardly trained
    assert found["psnr"]["protocol"]["clip_frames"] == 12 * 3 and found["psnr"]["floor"] is None
    assert (tmp_path / "a" / "predictions.png").exists()
    evaluate.main([*arguments, "--data", "synthetic:num_videos=4,frames=12,seed=5", "--output", str(tmp_path / "b")])
    other = measured(tmp_path / "b")
    assert other["metrics"]["psnr"]["score"] != found["psnr"]["score"] and not any("trained on" in note for note in other["notes"])


def test_shorter_clips_are_predicted_too(runs, tmp_path):
    evaluate.main(["--checkpoint", str(runs / "vgan_conditional"), "--metrics", "psnr", "--num_samples", "4", "--clip_frames", "2",
                   "--device", "cpu", "--output", str(tmp_path)])
    assert measured(tmp_path)["metrics"]["psnr"]["protocol"]["clip_frames"] == 4


def test_pairs_mean_nothing_for_films_from_noise(runs, tmp_path):
    with pytest.raises(UserError, match="made from noise"):
        evaluate.main(["--checkpoint", str(runs / "vgan"), "--metrics", "psnr", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_a_model_of_frames_from_anywhere_says_so(runs, photo, capsys):
    sampler = load_sampler(runs / "vgan_conditional", device="cpu", precision="fp32")
    for anywhere in (False, True):
        sampler.config.random_frame = anywhere
        check_source(sampler, str(photo), False)
        assert ("--random_frame" in capsys.readouterr().err) == anywhere
