"""Films from films: counts, rates, frames left as they were, cuts, what is kept of a keyframe."""

import json
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data.cuts import find_cuts, thumbnail, with_cuts
from generate import GenerateConfig, check_new, generate_video
from metrics.film import FilmScore
from tests.data.films import moving, numbered, numbers, texture, write_film
from tests.training.runner import QUICK
from training.interpolate_film import Film, Kept, Remaker, from_keyframes, slowed
from training.restore import load_sampler
from utils.errors import UserError
from utils.images import save_png

SMALL = [*QUICK, "--family", "keyframes", "--frames", "3", "--height", "16", "--width", "16", "--batch_size", "4", "--steps", "2",
         "--device", "cpu", "--precision", "fp32", "--model.ae_width", "4", "--model.ae_downsampling", "4", "--model.ae_channels", "4",
         "--model.flow_width", "4"]


@pytest.fixture(scope="module")
def run(runner, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("remake") / "run"
    runner.train("--out", folder, settings=SMALL)
    return folder


@pytest.fixture(scope="module")
def remaker(run) -> Remaker:
    return Remaker(load_sampler(run, "cpu", "fp32"), batch_size=2)


def read(path: Path) -> tuple[list[np.ndarray], Fraction]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], container.streams.video[0].average_rate


def scenes(*lengths: int) -> list[np.ndarray]:
    return [frame for seed, length in enumerate(lengths) for frame in moving(length, seed=3 * seed, height=40, width=56)]


# Cuts, told as the film goes by

@pytest.mark.parametrize("lengths", [(1,), (2,), (3,), (4,), (5, 5), (12, 3, 20, 9), (30,)])
def test_cuts_in_passing_are_those_of_the_whole_film(lengths):
    frames = scenes(*lengths)
    told = list(with_cuts(iter(frames)))
    assert len(told) == len(frames) and all(np.array_equal(a, b) for (a, _), b in zip(told, frames))
    assert [place for place, (_, begins) in enumerate(told) if begins] == find_cuts(np.stack([thumbnail(frame) for frame in frames]))


def test_cuts_are_told_with_few_frames_in_memory():
    drawn = 0

    def frames():
        nonlocal drawn
        for frame in moving(40):
            drawn += 1
            yield frame
    for place, _ in enumerate(with_cuts(frames())):
        assert drawn <= place + 6


def test_a_real_films_cuts_in_passing(clips):
    from data.decode import read_frames

    begins = [place for place, (_, begins) in enumerate(with_cuts(read_frames(clips / "bikes.mp4"))) if begins]
    assert begins == [30, 76, 137, 187, 242]


# More frames

@pytest.mark.parametrize("factor", [2, 4])
def test_originals_stay_bit_for_bit_and_the_film_lasts_as_long(remaker, factor):
    frames = moving(7, height=33, width=47)
    made = list(slowed(remaker, frames, factor))
    assert len(made) == 7 * factor and all(frame.shape == (33, 47, 3) for frame in made)
    assert all(np.array_equal(made[factor * index], frame) for index, frame in enumerate(frames))
    assert all(np.array_equal(frame, frames[-1]) for frame in made[-factor:])
    for index in range(6):  # frames between lie between
        ends, inner = frames[index:index + 2], made[factor * index + 1:factor * (index + 1)]
        near = [np.abs(frame.astype(float) - ends[0]).mean() for frame in inner]
        assert all(value > 0 for value in near) and near == sorted(near)


def test_frames_between_are_the_networks_at_their_times(remaker):
    first, second = moving(2)
    tensor = lambda frame: torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 127.5 - 1
    for index, frame in enumerate(remaker.between(first, second, 3)):
        with torch.no_grad():
            made = remaker.interpolator(tensor(first), tensor(second), torch.tensor([(index + 1) / 4]))
        assert np.abs(frame - ((made[0].permute(1, 2, 0) + 1) * 127.5).numpy()).max() < 0.51


def test_nothing_is_made_across_a_cut(remaker):
    frames = scenes(8, 9)
    made = list(slowed(remaker, frames, 3))
    assert all(np.array_equal(made[index], frames[7]) for index in range(21, 24)) and np.array_equal(made[24], frames[8])
    assert not np.array_equal(made[22 - 3], frames[6]), "while inside a scene frames are made"


