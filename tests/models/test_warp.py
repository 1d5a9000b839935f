"""Motion in pixels: warping, costs of opposite shifts, padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.warp import backward_warp, pad_to, shifts, symmetric_costs


def picture(height: int = 12, width: int = 17, seed: int = 0, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def constant(x: float, y: float, image: torch.Tensor) -> torch.Tensor:
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(len(image), 2, *image.shape[-2:])


@settings(max_examples=25, deadline=None)
@given(st.integers(-20, 20), st.integers(-20, 20))
def test_a_whole_translation_takes_the_pixel_that_far_away_and_the_edge_beyond(x, y):
    image = picture()
    rows, columns = (torch.arange(12) + y).clamp(0, 11), (torch.arange(17) + x).clamp(0, 16)
    torch.testing.assert_close(backward_warp(image, constant(x, y, image)), image[..., rows[:, None], columns], rtol=0, atol=2e-5)


def test_half_a_pixel_is_the_mean_of_two():
    image = picture()
    expected = (image[..., :-1] + image[..., 1:]) / 2
    torch.testing.assert_close(backward_warp(image, constant(0.5, 0, image))[..., :-1], expected, rtol=0, atol=1e-5)


def test_both_gradients_against_finite_differences():
    image = picture(5, 6).double().float().requires_grad_(True)
    flow = (0.3 * torch.randn(1, 2, 5, 6, generator=torch.Generator().manual_seed(1)) + 0.25).requires_grad_(True)
    weight = picture(5, 6, seed=2)
    value = (backward_warp(image, flow) * weight).sum()
    by_image, by_flow = torch.autograd.grad(value, (image, flow))
    for point, gradient in ((image, by_image), (flow, by_flow)):
        step = torch.zeros_like(point)
        step[0, 1, 2, 3] = 1e-2
        with torch.no_grad():
            arguments = [(image + sign * step, flow) if point is image else (image, flow + sign * step) for sign in (1, -1)]
            up, down = ((backward_warp(*each) * weight).sum() for each in arguments)
        assert gradient[0, 1, 2, 3].item() == pytest.approx(((up - down) / 2e-2).item(), abs=2e-2)


def test_the_cheapest_shift_is_half_the_motion():
    """What is at x - k in the one and x + k in the other has moved by 2k."""
    big = picture(40, 40)
    first, second = big[..., 8:32, 8:32], big[..., 8 - 2:32 - 2, 8 + 4:32 + 4]  # its contents move 4 to the left and 2 down
    costs = symmetric_costs(first, second, 2)
    best = shifts(2)[costs.argmin(1)]
    assert costs.shape == (1, 25, 24, 24)
    torch.testing.assert_close(best[0, 6:-6, 6:-6], torch.tensor([-2.0, 1.0]).expand(12, 12, 2))
    assert costs.amin(1)[0, 6:-6, 6:-6].max() < 1e-6


def test_no_shift_is_free_between_equal_pictures():
    costs = symmetric_costs(picture(), picture(), 1)
    assert costs[:, 4].abs().max() == 0 and costs[:, 0].min() > 0


@pytest.mark.parametrize("size", [(16, 32), (15, 31), (1, 1), (17, 33)])
def test_padding_repeats_the_edge_up_to_the_multiple(size):
    image = picture(*size)
    padded = pad_to(image, 16)
    assert padded.shape[-2] % 16 == padded.shape[-1] % 16 == 0 and padded.shape[-1] - size[1] < 16
    torch.testing.assert_close(padded[..., :size[0], :size[1]], image)
    torch.testing.assert_close(padded[..., -1, -1], image[..., -1, -1])
