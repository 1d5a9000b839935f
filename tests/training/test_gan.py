"""The adversarial task: what its two halves may know of each other."""

from dataclasses import replace

import pytest
import torch

from configs.schema import TrainConfig
from models.dcgan import DCGANConfig
from tests.training.runner import newest
from training import checkpoint
from training.gan import GANTask, wrong
from training.losses import bce_d
from training.setup import build_task
from training.task import Batch, DataInfo, Noise, Request
from utils.errors import UserError


@pytest.mark.parametrize("number", [4, 6, 8])
@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_verdicts_on_real_clips_do_not_depend_on_the_generated_ones(number, norm):
    """Neither batch statistics nor groups of the minibatch standard deviation reach across."""
    config = TrainConfig(height=16, width=16, model=DCGANConfig(latent_dim=4, g_width=4, d_width=4, d_norm=norm))
    task = build_task(config, DataInfo())
    generator = torch.Generator().manual_seed(0)
    real, fake, other = (torch.rand(number, 3, 1, 16, 16, generator=generator) * 2 - 1 for _ in range(3))
    label = torch.zeros(number, dtype=torch.int64)
    with torch.no_grad():
        first, second = task._judge(real, fake, real, label)[0], task._judge(real, other / 9, real, label)[0]
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


class Answer(torch.nn.Module):
    """A generator that takes an image (and a label) and answers with a film of it."""
    takes_image = takes_labels = True

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def streams(self, image, label):
        film = (image * self.scale + label.view(-1, 1, 1, 1) / 10).unsqueeze(2) + torch.arange(2).view(2, 1, 1) / 5
        return {"film": film, "mask": torch.full_like(film[:, :1], 0.25)}

    def forward(self, image, label):
        return self.streams(image, label)["film"]


class Mean(torch.nn.Module):
    takes_labels = True

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, video, label):
        return video.mean((1, 2, 3, 4)) * self.scale + label

    def judge(self, video, label):
        first = video[:, :, 0].mean((1, 2, 3))
        return self(video, label), torch.stack([3 * first, 0 * first], 1)


def answer_task(**settings):
    config = TrainConfig(height=16, width=16, frames=2, model=DCGANConfig(), share_fakes=False, **settings)
    return GANTask(config, DataInfo(classes=["a", "b"]), torch.device("cpu"),
                   lambda model, shape: {"generator": Answer(), "discriminator": Mean()})


