"""DiffAugment: one draw per clip, exact geometry, differentiable."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import augment, draw, parse_policy
from training.task import Noise
from utils.errors import UserError

ALL = ["color", "translation", "cutout"]
policies = st.lists(st.sampled_from(ALL), unique=True, min_size=1)


def noise(number: int, seed: int = 0) -> Noise:
    return Noise((seed, 1, "d", 0), slice(0, number), number, torch.device("cpu"))


def clips(number=3, frames=2, height=8, width=12, seed=0) -> torch.Tensor:
    return torch.rand(number, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@settings(max_examples=30, deadline=None)
@given(policies, st.integers(0, 10**6))
def test_all_frames_of_a_clip_share_one_draw(policy, seed):
    still = clips(frames=1).expand(-1, -1, 4, -1, -1)
    seen = augment(still, policy, draw(noise(3, seed), "x", policy))
    assert seen.shape == still.shape
    assert (seen == seen[:, :, :1]).all()


@settings(max_examples=30, deadline=None)
@given(policies, st.integers(0, 10**6))
def test_a_clip_is_treated_the_same_in_any_company(policy, seed):
    video, draws = clips(4), draw(noise(4, seed), "x", policy)
    together = augment(video, policy, draws, share=0.7)
    for index in range(4):
        torch.testing.assert_close(augment(video[index:index + 1], policy, draws[index:index + 1], share=0.7)[0], together[index])


def test_share_is_the_part_that_is_augmented():
    video = clips(400, frames=1, height=8, width=8)
    draws = draw(noise(400), "x", ALL)
    torch.testing.assert_close(augment(video, ALL, draws, share=0.0), video)
    changed = ((augment(video, ALL, draws, share=0.3) - video).abs().flatten(1).max(1).values > 1e-5)
    assert torch.equal(changed, draws[:, 0] < 0.3)
    assert 0.2 < changed.float().mean() < 0.4
    assert ((augment(video, ALL, draws) - video).abs().flatten(1).max(1).values > 1e-5).all()


def test_policies_are_read_and_unknown_names_refused():
    assert parse_policy("") == [] and parse_policy(" color , cutout") == ["color", "cutout"]
    with pytest.raises(UserError, match="--augment color,colour.*'colour'"):
        parse_policy("color,colour")
    video = clips()
    assert augment(video, [], draw(noise(3), "x", [])) is video


@pytest.mark.parametrize("policy", [["color"], ["translation"], ["cutout"], ALL], ids=",".join)
def test_gradients_beside_finite_differences(policy):
    draws = draw(noise(2, 5), "x", policy).double()
    video = clips(2, 2, 4, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, policy, draws), video)


def one(policy: str, *numbers: float) -> torch.Tensor:
    return torch.tensor([[0.0, *numbers]])


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.integers(4, 24), st.integers(4, 24))
@settings(deadline=None)
def test_translation_is_an_exact_shift_with_zeros_behind(u, v, height, width):
    video = clips(1, 2, height, width)
    reach_y, reach_x = int(height / 8 + 0.5), int(width / 8 + 0.5)  # the paper's 1/8, rounded
    down = reach_y - min(int(torch.tensor(u) * (2 * reach_y + 1)), 2 * reach_y)
    right = reach_x - min(int(torch.tensor(v) * (2 * reach_x + 1)), 2 * reach_x)
    expected = torch.zeros_like(video)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                expected[..., y, x] = video[..., y - down, x - right]
    assert torch.equal(augment(video, ["translation"], one("translation", u, v)), expected)


def test_translation_reaches_every_shift_equally_often():
    video = torch.zeros(4000, 1, 1, 16, 16)
    video[..., 8, 8] = 1
    moved = augment(video, ["translation"], draw(noise(4000), "x", ["translation"])).sum((0, 1, 2))
    assert moved.sum() == 4000 and (moved > 0).sum() == 25
    assert (moved[6:11, 6:11] / 160 - 1).abs().max() < 0.4


@given(st.floats(0, 1, exclude_max=True, width=32), st.floats(0, 1, exclude_max=True, width=32), st.integers(4, 33), st.integers(4, 33))
@settings(deadline=None)
def test_cutout_lies_where_it_was_drawn_and_covers_at_most_a_quarter(u, v, height, width):
    video = torch.ones(1, 3, 2, height, width)
    hole = augment(video, ["cutout"], one("cutout", u, v))[0, 0, 0] == 0
    rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
    assert hole.sum() == len(rows) * len(columns)  # a rectangle
    for found, side, centre in ((rows, height, u * height), (columns, width, v * width)):
        assert len(found) <= -(-side // 2)
        assert all(abs(index + 0.5 - centre) <= side / 4 + 1e-4 for index in found.tolist())
        inside = [index for index in range(side) if abs(index + 0.5 - centre) < side / 4 - 1e-4]
        assert set(inside) <= set(found.tolist())


def test_cutout_erases_as_much_everywhere():
    erased = augment(torch.ones(4000, 1, 1, 16, 16), ["cutout"], draw(noise(4000), "x", ["cutout"])) == 0
    often = erased.float().mean((0, 1, 2))
    torch.testing.assert_close(often, often.flip(0, 1), atol=0.04, rtol=0)  # no side is favoured
    assert often[8, 8] == pytest.approx(0.25, abs=0.03)


def test_color_changes_brightness_saturation_and_contrast_as_drawn():
    video = clips(1, 3, 6, 6)
    mean, gray = video.mean(), video.mean(1, keepdim=True)
    brighter = augment(video, ["color"], one("color", 0.9, 0.5, 0.5))
    torch.testing.assert_close(brighter, video + 0.4)
    grayed = augment(video, ["color"], one("color", 0.5, 0.0, 0.5))
    torch.testing.assert_close(grayed, gray.expand_as(video))
    flat = augment(video, ["color"], one("color", 0.5, 0.5, 0.0))
    torch.testing.assert_close(flat, mean + (video - mean) * 0.5)


def test_color_statistics_are_the_papers():
    number = 4000
    video = clips(1, 1, 6, 6).expand(number, -1, -1, -1, -1)
    seen = augment(video, ["color"], draw(noise(number), "x", ["color"]))
    means = seen.mean((1, 2, 3, 4)) - video.mean()
    assert abs(means.mean()) < 0.02 and means.std().item() == pytest.approx(1 / 12**0.5, rel=0.05)
    assert means.min() >= -0.5 - 1e-5 and means.max() <= 0.5 + 1e-5
    chroma = (seen - seen.mean(1, keepdim=True)).flatten(1).std(1) / (video - video.mean(1, keepdim=True)).flatten(1).std(1)
    # saturation U(0, 2) times contrast U(0.5, 1.5)
    assert chroma.mean().item() == pytest.approx(1.0, abs=0.03) and chroma.max() <= 3


def test_draws_stay_on_the_cpu():
    """Asking a graphics card where a clip is moved to would wait for all that it has to do."""
    assert draw(Noise((0,), slice(0, 3), 3, torch.device("meta")), "x", ALL).device.type == "cpu"


def test_each_part_of_a_policy_has_numbers_of_its_own():
    video, draws = clips(4), draw(noise(4), "x", ALL)
    expected = video
    for name, first in (("color", 1), ("translation", 4), ("cutout", 6)):
        expected = augment(expected, [name], torch.cat([draws[:, :1], draws[:, first:]], 1))
    assert torch.equal(augment(video, ALL, draws), expected)
