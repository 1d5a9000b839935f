"""Losses and penalties in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from training.losses import LOSSES, NEEDS_REAL_IN_G, bce_d, bce_g, gradient_penalty, hinge_d, hinge_g, lipschitz_penalty, rpgan_d, rpgan_g

logits = st.lists(st.floats(-20, 20), min_size=1, max_size=6).map(lambda values: torch.tensor(values, dtype=torch.float64))


def test_undecided_discriminators_pay_a_known_price():
    zero = torch.zeros(5)
    assert bce_d(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert bce_g(None, zero).item() == pytest.approx(math.log(2))
    assert hinge_d(zero, zero).item() == 2 and hinge_g(None, zero).item() == 0
    assert rpgan_d(zero, zero).item() == rpgan_g(zero, zero).item() == pytest.approx(math.log(2))


@given(logits, logits)
def test_bce_is_the_cross_entropy_of_the_right_labels(real, fake):
    peer = nn.functional.binary_cross_entropy_with_logits
    expected = peer(real, torch.ones_like(real)) + peer(fake, torch.zeros_like(fake))
    torch.testing.assert_close(bce_d(real, fake), expected)
    torch.testing.assert_close(bce_g(real, fake), peer(fake, torch.ones_like(fake)))


def test_hinge_stops_at_the_margin():
    assert hinge_d(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -9.0])).item() == 0
    assert hinge_d(torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.5])).item() == pytest.approx((0.5 + 1.5) / 2)
    assert hinge_g(None, torch.tensor([1.0, -4.0])).item() == pytest.approx(1.5)


@given(logits, st.floats(-10, 10))
def test_relativistic_losses_see_differences_only(real, shift):
    fake = real.flip(0) * 0.5
    torch.testing.assert_close(rpgan_d(real + shift, fake + shift), rpgan_d(real, fake))
    torch.testing.assert_close(rpgan_g(real + shift, fake + shift), rpgan_g(real, fake))
    torch.testing.assert_close(rpgan_d(real, fake), rpgan_g(fake, real))  # the two players swap their sides


@pytest.mark.parametrize("name", LOSSES)
def test_each_player_is_pushed_its_own_way(name):
    loss_d, loss_g = LOSSES[name]
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    real_slope, fake_slope = torch.autograd.grad(loss_d(real, fake), (real, fake))
    assert (real_slope < 0).all() and (fake_slope > 0).all()
    (g_slope,) = torch.autograd.grad(loss_g(real, fake), fake)
    assert (g_slope < 0).all()


def test_the_generator_loss_asks_for_reals_only_where_it_is_told_to():
    for name, (_, loss_g) in LOSSES.items():
        if name not in NEEDS_REAL_IN_G:
            assert loss_g(None, torch.zeros(2)).isfinite()


class Linear(nn.Module):
    def __init__(self, *shape: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape, dtype=torch.float64))

    def forward(self, video):
        return (video * self.weight).flatten(1).sum(1)


def test_penalty_of_a_linear_discriminator_is_its_squared_weight():
    torch.manual_seed(0)
    net = Linear(3, 2, 4, 5)
    penalty = gradient_penalty(net, torch.randn(7, 3, 2, 4, 5, dtype=torch.float64))
    assert penalty.item() == pytest.approx(net.weight.square().sum().item(), rel=1e-6)
    penalty.backward()
    torch.testing.assert_close(net.weight.grad.float(), (2 * net.weight).float().detach())


def test_penalty_of_a_quadratic_discriminator():
    torch.manual_seed(0)
    a = torch.randn(1, dtype=torch.float64).requires_grad_()
    x = torch.randn(6, 3, 1, 4, 4, dtype=torch.float64)
    penalty = gradient_penalty(lambda video: a * video.square().flatten(1).sum(1), x)
    norm = x.square().flatten(1).sum(1).mean()
    assert penalty.item() == pytest.approx((4 * a**2 * norm).item(), rel=1e-6)
    penalty.backward()
    assert a.grad.item() == pytest.approx((8 * a * norm).item(), rel=1e-6)


def test_gradient_of_the_penalty_beside_finite_differences(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)  # keeps the float64 that differences need
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 2, 4), nn.Softplus(), nn.Linear(4, 1), nn.Flatten(0)).double()
    x = torch.randn(3, 3, 1, 2, 2, dtype=torch.float64)
    gradient_penalty(net, x).backward()
    for parameter in (net[1].weight, net[1].bias, net[3].weight):
        flat = parameter.data.view(-1)
        for index in range(0, len(flat), 5):
            kept, values = flat[index].item(), []
            for sign in (1, -1):
                flat[index] = kept + sign * 1e-6
                values.append(gradient_penalty(net, x).item())
            flat[index] = kept
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(parameter.grad.view(-1)[index].item(), rel=1e-5, abs=1e-8)


def test_penalty_does_not_reach_the_clips():
    x = torch.randn(2, 3, 1, 4, 4, requires_grad=True)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 1), nn.Flatten(0))
    gradient_penalty(net, x).backward()
    assert x.grad is None and net[1].weight.grad.abs().max() > 0


def test_lipschitz_penalty_of_a_linear_critic():
    torch.manual_seed(0)
    net = Linear(3, 2, 4, 5)
    real, fake = torch.randn(2, 7, 3, 2, 4, 5, dtype=torch.float64)
    penalty = lipschitz_penalty(net, real, fake, torch.rand(7))
    assert penalty.item() == pytest.approx((net.weight.norm().item() - 1) ** 2, rel=1e-6)
    penalty.backward()
    expected = 2 * (net.weight.norm() - 1) * net.weight / net.weight.norm()
    torch.testing.assert_close(net.weight.grad.float(), expected.float().detach())


def test_lipschitz_penalty_looks_between_the_clips():
    """Of x^2 the slope at real + t (fake - real) is twice that: each clip has its own t."""
    real, fake, where = torch.full((2, 1, 1, 1, 1), 1.0), torch.full((2, 1, 1, 1, 1), 3.0), torch.tensor([0.0, 0.25])
    penalty = lipschitz_penalty(lambda video: video.square().flatten(1).sum(1), real, fake, where)
    assert penalty.item() == pytest.approx(((2 * 1.0 - 1) ** 2 + (2 * 1.5 - 1) ** 2) / 2, rel=1e-5)
    assert lipschitz_penalty(lambda video: video.flatten(1).sum(1) * 0, real, fake, where).item() == pytest.approx(1, rel=1e-4)
