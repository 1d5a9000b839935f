"""Films to remake that are none, or hold less than they seem to."""

import os

import av
import numpy as np
import pytest
from PIL import Image

import evaluate
from data.probe import ProbeTask, probe
from generate import GenerateConfig, generate_video
from tests.data.fields import write_fields
from tests.data.films import moving, numbered, numbers, write_film
from tests.test_remake import SMALL, run  # noqa: F401  run is a fixture
from training.interpolate_film import Film
from utils.errors import UserError
from utils.images import save_png


def test_a_film_without_times_has_25_frames_a_second_and_says_so(tmp_path):
    path = tmp_path / "cam.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in moving(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    film = Film(path)
    assert len(list(film.frames())) == film.length == 20 and film.fps == 25 and any("holds no times" in said for said in film.troubles)


def test_pictures_that_cannot_be_read_are_told(tmp_path, capsys):
    for number, frame in enumerate(moving(5)):
        save_png(tmp_path / "film" / f"{number}.png", frame)
    (tmp_path / "film" / "2.png").write_bytes(b"rubbish")
    assert len(list(Film(tmp_path / "film").frames())) == 4
    assert "1 of 5 frames cannot be read and are left out" in capsys.readouterr().err


def test_what_is_no_film_is_named(run, tmp_path):
    write_film(tmp_path / "videos" / "a.mp4", moving(5))
    save_png(tmp_path / "photo.png", moving(1)[0])
    for name, said in (("videos", "a folder that holds no pictures"), ("photo.png", "a single picture is no film")):
        with pytest.raises(UserError, match=said):
            Film(tmp_path / name)
    write_film(tmp_path / "film.mp4", moving(3))
    with pytest.raises(UserError, match="--factor 50: makes 1250 frames a second of 25; --fps"):
        generate_video(model_path=run, output_file=tmp_path / "x.mp4", input=str(tmp_path / "film.mp4"), factor=50)
    with pytest.raises(UserError, match="--crf 30: is for .mp4 and .avi"):
        GenerateConfig(output=str(tmp_path / "x.gif"), crf=30).check()


def test_a_last_picture_that_is_held_is_no_damage_and_stays(tmp_path):
    """Twenty pictures of a tenth of a second, the last one for two."""
    first, *others = (Image.fromarray(frame) for frame in moving(20, height=32, width=32))
    first.save(tmp_path / "held.gif", save_all=True, append_images=others, duration=[100] * 19 + [2000])
    health = probe(ProbeTask(str(tmp_path / "held.gif"), "video", "held.gif", size=(tmp_path / "held.gif").stat().st_size))
    assert health.status == "ok" and health.seconds == pytest.approx(3.9, abs=0.02)
    film = Film(tmp_path / "held.gif")
    shown = list(film.frames())
    assert not film.troubles and len(shown) == film.length == round(3.9 * film.fps)
    assert all(np.array_equal(frame, shown[-1]) for frame in shown[-18:])


@pytest.mark.parametrize("networks, learns, asked, refused", [
    ("published", "autoencoder", {"factor": 2}, True), ("published", "interpolator", {"factor": 2}, False),
    ("pyramid", "autoencoder", {"factor": 2}, False), ("pyramid", "interpolator", {"keyframe_interval": 2}, False)])
def test_a_network_that_has_learnt_nothing_is_told(runner, tmp_path, capsys, networks, learns, asked, refused):
    runner.train("--out", tmp_path / "run", "--model.learns", learns, "--model.networks", networks, settings=SMALL)
    film = write_film(tmp_path / "film.mp4", moving(5))
    if refused:
        with pytest.raises(UserError, match="its interpolator is as it began, which is noise"):
            generate_video(output_file=tmp_path / "new.mp4", model_path=tmp_path / "run", input=film, device="cpu", **asked)
        assert not (tmp_path / "new.mp4").exists()
        return
    generate_video(output_file=tmp_path / "new.mp4", model_path=tmp_path / "run", input=film, device="cpu", **asked)
    missing = {"autoencoder": "interpolator", "interpolator": "autoencoder"}[learns]
    told = f"its {missing} is as it began" in capsys.readouterr().err
    assert told == (networks == "pyramid")


def test_frames_of_a_remade_film_are_compared_elsewhere(run, tmp_path):
    with pytest.raises(UserError, match="generate.py --keyframe_interval"):
        evaluate.main(["--checkpoint", str(run), "--metrics", "psnr", "--output", str(tmp_path / "report")])


def test_a_film_is_known_by_another_name_too(run, tmp_path):
    film = write_film(tmp_path / "film.mp4", moving(3))
    before = film.read_bytes()
    os.link(film, tmp_path / "FILM.MP4")  # one file of two names, as where capitals are small letters
    with pytest.raises(UserError, match="would replace"):
        generate_video(output_file=tmp_path / "FILM.MP4", model_path=run, input=str(film), factor=2, device="cpu")
    assert film.read_bytes() == before


def test_a_film_of_fields_keeps_its_speed_and_every_frame(tmp_path):
    path = write_fields(tmp_path / "fields.mp4", 50)
    health, film = probe(ProbeTask(str(path), "video", path.name, size=path.stat().st_size)), Film(path)
    for fps, frames, troubles in ((health.fps, health.frames, health.faults), (film.fps, film.length, film.troubles)):
        assert (fps, frames, troubles) == (25, 50, [])
    levels = [frame.mean() for frame in film.frames()]
    assert len(levels) == 50 and levels == sorted(set(levels))


@pytest.mark.parametrize("rates", [(30, 25), (25, 30), (60, 50)])
def test_every_frame_of_a_film_of_two_speeds_is_kept(tmp_path, rates):
    seconds = np.cumsum([0, *[1 / rates[0]] * 35, *[1 / rates[1]] * 34])
    film = Film(write_film(tmp_path / "two.mkv", numbered(70), rate=max(rates), seconds=seconds))
    assert film.fps == pytest.approx(max(rates), rel=0.02)
    assert set(numbers(film.frames())) == set(range(70))
