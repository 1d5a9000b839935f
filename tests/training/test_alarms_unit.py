"""When an alarm is raised, on rows written by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.alarms import Watch, distance, ending, non_finite, thumbnails, variety, worsening


def row(step, **values) -> dict:
    return {"step": step, **{name.replace("_", "/", 1): value for name, value in values.items()}}


def won(step) -> dict:
    return row(step, d_loss=0.3, d_adversarial=0.001, d_accuracy=1.0, d_spread=5.0)  # what penalties add says nothing


def fine(step) -> dict:
    return row(step, d_loss=1.2, d_adversarial=1.2, d_accuracy=0.6, d_spread=0.5)


def flat(step) -> dict:
    return row(step, d_loss=1.386, d_adversarial=1.386, d_accuracy=0.5, d_spread=1e-5)


def raised(watch: Watch, rows: list[dict]) -> list[tuple[str, int, int]]:
    return [(alarm.kind, alarm.step, alarm.since) for each in rows for alarm in watch.check(each)]


@pytest.mark.parametrize("make, kind", [(won, "discriminator won"), (flat, "discriminator flat")])
def test_raised_once_after_patience_rows_with_the_step_it_began(make, kind):
    rows = [fine(10), *(make(step) for step in range(20, 120, 10))]
    assert raised(Watch(patience=4, after=0), rows) == [(kind, 50, 20)]


def test_one_good_row_starts_the_count_anew_and_a_new_streak_alarms_again():
    rows = [won(1), won(2), fine(3), won(4), won(5), won(6), fine(7), won(8), won(9), won(10)]
    assert raised(Watch(patience=3, after=0), rows) == [("discriminator won", 6, 4), ("discriminator won", 10, 8)]


@pytest.mark.parametrize("values", [dict(d_adversarial=0.001, d_accuracy=0.9), dict(d_adversarial=0.3, d_accuracy=1.0)])
def test_winning_takes_both_a_sure_and_a_right_discriminator(values):
    assert raised(Watch(patience=1, after=0), [row(step, **values) for step in range(5)]) == []


def test_streaks_of_different_kinds_do_not_mix():
    assert raised(Watch(patience=2, after=0), [won(1), flat(2), won(3), flat(4)]) == []


def test_samples_alike_needs_three_measurements_after_the_start():
    rows = [row(step, diversity=0.05) for step in range(0, 1000, 100)]
    assert raised(Watch(patience=20, after=300), rows) == [("samples alike", 500, 300)]
    assert raised(Watch(patience=20, after=300), [row(step, diversity=0.5) for step in range(0, 1000, 100)]) == []


def test_samples_that_have_differed_need_no_start():
    """Untrained generators make much the same of every latent; one that no longer does so and then does it again has collapsed."""
    values = [0.05, 0.05, 0.3, 0.05, 0.05, 0.05, 0.05]
    assert raised(Watch(patience=20, after=300),
                  [row(20 * at, diversity=value) for at, value in enumerate(values)]) == [("samples alike", 100, 60)]
    resumed = Watch(20, 300)
    assert raised(resumed, [row(0, diversity=0.3)]) == []
    resumed = Watch(20, 300, **resumed.as_dict())
    assert raised(resumed, [row(step, diversity=0.05) for step in (20, 40, 60)]) == [("samples alike", 60, 20)]


def drift(values: list[float], watch: Watch | None = None, start: int = 0) -> list[tuple[str, int, int]]:
    return raised(watch or Watch(patience=20, after=300), [row(start + 30 * at, distance=value) for at, value in enumerate(values)])


def test_samples_that_have_been_nearer_drift():
    assert drift([0.45, 0.3, 0.2, 0.2, 0.6, 0.7, 0.8, 0.9]) == [("samples drift", 180, 120)]
    assert drift([0.45, 0.3, 0.2, 0.2, 0.6, 0.7, 0.2, 0.6, 0.7, 0.8]) == [("samples drift", 270, 210)]


def test_samples_that_were_never_near_do_not_drift():
    assert drift([3.0, 0.9, 0.8, 0.9, 0.9, 1.0, 1.0, 1.0]) == []


def test_one_lucky_look_is_not_what_samples_are_held_to():
    assert drift([0.6, 0.6, 0.01, 0.6, 0.6, 0.6, 0.6]) == []


def test_samples_nearer_than_a_still_do_not_drift():
    """Close to the real clips, a multiple of the smallest distance says nothing."""
    assert drift([0.01, 0.0, -0.01, 0.1, 0.3, 0.4, 0.49, 0.49, 0.49]) == []


def test_drift_is_known_after_a_resume_and_after_a_stop():
    values = [0.2, 0.2, 0.2, 0.6, 0.6, 0.6, 0.6, 0.6]
    first = Watch(20, 300)
    assert drift(values[:4], first) == []
    assert drift(values[4:], Watch(20, 300, **first.as_dict()), 120) == [("samples drift", 150, 90)]
    assert drift(values[4:], first.anew(), 120) == [("samples drift", 180, 90)]  # since when it is known, too


def test_rows_that_cannot_show_it_neither_count_nor_clear():
    rows = [row(300, diversity=0.05), fine(310), row(400, diversity=0.05), fine(410), row(500, diversity=0.05)]
    assert raised(Watch(patience=20, after=0), rows) == [("samples alike", 500, 300)]


def test_state_carried_over_continues_the_streak():
    first = Watch(patience=4, after=0)
    assert raised(first, [won(1), won(2)]) == []
    second = Watch(patience=4, after=0, **first.as_dict())
    assert raised(second, [won(3), won(4)]) == [("discriminator won", 4, 1)]


def test_non_finite_values_are_named():
    (alarm,) = non_finite(row(7, d_loss=math.nan, g_loss=1.0, d_r1=math.inf, d_real=-math.inf))
    assert (alarm.kind, alarm.step, alarm.since) == ("non-finite", 7, 7)
    assert all(name in alarm.message for name in ("d/loss", "d/r1", "d/real", "step 7")) and "g/loss" not in alarm.message
    assert non_finite(row(7, d_loss=1e30)) == []
    assert [alarm.kind for alarm in Watch(20, 300).check({**fine(8), "g/loss": math.nan})] == ["non-finite"]


def test_variety_of_constant_clips_is_their_mean_distance():
    clips = torch.stack([torch.full((3, 2, 20, 20), value) for value in (0.0, 0.5, 1.0)])
    assert variety(clips) == pytest.approx((0.5 + 0.5 + 1.0) / 3, rel=1e-5)
    assert variety(clips[:1].expand(5, -1, -1, -1, -1)) == pytest.approx(0, abs=1e-6)
    assert variety(clips[:1]) == 0


def test_variety_ignores_fine_noise_and_scales_with_contrast():
    torch.manual_seed(0)
    noise = torch.randn(8, 3, 1, 256, 256)
    coarse = torch.randn(8, 3, 1, 16, 16).repeat_interleave(16, -1).repeat_interleave(16, -2)
    assert variety(noise) < 0.1 * variety(coarse)
    assert variety(coarse * 0.5) == pytest.approx(variety(coarse) / 2, rel=1e-4)


def test_distance_of_two_points_by_hand():
    """Clips of constant brightness: E|x-y| 2, E|y-y'| 1 and nothing between equal samples, in units that cancel."""
    constant = lambda *values: torch.stack([torch.full((3, 2, 20, 20), float(value)) for value in values])
    assert distance(constant(2.5, 2.5), constant(0, 1)) == pytest.approx((2 * 2 - 0) / 1 - 1, rel=1e-5)
    assert distance(constant(0, 2), constant(0, 1)) == pytest.approx((2 * (0 + 1 + 2 + 1) / 4 - 2) / 1 - 1, abs=1e-5)


