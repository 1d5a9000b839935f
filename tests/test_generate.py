"""From a checkpoint to a film: paths through latent space, the command line, the Python call."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from generate import GenerateConfig, film_frames, generate_video
from training.restore import load_sampler
from utils.errors import UserError
from utils.images import to_uint8
from utils.latent_paths import LatentPath, slerp
from utils.seeds import derive, torch_generator

ROOT = Path(__file__).resolve().parents[1]
DIM = 64
# Networks this small are fastest on one thread, many times so on a busy machine.
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run directory of a 32x32 generator that has hardly been trained."""
    folder = tmp_path_factory.mktemp("run") / "city"
    command = [sys.executable, "train.py", "--data", "synthetic", "--height", "32", "--width", "32", "--steps", "2",
               "--batch_size", "4", "--device", "cpu", "--precision", "fp32", "--out", str(folder)]
    environment = ONE_THREAD | {"VIDGAN_CACHE": os.environ["VIDGAN_CACHE"]}  # the tests' own cache
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def sampler(run):
    return load_sampler(run, device="cpu", precision="fp32")


def shell(*words) -> subprocess.CompletedProcess:
    command = [sys.executable, "generate.py", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=ONE_THREAD)


def film(path: Path) -> tuple[np.ndarray, av.VideoStream]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), stream


def frames_of(sampler, **settings_) -> np.ndarray:
    config = GenerateConfig(**settings_).check()
    return np.stack(list(film_frames(sampler, config, 24)))


# Paths through latent space

def path(kind: str, period: float, num_frames: int, seed: int = 0, dim: int = DIM) -> LatentPath:
    return LatentPath(kind, lambda k: torch.randn(dim, generator=torch_generator(seed, k)), period, num_frames)


kinds = st.sampled_from(["slerp", "walk", "loop"])
periods = st.floats(0.3, 60)
lengths = st.integers(1, 200)