def test_a_film_of_four_times_the_frames(run, tmp_path):
    frames = moving(6, height=34, width=46)
    source = write_film(tmp_path / "source.mp4", frames, rate=Fraction(30000, 1001))
    decoded, rate = read(source)
    written = generate_video(output_file=tmp_path / "slow.mp4", model_path=run, input=str(source), factor=4, crf=0, device="cpu")
    made, new_rate = read(written)
    assert len(made) == 24 and new_rate == 4 * rate == Fraction(120000, 1001)
    # Colours are halved in H.264.
    assert max(np.abs(made[4 * index].astype(int) - frame).mean() for index, frame in enumerate(decoded)) < 2.5
    assert read(generate_video(output_file=tmp_path / "calm.mp4", model_path=run, input=str(source), factor=4, fps=10,
                               device="cpu"))[1] == 10


def test_odd_sizes_and_lossless_pictures(run, tmp_path):
    source = tmp_path / "frames"
    source.mkdir()
    frames = moving(3, height=21, width=35)
    for index, frame in enumerate(frames):
        save_png(source / f"{index:03d}.png", frame)
    folder = generate_video(output_file=tmp_path / "out.png", model_path=run, input=str(source), factor=2, device="cpu")
    files = sorted(folder.iterdir())
    with av.open(str(files[2])) as container:
        assert np.array_equal(next(container.decode(video=0)).to_ndarray(format="rgb24"), frames[1])
    assert len(files) == 6


def test_each_frame_is_seen_when_it_should_be(run, tmp_path):
    """One frame is held for a second in a file that stores it once."""
    frames = moving(8, height=34, width=46)
    source = tmp_path / "held.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 46, 34, "yuv420p", Fraction(1, 25)
        stream.codec_context.time_base = Fraction(1, 25)
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = index + 25 * (index > 3)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    made, rate = read(generate_video(output_file=tmp_path / "out.mp4", model_path=run, input=str(source), factor=2, crf=0, device="cpu"))
    assert rate == 50 and len(made) == 2 * 33
    assert all(np.abs(made[place].astype(int) - made[6]).mean() < 0.5 for place in range(8, 55, 2)), "the fourth is held"


def test_a_rate_that_changes_and_a_long_still_keep_their_time(tmp_path):
    """Ten frames a second for two seconds, then thirty for as long, with one frame held for twelve seconds."""
    seconds = [index / 10 for index in range(20)] + [2 + index / 30 + 12 * (index > 30) for index in range(60)]
    film = Film(write_film(tmp_path / "film.mp4", numbered(80), seconds=seconds))
    shown = numbers(film.frames())
    assert film.fps == pytest.approx(30, rel=0.02) and len(shown) == pytest.approx(16 * 30, abs=3) and abs(len(shown) - film.length) <= 2
    assert list(dict.fromkeys(shown)) == list(range(80)), "no frame is left out"
    assert max(abs(shown.index(number) / film.fps - seconds[number]) for number in range(80)) < 2.5 / 30
    assert shown.count(50) == pytest.approx(12 * 30, abs=3)


def test_even_films_are_read_frame_by_frame(clips):
    for name, count in (("tree.avi", 68), ("vtest.avi", 795), ("test.avi", 164)):
        film = Film(clips / name)
        assert film.length == count and not film._by_time, name


def test_pictures_of_two_sizes_are_refused(run, tmp_path):
    source = tmp_path / "frames"
    source.mkdir()
    for index, (height, width) in enumerate(((20, 30), (20, 30), (10, 30))):
        save_png(source / f"{index}.png", texture(index)[:height, :width])
    with pytest.raises(UserError, match="frame 2 is 30x10, those before are 30x20"):
        generate_video(output_file=tmp_path / "out.mp4", model_path=run, input=str(source), factor=2, device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]