def test_distance_takes_thumbnails_for_the_clips():
    torch.manual_seed(0)
    real, other = torch.randn(6, 3, 9, 40, 33), torch.randn(5, 3, 9, 40, 33)
    assert thumbnails(real).shape == (6, 3, 4, 16, 16) and distance(other, thumbnails(real)) == distance(other, real)


def test_distance_is_about_zero_between_alike_and_root_two_less_one_from_a_still():
    torch.manual_seed(0)
    real, other = torch.randn(200, 3, 1, 16, 16), torch.randn(150, 3, 1, 16, 16)
    assert distance(other, real) == pytest.approx(0, abs=2e-3)
    assert distance(torch.zeros(9, 3, 1, 16, 16), real) == pytest.approx(2**0.5 - 1, abs=5e-3)
    assert distance(other + 0.5, real) > 0.1 and distance(other * 2, real) > 0.1


def test_distance_is_that_of_scipy_summed_by_one_dimension():
    """In one dimension the energy distance has a peer (its square root, of all pairs)."""
    stats = pytest.importorskip("scipy.stats")
    torch.manual_seed(0)
    a, b = torch.rand(12), torch.rand(9) * 2
    video = lambda values: values.view(-1, 1, 1, 1, 1)
    within = lambda values: (values[:, None] - values).abs().sum() / (len(values) * (len(values) - 1))
    biased = stats.energy_distance(a, b)**2 - within(a).item() / len(a) - within(b).item() / len(b)
    assert distance(video(a), video(b)) == pytest.approx(biased / within(b).item(), rel=1e-4)


