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


def test_the_chance_that_a_clip_shows_its_class():
    """This discriminator tells class 0 from 1 by the mean of the first frame, times 3."""
    batch, task = a_batch(), answer_task(loss="bce", class_ce=0.5)
    logits = 3 * task.nets["generator"](batch.video[:, :, 0], batch.label)[:, :, 0].mean((1, 2, 3)) * torch.tensor([1, -1, 1, -1])
    with torch.no_grad():
        found = task.certainty(task.nets, Request(torch.zeros(4, 0), batch.label, batch.video))
    torch.testing.assert_close(found, torch.nn.functional.logsigmoid(logits))


@pytest.mark.parametrize("then", [0.0, 2.0])
def test_the_generator_may_be_asked_for_the_class_for_a_time_and_then_by_another_weight(then):
    task, batch = answer_task(loss="bce", class_ce=0.5, class_ce_steps=3, class_ce_then=then), a_batch()
    first, after = (answer_task(loss="bce", class_ce=weight, class_ce_d=0.5) for weight in (0.5, then))
    for step, as_in in ((1, first), (3, first), (4, after)):
        batch.step = step
        for phase in ("d", "g"):
            assert task.losses(phase, batch) == as_in.losses(phase, batch)
    assert first.losses("g", batch)["loss"] != after.losses("g", batch)["loss"]
