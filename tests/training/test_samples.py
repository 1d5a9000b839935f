"""Samples, films and curves of a run."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from configs.schema import TrainConfig
from data.dataset import VideoDataset
from tests.data.films import moving, write_film
from training import samples
from training.folder import RunFolder
from training.loop import Loop
from training.samples import fixed_request, generate, latents, plot_losses, real_clips, real_labels, write_samples
from training.task import Request


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 12), nn.BatchNorm1d(12)

    def forward(self, x):
        return self.norm(self.linear(x)).tanh()


class Toy:
    """A family whose samples are plain colours of its latents."""
    latent_dim = 4

    def __init__(self, frames: int = 1):
        torch.manual_seed(0)
        self.nets, self.frames, self.sizes = {"generator": Norm()}, frames, []

    def sample(self, nets, request):
        self.sizes.append(len(request.latents))
        colours = nets["generator"](request.latents)[:, :3].view(-1, 3, 1, 1, 1)
        if request.labels is not None:
            colours = colours * 0 + request.labels.view(-1, 1, 1, 1, 1) / 10
        return colours.expand(-1, -1, self.frames, 8, 16)


def test_shown_clips_and_labels_of_one_class(tmp_path):
    """Collapse within a class cannot be seen among clips of many."""
    for number, (name, count) in enumerate((("a", 6), ("b", 9), ("c", 7))):
        write_film(tmp_path / "videos" / name / "1.mp4", moving(count, seed=number, height=32, width=32))
    dataset = VideoDataset(tmp_path / "videos", 32, 32, 2, cache_dir=tmp_path / "cache", quiet=True)
    assert dataset.labels().tolist() == [0] * 5 + [1] * 8 + [2] * 6 and dataset.largest_class() == 1
    of_b = dataset.gather(torch.arange(5, 13))["video"].cpu()
    assert torch.equal(real_clips(dataset, 100, 0, label=1), of_b)
    task = Toy()
    task.wants_video = True
    asked = fixed_request(task, dataset, 4, 0, label=1)
    assert asked.labels.tolist() == [1] * 4 and asked.video.shape[0] == 4
    assert fixed_request(task, dataset, 4, 0).labels.tolist() == [0, 1, 2, 0]


def test_a_latent_is_a_function_of_its_number():
    whole = latents(10, 4, seed=5)
    assert whole.shape == (10, 4) and whole.dtype == torch.float32
    assert torch.equal(latents(3, 4, seed=5, start=6), whole[6:9])
    assert not torch.equal(latents(10, 4, seed=6), whole) and not torch.equal(latents(10, 4, seed=5, name="other"), whole)
    many = latents(4000, 4, seed=0)
    assert abs(many.mean()) < 0.05 and many.std().item() == pytest.approx(1, abs=0.03)


def test_generating_in_parts_changes_nothing_not_even_the_networks():
    task = Toy()
    before = {name: value.clone() for name, value in task.nets["generator"].state_dict().items()}
    request = Request(latents(7, 4, 0))
    whole = generate(task, task.nets, request)
    torch.testing.assert_close(generate(task, task.nets, request, batch_size=3), whole)
    assert task.sizes == [7, 3, 3, 1] and whole.shape == (7, 3, 1, 8, 16) and not whole.requires_grad
    assert all(torch.equal(before[name], value) for name, value in task.nets["generator"].state_dict().items())
    assert task.nets["generator"].training


def test_labels_go_with_their_latents():
    labels = torch.arange(7)
    found = generate(Toy(), Toy().nets, Request(latents(7, 4, 0), labels), batch_size=3)
    torch.testing.assert_close(found[:, 0, 0, 0, 0], labels / 10)


def _frames(path) -> int:
    video = cv2.VideoCapture(str(path))
    count = 0
    while video.read()[0]:
        count += 1
    return count


@pytest.mark.parametrize("frames", [1, 5])
def test_samples_are_a_picture_and_a_film(tmp_path, frames):
    task = Toy(frames)
    picture = write_samples(tmp_path, 500, task, task.nets, Request(latents(4, 4, 1)), seed=1, fps=12.5)
    assert cv2.VideoCapture(str(tmp_path / "step_000500.mp4")).get(cv2.CAP_PROP_FPS) == 12.5
    stored = cv2.cvtColor(cv2.imread(str(tmp_path / "step_000500.png")), cv2.COLOR_BGR2RGB)
    assert np.array_equal(stored, picture)
    assert _frames(tmp_path / "step_000500.mp4") == (32 if frames == 1 else 5)
    again = write_samples(tmp_path, 501, task, task.nets, Request(latents(4, 4, 1)), seed=1, fps=12.5)
    assert np.array_equal(picture, again)  # the latents stay the same all the way
    assert (tmp_path / "step_000500.mp4").read_bytes() == (tmp_path / "step_000501.mp4").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {f"step_00050{i}.{kind}" for i in (0, 1) for kind in ("png", "mp4")}


def write_rows(folder, rows):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_curves_are_drawn_from_the_first_row_on(tmp_path):
    plot_losses(tmp_path / "losses.png")
    assert not (tmp_path / "losses.png").exists()
    write_rows(tmp_path, [{"step": 1, "d/loss": 1.0, "g/loss": 2.0, "d/real": 0.1, "d/fake": -0.1, "d/grad_norm": 3.0}])
    plot_losses(tmp_path / "losses.png")
    narrow = cv2.imread(str(tmp_path / "losses.png"))
    assert narrow is not None
    write_rows(tmp_path, [{"step": step, "d/loss": 1 / step, "d/real": 1.0, "d/grad_norm": 1.0, "diversity": 0.5} for step in range(1, 90)])
    plot_losses(tmp_path / "losses.png")
    assert cv2.imread(str(tmp_path / "losses.png")).shape[1] > narrow.shape[1]  # one panel more


@pytest.mark.parametrize("rows", [
    [{"step": 1, "d/loss": "nan", "g/loss": "inf"}],
    [{"step": 1, "d/loss": 1.0, "d/grad_norm": "nan"}, {"step": 2, "d/loss": "nan", "d/grad_norm": "nan"}],
], ids=["from the start", "later"])
def test_curves_of_a_run_that_broke(tmp_path, rows):
    """The report of the alarm needs them."""
    write_rows(tmp_path, rows)
    plot_losses(tmp_path / "losses.png")
    assert (tmp_path / "losses.png").exists() == any(row["d/loss"] == 1.0 for row in rows)


def test_samples_of_steps_to_come_leave(tmp_path):
    folder = RunFolder(TrainConfig(out=str(tmp_path / "run")))
    folder.samples.mkdir(parents=True)
    for step in (900, 1000, 1000001):
        (folder.samples / f"step_{step:06d}.png").touch()
    (folder.samples / "step_best.png").touch()  # somebody's own
    folder.drop_samples(1000)
    assert sorted(path.name for path in folder.samples.iterdir()) == ["step_000900.png", "step_001000.png", "step_best.png"]


def test_real_clips_and_their_classes_go_together(tmp_path):
    for number, name in enumerate(("dark", "dark", "dark", "bright")):
        write_film(tmp_path / "v" / name / f"{number}.mp4", [np.full((16, 16, 3), 40 if name == "dark" else 220, np.uint8)] * (9 + number))
    dataset = VideoDataset(tmp_path / "v", 16, 16, 2, cache_dir=tmp_path / "c", quiet=True)
    clips, labels = real_clips(dataset, 20, 3), real_labels(dataset, 20, 3)
    bright = dataset.classes.index("bright")
    assert torch.equal(clips.float().mean((1, 2, 3, 4)) > 128, labels == bright) and 0 < (labels == bright).sum() < 10


def test_samples_are_of_the_classes_of_the_clips_they_are_compared_with(monkeypatch):
    loop, asked = Loop.__new__(Loop), []
    loop.config, loop.real_labels = SimpleNamespace(seed=0), torch.tensor([0, 0, 1])
    loop.task, loop.setup = SimpleNamespace(latent_dim=2, wants_video=False), SimpleNamespace(
        dataset=SimpleNamespace(shown=[0, 1]), dtype=torch.float32, device=torch.device("cpu"))
    monkeypatch.setattr("training.samples.generate", lambda task, nets, request, **_: asked.append(request.labels.tolist()))
    loop._samples({}, None), loop._samples({}, 1)
    assert asked[0] == ([0, 0, 1] * 11)[:32] and asked[1] == [1] * 32


def test_a_film_goes_once_around_through_each_latent_or_shows_the_clips_in_time(monkeypatch):
    asked, fixed = [], Request(latents(12, 4, 1))
    monkeypatch.setattr(samples, "generate", lambda task, nets, request: asked.append(request.latents) or torch.zeros(9, 3, 1, 8, 16))
    assert len(list(samples._film(np.zeros((12, 1, 8, 16, 3), np.uint8), fixed, Toy(), {}, seed=5))) == 32
    first, across = fixed.latents[:9], latents(9, 4, 5, name="across")
    for place, expected in ((0, first), (4, (first + across) / 2**0.5), (8, across), (16, -first), (24, -across)):
        torch.testing.assert_close(asked[place], expected, rtol=0, atol=1e-5)
    clips = np.arange(5, dtype=np.uint8).reshape(1, 5, 1, 1, 1).repeat(3, 4)
    assert [int(frame[0, 0, 0]) for frame in samples._film(clips, fixed, Toy(5), {}, seed=5)] == [0, 1, 2, 3, 4]


def test_curves_are_smoothed_over_a_thirtieth_about_each_point():
    impulse = np.zeros(240)
    impulse[100] = 9
    np.testing.assert_allclose(samples._smooth(impulse)[94:107], [0] * 2 + [1] * 9 + [0] * 2, atol=1e-12)
    assert samples._smooth(np.arange(240.0))[[0, 100, 239]].tolist() == pytest.approx([2, 100, 237])