@settings(max_examples=40, deadline=None)
@given(kinds, periods, lengths, st.integers(0, 10**6), st.data())
def test_a_frames_latent_depends_on_its_number_alone(kind, period, num_frames, seed, data):
    whole = path(kind, period, num_frames, seed).at(range(num_frames))
    some = data.draw(st.lists(st.integers(0, num_frames - 1), min_size=1, max_size=5))
    torch.testing.assert_close(path(kind, period, num_frames, seed).at(some), whole[some], rtol=0, atol=0)
    if kind != "loop":  # a longer film begins with the shorter one
        torch.testing.assert_close(path(kind, period, num_frames + 70, seed).at(some), whole[some], rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(periods, lengths, st.integers(0, 10**6))
def test_a_loop_closes_with_its_velocity(period, num_frames, seed):
    loop = path("loop", period, num_frames, seed)
    once, again = loop.at(range(num_frames + 2)), loop.at(range(num_frames, 2 * num_frames + 2))
    torch.testing.assert_close(once, again, rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(0, 10**6), st.floats(0.1, 10))
def test_slerp_keeps_to_the_arc_between_its_ends(t, seed, scale):
    generator = torch_generator(seed)
    start, end = torch.randn(DIM, generator=generator).double(), scale * torch.randn(DIM, generator=generator).double()
    point = slerp(start, end, t)
    angle = lambda a, b: torch.acos((a @ b / a.norm() / b.norm()).clamp(-1, 1)).item()
    assert point.norm().item() == pytest.approx((1 - t) * start.norm().item() + t * end.norm().item(), rel=1e-9)
    assert angle(start, point) == pytest.approx(t * angle(start, end), abs=1e-6)
    assert angle(point, end) == pytest.approx((1 - t) * angle(start, end), abs=1e-6)


def test_slerp_of_equal_directions_is_a_line():
    one = torch.full((DIM,), 2.0).double()
    torch.testing.assert_close(slerp(one, 3 * one, 0.25), 1.5 * one)


@pytest.mark.parametrize("kind", ["walk", "loop"])
def test_every_point_of_a_walk_is_a_standard_normal_draw(kind):
    points = torch.cat([path(kind, 5, 40, seed, dim=512).at(range(0, 40, 3)) for seed in range(40)])
    means, variances = points.mean(1), points.var(1)
    # 512 draws: the mean has deviation 0.044, the variance 0.0625.
    assert means.abs().max() < 0.044 * 5
    assert (variances - 1).abs().max() < 0.0625 * 5
    assert variances.mean().item() == pytest.approx(1, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(kinds, st.floats(8, 60), st.integers(0, 10**6))
def test_steps_between_frames_are_small(kind, period, seed):
    points = path(kind, period, 240, seed).at(range(240)).double()
    steps = points.diff(dim=0).norm(dim=1) / DIM**0.5
    # A right angle on the sphere of radius sqrt(dim) per period, with room for unequal lengths and sharper turns.
    assert steps.max() < 1.5 * np.pi / 2 / period
    assert steps.min() > 0
    if kind != "slerp":  # no kinks at the keypoints either
        assert (points.diff(n=2, dim=0).norm(dim=1) / DIM**0.5).max() < 6 / period**2


# Films

def test_the_command_line_makes_the_film_and_python_makes_the_same(run, tmp_path):
    done = shell("--checkpoint", run, "--output", tmp_path / "city.mp4", "--num_frames", 30, "--fps", 24, "--seed", 7)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'city.mp4'}\n"
    frames, stream = film(tmp_path / "city.mp4")
    assert frames.shape == (30, 32, 32, 3)
    assert (stream.codec.name, stream.average_rate, stream.pix_fmt) == ("h264", 24, "yuv420p")
    made = generate_video(num_frames=30, fps=24, output_file=str(tmp_path / "again.mp4"), model_path=str(run), seed=7)
    assert made == tmp_path / "again.mp4"
    assert made.read_bytes() == (tmp_path / "city.mp4").read_bytes()
    other = generate_video(num_frames=30, fps=24, output_file=tmp_path / "other.mp4", model_path=run, seed=8)
    assert other.read_bytes() != made.read_bytes()


def test_frames_are_the_samplers(sampler, tmp_path, run):
    made = generate_video(1, 24, tmp_path / "frame.png", run, seed=3, device="cpu", precision="fp32")
    latents = sampler.latents(1, derive(3, "film", 0, 0))
    np.testing.assert_array_equal(cv2.imread(str(made))[..., ::-1], to_uint8(sampler.sample(latents))[0, 0])


def test_the_training_rate_is_the_default(run, sampler, tmp_path):
    _, stream = film(generate_video(3, output_file=tmp_path / "film.mp4", model_path=run))
    assert float(stream.average_rate) == pytest.approx(sampler.fps, rel=1e-3)


@pytest.mark.parametrize("kind", ["slerp", "walk", "loop"])
def test_batches_do_not_change_the_film(sampler, kind):
    one, many = (frames_of(sampler, num_frames=11, path=kind, batch_size=size) for size in (1, 4))
    assert np.abs(one.astype(int) - many).max() <= 1  # rounding in the convolutions


def test_a_loop_film_has_no_seam(sampler):
    frames = frames_of(sampler, num_frames=48, path="loop", keyframe_seconds=0.5).astype(float)
    steps = np.abs(np.roll(frames, -1, axis=0) - frames).mean(axis=(1, 2, 3))
    assert steps[-1] < 1.5 * steps[:-1].max()
    assert np.abs(frames[0] - frames[24]).mean() > 2 * steps[-1], "and it goes somewhere"


def test_a_grid_shows_different_samples(sampler):
    sheet = frames_of(sampler, num_frames=3, grid="2x3")
    assert sheet.shape == (3, 64, 96, 3)
    cells = sheet.reshape(3, 2, 32, 3, 32, 3).transpose(1, 3, 0, 2, 4, 5).reshape(6, 3, 32, 32, 3)
    assert np.abs(cells[0].astype(int) - frames_of(sampler, num_frames=3)).max() <= 1
    for row, column in [(0, 1), (1, 0), (1, 2)]:
        latents = sampler.latents(1, derive(0, "film", 0, row * 3 + column))
        expected = to_uint8(sampler.sample(latents))[0, 0].astype(int)
        assert np.abs(cells[row * 3 + column, 0] - expected).max() <= 1
    assert len({cell.tobytes() for cell in cells}) == 6


def test_several_films_differ_and_the_first_is_the_single_one(run, tmp_path):
    made = generate_video(5, 24, tmp_path / "city.mp4", run, num_videos=3)
    assert [file.name for file in made] == ["city_000.mp4", "city_001.mp4", "city_002.mp4"]
    assert len({file.read_bytes() for file in made}) == 3
    assert generate_video(5, 24, tmp_path / "one.mp4", run).read_bytes() == made[0].read_bytes()


@pytest.mark.parametrize("name, codec", [("film.avi", "h264"), ("film.gif", "gif")])
def test_other_endings(run, tmp_path, name, codec):
    frames, stream = film(generate_video(4, 10, tmp_path / name, run))
    assert (frames.shape, stream.codec.name, stream.average_rate) == ((4, 32, 32, 3), codec, 10)


def test_numbered_frames(run, tmp_path):
    folder = generate_video(3, 10, tmp_path / "frames.png", run)
    assert folder == tmp_path / "frames"
    assert sorted(file.name for file in folder.iterdir()) == ["000000.png", "000001.png", "000002.png"]


def test_truncation_shrinks_the_variety(sampler):
    wide, narrow = (frames_of(sampler, num_frames=1, grid="4x4", truncation=psi).astype(float) for psi in (1.0, 0.05))
    variety = [sheet.reshape(4, 32, 4, 32, 3).std(axis=(0, 2)).mean() for sheet in (wide, narrow)]
    assert variety[1] < variety[0] / 2


@dataclass
class Clips:
    """A generator of 4-frame clips of 2x2 pixels: red counts the clips drawn, green tells the time."""

    value: float = 0.0
    drawn: int = 0
    asked: list = field(default_factory=list)
    labels: list = field(default_factory=list)
    config = SimpleNamespace(frames=4)
    takes_labels, classes, shown = False, (), [0]

    def latents(self, number, seed, start=0):
        return torch.randn(number, 8, generator=torch_generator(seed, start))

    def sample(self, latents, labels=None):
        self.asked.extend(latents)
        self.labels.extend([] if labels is None else labels.tolist())
        video = torch.full((len(latents), 3, 4, 2, 2), self.value)
        for clip in video:
            clip[0] = self.drawn / 127.5 - 1
            clip[1] = (torch.arange(4.0) / 127.5 - 1)[:, None, None]
            self.drawn += 1
        return video


def test_clips_are_played_one_after_another_and_the_last_is_cut():
    clips = Clips()
    frames = frames_of(clips, num_frames=10, batch_size=2)
    assert frames[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert frames[:, 0, 0, 1].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    seed = derive(0, "film", 0, 0)
    way = LatentPath("slerp", lambda k: clips.latents(1, seed, start=k)[0], 48, 10)
    torch.testing.assert_close(torch.stack(clips.asked), way.at([0, 4, 8]))


def test_a_broken_generator_is_named():
    with pytest.raises(UserError, match="--checkpoint"):
        frames_of(Clips(value=float("nan")), num_frames=4)


# Mistakes

@pytest.mark.parametrize("flag, value", [
    ("num_frames", 0), ("num_frames", 2.5), ("num_frames", "many"), ("fps", 0), ("fps", -1), ("fps", "fast"),
    ("crf", 52), ("output_file", "film.webm"), ("grid", "3by4"), ("grid", "0x2"), ("path", "zigzag"), ("batch_size", 0),
    ("num_videos", 0), ("seed", -1), ("truncation", 0), ("interpolate", "3"), ("interpolate", "3:-4"), ("label", "cat"),
    ("keyframe_seconds", 0), ("keyframe_seconds", "long"), ("model_path", "no/such/run"), ("device", "tpu"), ("precision", "fp16")])
def test_a_mistake_in_python_is_a_user_error_that_names_it(run, tmp_path, flag, value):
    arguments = {"num_frames": 2, "output_file": tmp_path / "film.mp4", "model_path": run, "device": "cpu", flag: value}
    with pytest.raises(UserError) as caught:
        generate_video(**arguments)
    assert str(value) in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words, named", [
    (["--frames", "3"], "--frames"), (["--num_frames", "many"], "num_frames"), (["--num-frames", "0"], "num_frames"),
    (["--path", "zigzag"], "path"), (["--checkpoint", "no/such/run"], "no/such/run"),
    (["--output", "{tmp}/file/film.mp4"], "film.mp4")])
def test_a_mistake_on_the_command_line_is_one_line(run, tmp_path, words, named):
    (tmp_path / "file").write_text("no folder")
    start = ["--checkpoint", run, "--output", tmp_path / "film.mp4", "--num_frames", 2]
    done = shell(*start, *[word.replace("{tmp}", str(tmp_path)) for word in words])
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and named in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


MEMORY = """
import resource, sys
from generate import generate_video

generate_video(int(sys.argv[2]), 24, sys.argv[1], sys.argv[3], device="cpu", precision="fp32", batch_size=8, crf=40)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_film(run, tmp_path):
    def peak(count):
        command = [sys.executable, "-c", MEMORY, str(tmp_path / "film.mp4"), str(count), str(run)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=ONE_THREAD)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    # 1500 samples of 32x32 take 18 MiB as the floats that the generator makes.
    assert peak(1600) - peak(100) < 9
