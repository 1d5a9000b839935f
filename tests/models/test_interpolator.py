"""The interpolator: its limits in time, what it leaves alone, what it finds without training."""

import pytest
import torch

from models.interpolator import MOST_PARAMETERS, Interpolator, _Decoder, _moves


@pytest.fixture(scope="module")
def net() -> Interpolator:
    torch.manual_seed(0)
    return Interpolator(width=8, levels=3).eval()


@pytest.fixture(scope="module")
def wild() -> Interpolator:
    """One whose zeros were replaced, as training does."""
    torch.manual_seed(0)
    net = Interpolator(width=8, levels=3).eval()
    for part in (*(decoder.motion for decoder in net.decoders), net.synthesis.out, net.repeats.body[-1]):
        torch.nn.init.normal_(part.weight, std=0.1)
        torch.nn.init.normal_(part.bias, std=0.1)
    return net


def smooth(height: int, width: int, seed: int = 0, grain: int = 4) -> torch.Tensor:
    small = torch.rand(1, 3, height // grain, width // grain, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic").clamp(-1, 1)


def at(time: float, batch: int = 1) -> torch.Tensor:
    return torch.full((batch,), time)


@torch.no_grad()
def test_the_ends_of_time_are_the_frames_themselves(wild):
    first, second = smooth(24, 32, 1), smooth(24, 32, 2)
    torch.testing.assert_close(wild(first, second, at(0)), first, rtol=0, atol=2e-5)
    torch.testing.assert_close(wild(first, second, at(1)), second, rtol=0, atol=2e-5)
    between = wild(first, second, at(0.5))
    assert (between - first).abs().mean() > 0.05 and (between - second).abs().mean() > 0.05


@torch.no_grad()
@pytest.mark.parametrize("time", [0.25, 0.5])
def test_untrained_it_follows_a_translation(net, time):
    big = smooth(72, 120, grain=12)
    first, second = big[..., 4:68, 4:100], big[..., 4:68, 12:108]  # 8 pixels to the left
    middle = big[..., 4:68, 4 + round(8 * time):100 + round(8 * time)]
    inside = (..., slice(12, -12), slice(12, -12))
    error = lambda made: (made - middle)[inside].square().mean().item()
    assert error(net(first, second, at(time))) < 0.15 * error((1 - time) * first + time * second)
    flow = net.parts(first, second, at(time))
    assert flow["flow0"][0, 0][inside].median().item() == pytest.approx(8 * time, abs=0.75)  # it was further right in the first
    assert flow["flow1"][0, 0][inside].median().item() == pytest.approx(-8 * (1 - time), abs=0.75)


@torch.no_grad()
def test_what_stands_still_is_left_alone_to_the_bit(wild):
    """A caption over a moving picture: rounded to 256 levels, it is what both frames show."""
    rounded = lambda frame: (frame * 127.5).round() / 127.5
    first, second = rounded(smooth(48, 48, 1)), rounded(smooth(48, 48, 2))
    second[..., :20, :] = first[..., :20, :]
    made = wild(first, second, at(0.5))
    level = lambda frame: (frame * 127.5 + 127.5).round()
    assert torch.equal(level(made)[..., :15, :], level(first)[..., :15, :])
    assert not torch.equal(level(made)[..., 24:, :], level((first + second) / 2)[..., 24:, :])


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (17, 40)])
def test_any_size(wild, size):
    parts = wild.parts(torch.rand(2, 3, *size), torch.rand(2, 3, *size), torch.tensor([0.3, 0.6]))
    assert {name: tuple(value.shape) for name, value in parts.items()} == {
        "frame": (2, 3, *size), "flow0": (2, 2, *size), "flow1": (2, 2, *size), "mask": (2, 1, *size), "residual": (2, 3, *size),
        "repeats": (2,)}
    assert parts["mask"].min() >= 0 and parts["mask"].max() <= 1 and all(torch.isfinite(value).all() for value in parts.values())


@torch.no_grad()
def test_restored_frames_are_repeated_where_the_network_says_so(net):
    """Clip by clip, and always the nearer one; half way the first."""
    first, second, moves = smooth(16, 16, 1), smooth(16, 16, 2), net(smooth(16, 16, 1), smooth(16, 16, 2), at(0.5))
    torch.testing.assert_close(net.restore(first, second, at(0.5)), moves)  # untrained, it takes all footage for moving
    net.repeats.body[-1].bias.fill_(0.1)
    for time, nearer in ((0.3, first), (0.5, first), (0.6, second)):
        assert torch.equal(net.restore(first, second, at(time)), nearer)
    torch.testing.assert_close(net(first, second, at(0.5)), moves)
    # A head that sees nothing but the time: repeated near the ends, not half way.
    net.repeats.body[0].weight.zero_()
    net.repeats.body[0].bias.zero_()
    net.repeats.body[0].weight[:, 0] = 1
    net.repeats.body[-1].weight.fill_(1)
    net.repeats.body[-1].bias.fill_(-0.1)
    made = net.restore(first.expand(2, -1, -1, -1), second.expand(2, -1, -1, -1), torch.tensor([0.1, 0.5]))
    assert torch.equal(made[:1], first) and not torch.equal(made[1:], first)


@torch.no_grad()
def test_clips_of_a_batch_do_not_meet(wild):
    first, second, time = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16), torch.tensor([0.3, 0.6])
    torch.testing.assert_close(wild(first, second, time)[1:], wild(first[1:], second[1:], time[1:]), rtol=1e-4, atol=1e-4)


def test_every_parameter_learns(wild):
    made = wild.parts(smooth(32, 32, 1), smooth(32, 32, 2), at(0.4))
    ((made["frame"] - smooth(32, 32, 3)).square().mean() + made["repeats"].sum()).backward()
    idle = [name for name, parameter in wild.named_parameters() if parameter.grad is None or not parameter.grad.abs().sum() > 0]
    assert not idle
    wild.zero_grad(set_to_none=True)


def test_the_number_of_parameters_is_held():
    assert sum(parameter.numel() for parameter in Interpolator().parameters()) == 510_852 <= MOST_PARAMETERS
    with torch.device("meta"), pytest.raises(ValueError, match="more than 2,800,000"):
        Interpolator(width=64)


def test_motion_of_a_coarser_level_is_doubled():
    """Untrained, a level adds nothing where no shift matches better than another."""
    flat, features, decoder = torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 8, 8), _Decoder(4, 4)
    state = torch.full((1, 4, 4, 4), 3.0), torch.zeros(1, 4, 4, 4)
    velocity, _ = decoder(flat, flat, features, features, torch.full((1, 1, 1, 1), 0.5), state)
    torch.testing.assert_close(velocity, torch.full((1, 4, 8, 8), 6.0))


@torch.no_grad()
def test_the_mask_is_the_share_of_the_first_frame(wild):
    for time, share in ((0.0, 1.0), (1.0, 0.0)):
        mask = wild.parts(smooth(24, 32, 1), smooth(24, 32, 2), at(time))["mask"]
        torch.testing.assert_close(mask, torch.full_like(mask, share), rtol=0, atol=1e-6)


def test_a_pixel_is_still_where_all_within_four_are():
    first = torch.zeros(1, 3, 21, 21)
    second = first.clone()
    second[..., 10, 10] = 1
    moves = _moves(first, second)[0, 0]
    assert moves[6:15, 6:15].eq(1).all() and moves.sum() == 81
    torch.testing.assert_close(_moves(first, first + 0.5 / 127.5), torch.full((1, 1, 21, 21), 0.5))