@pytest.mark.parametrize("step, share", [(1, 0.05), (5, 0.25), (10, 0.5), (99, 0.5)])
def test_the_share_of_clips_that_is_augmented_rises(step, share):
    task = answer_task(augment="color", augment_p=0.5, augment_warmup=10)
    number = 4000
    video = torch.rand(number, 3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    noise = Noise((0, step, "d", 0), slice(0, number), number, torch.device("cpu"))
    batch = Batch(video, torch.zeros(number, dtype=torch.int64), noise, step)
    changed = (task._augment(video, batch, "real") - video).abs().amax((1, 2, 3, 4)) > 1e-5
    assert changed.float().mean().item() == pytest.approx(share, abs=0.03)


def a_batch():
    video = torch.rand(4, 3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    return Batch(video, torch.tensor([0, 1, 0, 1]), Noise((0, 1, "g", 0), slice(0, 4), 4, torch.device("cpu")), 1)


def test_terms_of_a_generator_that_answers_to_images():
    batch = a_batch()
    made = Answer()(batch.video[:, :, 0], batch.label)
    plain = answer_task(loss="wgan").losses("g", batch)["loss"]
    assert plain.item() == pytest.approx(-(made.mean((1, 2, 3, 4)) + batch.label).mean().item(), rel=1e-5)
    terms = answer_task(loss="wgan", mask_l1=2.0, first_frame_l1=3.0, pixel_mse=4.0).losses("g", batch)
    assert terms["mask"].item() == 0.25
    assert terms["first_frame_l1"].item() == pytest.approx((made[:, :, 0] - batch.video[:, :, 0]).abs().mean().item(), rel=1e-5)
    assert terms["pixel_mse"].item() == pytest.approx((made - batch.video).square().mean().item(), rel=1e-5)
    expected = plain + 2 * terms["mask"] + 3 * terms["first_frame_l1"] + 4 * terms["pixel_mse"]
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_mask_of_siblings_is_not_of_the_batch():
    """They are but half of it, more or less of a part of odd size."""
    class Streams(Answer):
        takes_image = False

        def forward(self, latents, label):
            return latents.view(-1, 1, 1, 1, 1).expand(-1, 3, 2, 16, 16)

        def streams(self, latents, label):
            return {"film": self(latents, label), "mask": torch.arange(len(latents)).view(-1, 1, 1, 1, 1).expand(-1, 1, 2, 16, 16)}
    config = TrainConfig(height=16, width=16, frames=2, model=DCGANConfig(latent_dim=1), share_fakes=False, loss="wgan", mask_l1=1.0,
                         diversity=1.0)
    task = GANTask(config, DataInfo(classes=["a", "b"], clip_distance=lambda _: [1.0]), torch.device("cpu"),
                   lambda model, shape: {"generator": Streams(), "discriminator": Mean()})
    assert task.losses("g", a_batch())["mask"].item() == 1.5


def test_any_frame_may_be_the_one_that_a_clip_is_made_from():
    number, frames = 600, 2
    video = torch.rand(number, 3, frames, 2, 2, generator=torch.Generator().manual_seed(0))
    batch = Batch(video, torch.zeros(number, dtype=torch.int64), Noise((0, 1, "g", 0), slice(0, number), number, torch.device("cpu")), 1)
    task = answer_task(random_frame=True, first_frame_l1=1.0)
    given = task._source(batch)
    places = (video - given[:, :, None]).abs().amax((1, 3, 4)).argmin(1)
    assert torch.equal(video[torch.arange(number), :, places], given)
    assert all(abs(share - 1 / frames) < 0.06 for share in (places.bincount(minlength=frames) / number).tolist())
    made = Answer()(given, batch.label)
    expected = (made[torch.arange(number), :, places] - given).abs().mean()
    assert task.losses("g", batch)["first_frame_l1"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(task._source(batch), given), "the discriminator's turn on the same batch sees the same frames"


def test_a_critic_with_gradient_penalty():
    losses = answer_task(loss="wgan_gp", gp=10.0).losses("d", a_batch())
    slope = (1 / (3 * 2 * 16 * 16)) ** 0.5  # of the mean over all pixels
    assert losses["gp"].item() == pytest.approx((slope - 1) ** 2, rel=1e-3)
    assert losses["loss"].item() == pytest.approx((losses["fake"] - losses["real"] + 10 * losses["gp"]).item(), rel=1e-4)
    assert "accuracy" not in losses  # a critic's zero means nothing


class Energy(torch.nn.Module):
    """A discriminator whose slope is the clip itself."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, video):
        return self.scale * video.square().flatten(1).sum(1) / 2


def test_penalties_are_taken_where_their_papers_say():
    """r1 at real clips, r2 at generated ones (Mescheder et al. 2018), gp at points between (Gulrajani et al. 2017)."""
    batch, squares = a_batch(), lambda clips: clips.square().flatten(1).sum(1)

    def found(**settings):
        config = TrainConfig(height=16, width=16, frames=2, model=DCGANConfig(), share_fakes=False, **settings)
        return GANTask(config, DataInfo(classes=["a", "b"]), torch.device("cpu"),
                       lambda model, shape: {"generator": Answer(), "discriminator": Energy()}).losses("d", batch)

    real, fake = batch.video, Answer()(batch.video[:, :, 0], batch.label).detach()
    told = found(loss="wgan", r1=3.0, r2=0.5)
    assert told["r1"].item() == pytest.approx(squares(real).mean().item(), rel=1e-4)
    assert told["r2"].item() == pytest.approx(squares(fake).mean().item(), rel=1e-4)
    assert told["loss"].item() == pytest.approx((told["adversarial"] + 1.5 * told["r1"] + 0.25 * told["r2"]).item(), rel=1e-4)
    between = real + batch.noise.uniform("between").view(-1, 1, 1, 1, 1) * (fake - real)
    assert found(loss="wgan_gp")["gp"].item() == pytest.approx((squares(between).sqrt() - 1).square().mean().item(), rel=1e-3)


def test_real_and_generated_clips_are_augmented_for_both_players(monkeypatch):
    seen = []
    monkeypatch.setattr("training.gan.augment", lambda video, policy, draws, share: seen.append(draws) or video + 1)
    batch = a_batch()
    plain, ours = (answer_task(loss="wgan", **more).losses("d", batch) for more in ({}, {"augment": "color"}))
    assert [(ours[side] - plain[side]).item() for side in ("real", "fake")] == pytest.approx([1, 1], abs=1e-5)
    assert not torch.equal(*seen), "draws of their own"
    for loss, shift in (("wgan", -1), ("rpgan", 0)):  # of pairs both sides are shifted
        plain, ours = (answer_task(loss=loss, **more).losses("g", batch)["loss"].item() for more in ({}, {"augment": "color"}))
        assert ours - plain == pytest.approx(shift, abs=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_the_discriminator_may_judge_the_clips_made_for_the_generator(shared):
    config = TrainConfig(height=16, width=16, frames=2, model=DCGANConfig(latent_dim=1), loss="wgan", share_fakes=shared)
    task = GANTask(config, DataInfo(classes=["a", "b"]), torch.device("cpu"),
                   lambda model, shape: {"generator": Shade(), "discriminator": Mean()})
    made, noise = task.losses("g", a_batch()), Noise((0, 1, "d", 0), slice(0, 4), 4, torch.device("cpu"))
    judged = task.losses("d", replace(a_batch(), noise=noise))
    assert (judged["fake"].item() == pytest.approx(-made["loss"].item(), rel=1e-5)) == shared and not task._shared


def test_what_the_discriminator_knows_is_told_by_the_loss_it_has():
    """A clipped critic's verdicts lie close whatever it knows; of pairs only the difference counts, and penalties are apart."""
    batch = a_batch()
    assert "spread" in answer_task(loss="wgan").losses("d", batch)
    assert "spread" not in answer_task(loss="wgan", clip_weights=0.01).losses("d", batch)
    task = answer_task(loss="rpgan", r1=5.0)
    verdict = task.nets["discriminator"].forward
    task.nets["discriminator"].forward = lambda video, *label: verdict(video, *label) + 30  # all above zero
    found = task.losses("d", replace(batch, video=batch.video + 1))
    assert found["accuracy"] in (0.0, 1.0) and found["accuracy"] == (found["real"] > found["fake"])
    assert found["loss"].item() == pytest.approx((found["adversarial"] + 2.5 * found["r1"]).item(), rel=1e-5)


def test_real_clips_with_wrong_labels_are_refused_too():
    """The verdict of this discriminator is the mean and the label: of the two labels the other one is the wrong one."""
    batch = a_batch()
    plain, mixed = (answer_task(loss="bce", wrong_labels=share).losses("d", batch) for share in (0.0, 0.25))
    real = batch.video.mean((1, 2, 3, 4)) + batch.label
    refused = bce_d(real, batch.video.mean((1, 2, 3, 4)) + 1 - batch.label)
    assert mixed["loss"].item() == pytest.approx((0.75 * plain["loss"] + 0.25 * refused).item(), rel=1e-5)
    labels = torch.arange(4).repeat(500)
    others = wrong(labels, 4, Noise((0,), slice(0, 2000), 2000, torch.device("cpu")))
    assert (others != labels).all()
    for label in range(4):
        counts = others[labels == label].bincount(minlength=4)
        assert counts[label] == 0 and (counts.sum() - 3 * counts[counts > 0].min()) < 150, "each of the others as likely"


class Shade(torch.nn.Module):
    """A generator of two frames: the latent is their mean value, the label is added, the first lighter by three times the latent."""
    takes_labels = True

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, latents, label):
        value = (latents[:, 0] * self.scale + label).view(-1, 1, 1, 1, 1)
        flicker = 3 * latents[:, 0].view(-1, 1, 1, 1, 1) * torch.tensor([1.0, -1.0]).view(1, 1, 2, 1, 1)
        return (value + flicker).expand(-1, 3, -1, 16, 16)


def shade_task(real_distance, **settings):
    config = TrainConfig(height=16, width=16, frames=2, model=DCGANConfig(latent_dim=1), share_fakes=False, loss="wgan", **settings)
    info = DataInfo(classes=["a", "b"], clip_distance=lambda halvings: [real_distance] * (halvings + 1))
    return GANTask(config, info, torch.device("cpu"), lambda model, shape: {"generator": Shade(), "discriminator": Mean()})


@pytest.mark.parametrize("real_distance", [0.5, 3.0, 0.0])
def test_siblings_of_one_class_are_pushed_apart_as_far_as_real_clips_are(real_distance):
    batch = a_batch()
    plain, pushed = (shade_task(real_distance, diversity=weight).losses("g", batch) for weight in (0.0, 0.7))
    latents, siblings = batch.noise.normal("latent", 1)[::2, 0], batch.noise.normal("sibling", 1)[::2, 0]
    lacking = (1 - (latents - siblings).abs() / max(real_distance, 1e-6)).clamp(min=0).mean()
    assert pushed["diversity"].item() == pytest.approx(lacking.item(), abs=1e-6) and "diversity" not in plain
    assert pushed["loss"].item() == pytest.approx((plain["loss"] + 0.7 * lacking).item(), rel=1e-5)


@pytest.mark.parametrize("clips, size", [(6, 3), (6, 2), (6, 1), (5, 1)])
def test_siblings_are_those_of_the_whole_batch_however_it_is_divided(clips, size):
    video, label, keys = torch.zeros(clips, 3, 2, 16, 16), torch.arange(clips) % 2, (0, 1, "g", 0)
    task = shade_task(3.0, diversity=1.0, batch_size=clips)
    part = lambda rows: task.losses("g", Batch(video[rows], label[rows], Noise(keys, rows, clips, torch.device("cpu")), 1))["diversity"]
    whole = part(slice(0, clips))
    parts = [part(slice(start, start + size)) for start in range(0, clips, size)]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-5) and whole > 0.1


def test_a_generator_that_answers_to_images_makes_no_siblings():
    with pytest.raises(UserError, match="--diversity 0.1"):
        answer_task(diversity=0.1)


def test_samples_of_a_generator_that_answers_to_images():
    batch = a_batch()
    task = answer_task()
    found = task.sample(task.nets, Request(torch.zeros(4, 0), batch.label, batch.video))
    assert torch.equal(found, Answer()(batch.video[:, :, 0], batch.label))


@pytest.mark.parametrize("term", ["mask_l1", "first_frame_l1", "random_frame", "wrong_labels", "class_ce", "class_ce_d", "class_ce_steps",
                                  "class_ce_then"])
def test_a_term_that_could_apply_to_nothing_is_refused(term):
    with pytest.raises(UserError, match=f"--{term} 1"):
        build_task(TrainConfig(height=16, width=16, model=DCGANConfig(), **{term: 1}), DataInfo())


def test_clipped_weights_stay_within_their_bounds(runner, tmp_path):
    runner.train("--out", tmp_path / "run", "--precision", "fp32", "--loss", "wgan", "--optimizer", "rmsprop", "--clip_weights", "0.01",
                 "--lr", "1e-2", "--steps", 3, "--model.d_norm", "none")
    tensors = checkpoint.read_tensors(newest(tmp_path / "run"), "nets")
    bounds = {part: max(float(value.abs().max()) for name, value in tensors.items() if name.startswith(part))
              for part in ("discriminator", "generator")}
    assert bounds["discriminator"] == pytest.approx(0.01) and bounds["generator"] > 0.1