def worsened(values, better="lower") -> list[tuple[int, int]]:
    return [(alarm.step, alarm.since) for alarm in worsening(list(range(10, 10 * len(values) + 10, 10)), values, "swd", better)]


def test_evaluations_worsen_when_two_of_three_are_a_tenth_above_the_best_middle():
    assert worsened([300, 200, 100, 100, 100, 111, 111]) == [(70, 50)]
    assert worsened([300, 200, 100, 100, 100, 109, 109, 109]) == []
    assert worsened([0.3, 0.3, 0.3, 0.28, 0.2, 0.2], "higher") == [(60, 40)]
    assert worsened([0.1, 0.2, 0.3, 0.4], "higher") == worsened([4, 3, 2, 1]) == worsened([1, 2]) == worsened([]) == []


def test_one_lucky_or_unlucky_evaluation_is_no_drift():
    assert worsened([345, 344, 263, 342, 349, 345]) == []
    assert worsened([100, 100, 100, 900, 100, 100, math.inf, 100]) == []


def test_worsening_is_told_once_until_it_is_over():
    assert worsened([100, 100, 100, 150, 150, 150, 150, 100, 100, 100, 150, 150]) == [(50, 30), (120, 100)]
    assert worsened([100, 100, 100, math.inf, math.inf]) == [(50, 30)]


def test_a_tenth_of_nothing_says_nothing():
    """Unbiased estimates, as KID's, may be below zero."""
    assert worsened([-0.001, -0.002, -0.001, 0.001, 0.001, 0.002]) == []


@pytest.mark.parametrize("values, better, found", [
    ([300, 263, 342, 349, 346], "lower", [(50, 20)]),  # single checkpoints count, unlike above
    ([300, 263, 342, 289], "lower", []),
    ([0.1, 0.3, 0.28, 0.2], "higher", [(40, 20)]),
    ([0.1, 0.3, 0.28], "higher", []),
    ([100, math.inf], "lower", [(20, 10)]),
    ([-0.001, 0.5], "lower", []),  # of what is at most zero a tenth means nothing
    ([3], "lower", []), ([], "lower", [])])
def test_a_run_ends_worse_when_its_last_evaluation_is_a_tenth_from_its_best(values, better, found):
    alarms = ending(list(range(10, 10 * len(values) + 10, 10)), values, "swd", better)
    assert [(alarm.step, alarm.since) for alarm in alarms] == found


@given(st.lists(st.floats(0.1, 10), max_size=12), st.floats(0.5, 4))
def test_worsening_knows_no_units(values, scale):
    unit = worsened(values)
    assert worsened([value * 2**round(scale) for value in values]) == unit


def test_less_patience_than_three_looks_is_kept():
    assert raised(Watch(patience=2, after=0), [row(step, diversity=0.05) for step in (0, 100)]) == [("samples alike", 100, 0)]
    assert drift([0.2, 0.2, 0.2, 0.6, 0.7], Watch(patience=2, after=0)) == [("samples drift", 120, 90)]