def test_what_a_film_is_made_from_is_never_replaced(run, tmp_path):
    source = tmp_path / "frames"
    source.mkdir()
    for index, frame in enumerate(moving(3, height=20, width=30)):
        save_png(source / f"{index:06d}.png", frame)
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    with pytest.raises(UserError, match="would replace"):
        generate_video(output_file=tmp_path / "frames.png", model_path=run, input=str(source), factor=2, device="cpu")
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    (tmp_path / "kept.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match="kept.json, which holds something else"):
        generate_video(output_file=tmp_path / "kept.mp4", model_path=run, input=str(source), keyframe_interval=2, device="cpu")
    assert (tmp_path / "kept.json").read_text() == '{"mine": 1}' and not (tmp_path / "kept.mp4").exists()


# Keyframes

def test_keyframes_are_those_of_the_interval_and_the_ends_of_scenes(remaker):
    frames, kept = scenes(8, 6), Kept()
    pairs = list(from_keyframes(remaker, frames, 3, kept))
    assert all(np.array_equal(real, frame) for (_, real), frame in zip(pairs, frames, strict=True))
    for index in (0, 3, 6, 7, 8, 11, 13):  # 0 3 6 and the scene's last; from its first on again; the film's last
        made, packed = remaker.keep(frames[index])
        assert np.array_equal(pairs[index][0], made)
        assert len(packed) == 4 * 10 * 14
    assert (kept.frames, kept.keyframes, kept.raw_bytes, kept.code_bytes) == (14, 7, 14 * 40 * 56 * 3, 7 * 560)
    assert kept.deflated_bytes == sum(len(zlib.compress(remaker.keep(frames[index])[1], 9)) for index in (0, 3, 6, 7, 8, 11, 13))
    start, end = pairs[8][0], pairs[11][0]
    assert all(np.array_equal(a, b) for a, (b, _) in zip(remaker.between(start, end, 2), pairs[9:11], strict=True))


def test_held_footage_is_restored_by_repeating_and_slowed_by_moving(run):
    remaker = Remaker(load_sampler(run, "cpu", "fp32"))
    torch.nn.init.constant_(remaker.interpolator.repeats.body[-1].bias, 9.0)  # takes all footage for held
    frames = moving(5)
    made = [made for made, _ in from_keyframes(remaker, frames, 4, Kept())]
    assert all(np.array_equal(made[index], made[nearer]) for index, nearer in ((1, 0), (2, 0), (3, 4)))
    assert not np.array_equal(made[0], made[4])
    between = list(slowed(remaker, frames[:2], 2))[1]
    assert not np.array_equal(between, frames[0]) and not np.array_equal(between, frames[1])


def test_every_frame_a_keyframe(remaker):
    kept = Kept()
    pairs = list(from_keyframes(remaker, moving(5), 1, kept))
    assert len(pairs) == kept.keyframes == 5


def test_the_report_of_a_film_from_keyframes(run, tmp_path):
    source = write_film(tmp_path / "source.mp4", moving(9))
    written = generate_video(output_file=tmp_path / "kept.mp4", model_path=run, input=source, keyframe_interval=4, device="cpu")
    frames, rate = read(written)
    numbers = json.loads((tmp_path / "kept.json").read_text())
    assert len(frames) == 9 and rate == 25 and (numbers["frames"], numbers["keyframes"]) == (9, 3)
    assert {"psnr", "ssim", "change", "change_of_input", "change_error", "warping_error", "warping_error_of_input", "code_bytes"} <= set(numbers)


def test_scores_in_closed_form():
    real = [torch.from_numpy(texture(seed)[:32, :32]).clamp(20, 200) for seed in (1, 2, 3)]
    score = FilmScore()
    for frame in real:
        score.add(frame + 10, frame)  # wrong all alike: likeness suffers, steadiness does not
    found = score.numbers()
    assert found["psnr"] == pytest.approx(20 * np.log10(255 / 10)) and found["change_error"] == 0
    assert found["change"] == found["change_of_input"] == pytest.approx(
        np.mean([(a.float() - b.float()).abs().mean() for a, b in zip(real, real[1:])]), rel=1e-5)
    flicker = FilmScore()
    for index, frame in enumerate(real):
        flicker.add(frame + 10 * (index % 2), frame)
    assert flicker.numbers()["change_error"] == pytest.approx(10)
    assert FilmScore().numbers() == {}


def test_temporal_consistency_is_that_along_the_real_films_motion():
    real = [torch.from_numpy(frame.copy()).clamp(20, 200) for frame in moving(4, height=64, width=64)]
    found = []
    for flicker in (0, 10):
        score = FilmScore()
        for index, frame in enumerate(real):
            score.add(frame + 20 + flicker * (index % 2), frame)
        found.append(score.numbers())
    steady, shaky = found
    assert steady["warping_error"] == pytest.approx(steady["warping_error_of_input"]) and steady["warping_error_of_input"] < 1e-3
    # Twice in three pairs as far up as once down: the squares of what is added, and nearly nothing between it and the motion's own.
    assert shaky["warping_error"] - shaky["warping_error_of_input"] == pytest.approx((10 / 255)**2, rel=0.2)
    score = FilmScore()
    score.add(real[0][:11], real[0][:11]), score.add(real[1][:11], real[1][:11])
    assert "warping_error" not in score.numbers() and score.numbers()["change_error"] == 0


# Mistakes

@pytest.mark.parametrize("settings, named", [
    ({"factor": 1}, "--factor 1"), ({"factor": 2.5}, "--factor 2.5"), ({"keyframe_interval": 0}, "--keyframe_interval 0"), ({}, "--factor"),
    ({"factor": 2, "keyframe_interval": 4}, "--input goes with one"), ({"factor": 2, "num_videos": 3}, "--num_videos 3")])
def test_settings_that_do_not_go_together(settings, named):
    with pytest.raises(UserError, match=named):
        GenerateConfig(input="film.mp4", **settings).check()
    if "num_videos" not in settings and settings:
        with pytest.raises(UserError):
            GenerateConfig(**settings).check()


def test_what_cannot_be_remade_is_one_line_and_writes_nothing(run, tmp_path):
    text, film = tmp_path / "words.mp4", write_film(tmp_path / "film.mp4", moving(3))
    text.write_text("words")
    before = film.read_bytes()
    for settings, named in (({"input": str(tmp_path / "none.mp4"), "factor": 2}, "none.mp4"),
                            ({"input": str(text), "factor": 2}, "words.mp4"), ({"input": str(film), "factor": 100}, "fps"),
                            ({}, "makes films from films"),
                            ({"input": str(film), "factor": 2, "output_file": film}, "made from")):
        with pytest.raises(UserError, match=named):
            generate_video(**{"output_file": tmp_path / "out.mp4", "model_path": run, "device": "cpu", **settings})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "words.mp4"] and film.read_bytes() == before


