"""Films of the candidates that the critic is surest of."""

import pytest
import torch

from generate import GenerateConfig, film_frames, generate
from tests.test_generate import _one_thread, frames_of, run  # noqa: F401  fixtures among them
from tests.test_generate_classes import Classed
from training.restore import load_sampler
from utils.errors import UserError
from utils.seeds import derive

TINY = ["--family", "hrvgan", "--height", 16, "--width", 16, "--frames", 4, "--model.g_width", 4, "--model.d_width", 4,
        "--model.max_width", 8, "--model.latent_dim", 8, "--model.class_dim", 4, "--batch_size", 4, "--precision", "fp32",
        "--warmup", 0, "--lr", "0.05"]


class LastOne(Classed):
    """A critic that is always surest of the last candidate, and tells what it was shown."""

    names_classes = True

    def __init__(self):
        super().__init__()
        self.told = []

    def surest(self, latents, labels):
        self.told.append((latents, labels.tolist()))
        return torch.full((len(latents),), latents.shape[1] - 1)


@pytest.fixture(scope="module", params=[0, 1], ids=["full size", "growing"])
def classed(request, runner, tmp_path_factory):
    out = tmp_path_factory.mktemp("classed") / "run"
    growing = ["--grow_from", 1, "--grow_steps", 6] if request.param else []
    runner.train(*TINY, *growing, "--steps", 4, "--out", out)
    return load_sampler(out, device="cpu", precision="fp32")


def test_the_critic_is_surest_of_the_clip_with_the_least_cross_entropy(classed):
    latents, labels = classed.latents(20, seed=3).view(4, 5, -1), torch.tensor([2, 0, 1, 2])
    chosen = classed.surest(latents, labels)
    networks = classed.nets["generator"].eval(), classed.nets["discriminator"].eval()
    for row, label in enumerate(labels.tolist()):
        asked = torch.full((5,), label)
        with torch.no_grad():
            sure = networks[1].judge(networks[0](latents[row], asked), asked)[1].softmax(1)[:, label]
        assert sure.max() > sure.min() and chosen[row] == sure.argmax()
    assert len(set(chosen.tolist())) > 1


def test_every_point_of_the_path_is_the_surest_of_its_candidates_at_the_truncation_asked_for():
    clips = LastOne()
    list(film_frames(clips, GenerateConfig(num_frames=4, grid="1x2", best_of=3, truncation=0.5, seed=7).check(), 24, film=1))
    first = {label[0]: drawn[0] for drawn, label in reversed(clips.told)}
    assert sorted(first) == [0, 2]  # cells 2 and 3 of all films
    for cell, label in enumerate((2, 0)):
        assert first[label].shape == (3, 8)
        torch.testing.assert_close(first[label][0], 0.5 * clips.latents(1, derive(7, "film", 1, cell))[0])
        torch.testing.assert_close(clips.asked[cell], first[label][2])
    assert not torch.equal(clips.told[0][0][0, 1:], clips.told[1][0][0, 1:])  # each point has candidates of its own


def test_a_film_of_the_best_of_several_is_another_and_the_best_of_one_is_the_plain_one(classed):
    plain, one, five = (frames_of(classed, num_frames=6, **settings) for settings in ({}, {"best_of": 1}, {"best_of": 5}))
    assert (plain == one).all() and (plain != five).any()


def test_a_critic_that_names_no_classes_cannot_choose(run, tmp_path):
    with pytest.raises(UserError, match="--best_of 2: this checkpoint has no critic that names classes"):
        generate(GenerateConfig(str(run), str(tmp_path / "film.mp4"), best_of=2, device="cpu").check())
    with pytest.raises(UserError, match="--best_of 0: must be"):
        GenerateConfig(best_of=0).check()
    assert not list(tmp_path.iterdir())
