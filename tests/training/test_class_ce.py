"""What the class of a clip is told from, and who is asked for it."""

import pytest
import torch

from tests.training.test_gan import Answer, Mean, a_batch, answer_task
from training.task import Request


def test_the_class_is_learnt_from_real_clips_and_asked_of_generated_ones():
    batch = a_batch()
    for phase, seen in (("d", batch.video), ("g", Answer()(batch.video[:, :, 0], batch.label))):
        plain, told = (answer_task(loss="bce", class_ce=weight).losses(phase, batch) for weight in (0.0, 0.5))
        expected = torch.nn.functional.cross_entropy(Mean().judge(seen, batch.label)[1], batch.label)
        assert told["class_ce"].item() == pytest.approx(expected.item(), rel=1e-5) and "class_ce" not in plain
        assert told["loss"].item() == pytest.approx((plain["loss"] + 0.5 * expected).item(), rel=1e-5)
        for weights, own in ((dict(class_ce=0.5, class_ce_d=2.0), {"d": 2.0, "g": 0.5}), (dict(class_ce_d=2.0), {"d": 2.0, "g": 0.0}),
                             (dict(class_ce=0.5, class_ce_d=0.0), {"d": 0.0, "g": 0.5})):
            found = answer_task(loss="bce", **weights).losses(phase, batch)
            assert found["loss"].item() == pytest.approx((plain["loss"] + own[phase] * expected).item(), rel=1e-5)
            assert ("class_ce" in found) == bool(own[phase])


@pytest.mark.parametrize("phase", ["d", "g"])
def test_the_class_is_told_from_clips_as_they_are_and_verdicts_are_of_augmented_ones(phase):
    batch = a_batch()
    plain, both, augmented = (answer_task(loss="bce", class_ce=weight, augment=policy).losses(phase, batch)
                              for weight, policy in ((0.5, ""), (0.5, "color,translation"), (0.0, "color,translation")))
    assert both["class_ce"] == plain["class_ce"]
    assert (both["loss"] - 0.5 * both["class_ce"]).item() == pytest.approx(augmented["loss"].item(), rel=1e-5)
    assert augmented["loss"].item() != pytest.approx((plain["loss"] - 0.5 * plain["class_ce"]).item(), rel=1e-3)


@pytest.mark.parametrize("phase", ["d", "g"])
def test_noise_on_clips_reaches_what_tells_their_class_alone(phase):
    class Keeps(Mean):
        """Numbers the clips that it was asked the class of."""
        def judge(self, video, label):
            self.asked = video.detach()
            return super().judge(video, label)
    batch, seen = a_batch(), {}  # of the first step
    for noise, begins in ((0.0, 0), (0.25, 0), (0.5, 1)):
        task = answer_task(loss="bce", class_ce=0.5, class_noise=noise, class_noise_from=begins)
        task.nets["discriminator"].__class__ = Keeps
        shown = task.losses(phase, batch)
        seen[noise] = task.nets["discriminator"].asked[:4], (shown["loss"] - 0.5 * shown["class_ce"]).item()
    assert torch.equal(seen[0.5][0], seen[0.0][0]), "not yet"
    added = seen[0.25][0] - seen[0.0][0]
    assert added.std().item() == pytest.approx(0.25, abs=0.01) and added.mean().item() == pytest.approx(0, abs=0.01)
    assert seen[0.25][1] == pytest.approx(seen[0.0][1], rel=1e-5), "verdicts are as without"


def test_the_chance_that_a_clip_shows_its_class_is_the_mean_over_noise():
    """This discriminator tells class 0 from 1 by the mean of the first frame, times 3."""
    batch, spread = a_batch(), 0.25 * 3 / (3 * 16 * 16)**0.5
    request = Request(torch.zeros(4, 0), batch.label, batch.video)
    def certainty(step, **noise):
        task = answer_task(loss="bce", class_ce=0.5, **noise)
        task.step = step
        return task.certainty
    exact, early, noisy = certainty(9), *(certainty(step, class_noise=0.25, class_noise_from=2) for step in (2, 3))
    nets = answer_task(loss="bce").nets
    logits = 3 * nets["generator"](batch.video[:, :, 0], batch.label)[:, :, 0].mean((1, 2, 3)) * torch.tensor([1, -1, 1, -1])
    with torch.no_grad():
        torch.testing.assert_close(exact(nets, request), torch.nn.functional.logsigmoid(logits))
        found = noisy(nets, request)
        assert torch.equal(found, noisy(nets, request)), "drawn, but the same every time"
        assert spread / 100 < (found - exact(nets, request)).abs().max() < 2 * spread
        torch.testing.assert_close(found[2:], noisy(nets, request[2:]), msg="and for every clip")
        assert torch.equal(early(nets, request), exact(nets, request))


def test_the_generator_may_be_asked_for_the_class_for_a_time():
    task, batch = answer_task(loss="bce", class_ce=0.5, class_ce_steps=3), a_batch()
    always, never = (answer_task(loss="bce", class_ce=weight, class_ce_d=0.5) for weight in (0.5, 0.0))
    for step, as_in in ((1, always), (3, always), (4, never)):
        batch.step = step
        for phase in ("d", "g"):
            assert task.losses(phase, batch) == as_in.losses(phase, batch)
    assert always.losses("g", batch)["loss"] != never.losses("g", batch)["loss"]