def test_numbers_of_a_film_go_to_the_file_that_was_asked_about(run, tmp_path):
    film = write_film(tmp_path / "film.mp4", moving(3))
    (tmp_path / "kept.json").write_text("mine")
    generate_video(output_file=tmp_path / "kept.v1.png", model_path=run, input=film, keyframe_interval=2, device="cpu")
    assert (tmp_path / "kept.json").read_text() == "mine" and json.loads((tmp_path / "kept.v1.json").read_text())["frames"] == 3


def test_a_folder_of_frames_that_holds_what_is_asked_about_is_kept(tmp_path):
    with pytest.raises(UserError, match="made from"):
        check_new(tmp_path / "photos.png", str(tmp_path / "photos" / "000000.png"))
    assert check_new(tmp_path / "photos.png", str(tmp_path / "other" / "000000.png")) == tmp_path / "photos.png"


def test_another_family_is_refused(runner, tmp_path):
    runner.train("--out", tmp_path / "run", "--steps", "1")
    film = write_film(tmp_path / "film.mp4", moving(3))
    with pytest.raises(UserError, match="only keyframes"):
        generate_video(output_file=tmp_path / "out.mp4", model_path=tmp_path / "run", input=str(film), factor=2, device="cpu")


def test_sound_is_said_to_be_left_out(run, tmp_path, capsys):
    silent, source = write_film(tmp_path / "silent.mp4", moving(4)), tmp_path / "loud.mp4"
    with av.open(str(silent)) as film, av.open(str(source), "w") as container:
        pictures, sound = container.add_stream_from_template(film.streams.video[0]), container.add_stream("aac", rate=44100)
        for packet in film.demux(film.streams.video[0]):
            if packet.size:
                packet.stream = pictures
                container.mux(packet)
        beep = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        beep.sample_rate, beep.pts = 44100, 0
        container.mux(sound.encode(beep))
        container.mux(sound.encode())
    assert Film(source).troubles == ["its sound is left out"] and Film(silent).troubles == []
    generate_video(output_file=tmp_path / "out.mp4", model_path=run, input=str(source), factor=2, device="cpu")
    assert capsys.readouterr().err.count("its sound is left out") == 1
