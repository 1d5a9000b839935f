"""The autoencoder and the published networks."""

import pytest
import torch

from models.keyframes import Autoencoder, KeyframesConfig, PublishedAutoencoder, PublishedInterpolator, build, cosines
from utils.errors import UserError


def count(net) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_published_networks_have_the_published_numbers():
    nets = build(KeyframesConfig(networks="published"))
    assert {name: count(net) for name, net in nets.items()} == {"autoencoder": 90_659, "interpolator": 14_213}
    code = PublishedAutoencoder().encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert code.min() < 0 < code.max()  # nothing follows the convolution of its bottleneck
    assert code.numel() / (3 * 64 * 64) == pytest.approx(PublishedAutoencoder.kept)


@pytest.mark.parametrize("downsampling, channels, kept", [(4, 12, 1 / 4), (8, 16, 1 / 12), (8, 4, 1 / 48)])
def test_the_code_is_as_small_as_it_says(downsampling, channels, kept):
    net = Autoencoder(8, downsampling, channels)
    frames = torch.rand(2, 3, 32, 48) * 2 - 1
    code = net.encode(frames)
    assert net.kept == pytest.approx(kept) == code.numel() / frames.numel()
    assert len(net.pack(code)) == code.numel()


@torch.no_grad()
@pytest.mark.parametrize("net", [Autoencoder(8, 8, 4), PublishedAutoencoder()], ids=["ours", "published"])
def test_what_is_packed_is_all_that_is_needed(net):
    frames = torch.rand(2, 3, 13, 22) * 2 - 1
    code = net.encode(frames)
    again = net.unpack(net.pack(code), code.shape)
    assert torch.equal(again, code)
    assert torch.equal(net.decode(again, 13, 22), net(frames)) and net(frames).shape == frames.shape


def test_a_code_has_256_levels_and_still_learns():
    net = Autoencoder(8, 4, 12)
    code = net.encode(torch.rand(1, 3, 16, 16) * 2 - 1)
    torch.testing.assert_close(code * 127, (code * 127).round(), rtol=0, atol=1e-4)
    code.square().sum().backward()
    assert net.transform.weight.grad.abs().sum() > 0 and net.encoder[-1].weight.grad.abs().sum() > 0


def test_the_filters_are_an_orthonormal_transform_of_which_the_first_are_kept():
    basis, gain = cosines(4, 48)
    torch.testing.assert_close(basis.flatten(1) @ basis.flatten(1).T, torch.eye(48), rtol=0, atol=1e-5)
    assert torch.equal(cosines(4, 12)[0], basis[:12]) and torch.equal(cosines(4, 12)[1], gain[:12])
    grey = torch.ones(1, 3, 4, 4)
    shares = (basis * grey).sum((1, 2, 3)) * gain.flatten()
    torch.testing.assert_close(shares, torch.eye(48)[0], rtol=0, atol=1e-5)  # all of it in the first, and within [-1, 1]
    wide, _ = cosines(2, 20)
    assert not wide[12:].any()


@torch.no_grad()
def test_untrained_it_keeps_what_the_transform_keeps():
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 3, 3) * 1.6 - 0.8, size=(32, 32), mode="bicubic").clamp(-1, 1)
    decibel = lambda net: -10 * torch.log10((net(smooth) - smooth).square().mean() / 4).item()
    errors = [decibel(Autoencoder(8, 4, channels)) for channels in (4, 12, 48)]
    assert errors[0] < errors[1] < errors[2] and errors[2] > 45  # what is left is the rounding to a byte
    basis, _ = cosines(4, 12)
    blocks = smooth.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)
    lost = (blocks - blocks @ basis.flatten(1).T @ basis.flatten(1)).square().mean()
    assert errors[1] == pytest.approx(-10 * torch.log10(lost / 4).item(), abs=0.3)


@torch.no_grad()
def test_the_published_motion_is_in_halves_of_the_way_across_and_grows_with_time():
    net = PublishedInterpolator()
    for part in (*net.motion, *net.refine):
        for parameter in part.parameters():
            parameter.zero_()
    net.motion[-1].bias.copy_(torch.tensor([8 / 15, 0.0]))  # from the first pixel to the last are 15, half of which is 1: 4 pixels
    for channel in range(3):
        net.refine[0].weight[channel, channel, 1, 1] = net.refine[2].weight[channel, channel, 1, 1] = 1
    first = torch.rand(1, 3, 8, 16) * 2 - 1
    made = net(first, torch.zeros_like(first), torch.tensor([0.5]))
    expected = torch.sigmoid((first[..., 2:] + 1) / 2) * 2 - 1
    torch.testing.assert_close(made[..., :-2], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [{"ae_downsampling": 6}, {"ae_downsampling": 1}, {"flow_width": 200}, {"ae_channels": 0}])
def test_sizes_that_cannot_be_are_named(settings):
    with torch.device("meta"), pytest.raises(UserError, match=f"--model.{next(iter(settings))}"):
        build(KeyframesConfig(**settings))


@torch.no_grad()
def test_the_published_autoencoder_works_on_pixels_from_0_to_1():
    net, seen = PublishedAutoencoder(), []
    net.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net.encode(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8))
    assert seen[0][0].unique().item() == 0 and seen[0][1].unique().item() == 1
    code = net.encode(torch.zeros(2, 3, 8, 8))
    for parameter in net.decoder.parameters():
        parameter.zero_()
    net.decoder[-2].bias.copy_(torch.tensor([-20.0, 0.0, 20.0]))
    expected = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    torch.testing.assert_close(net.decode(code, 8, 8), expected, rtol=0, atol=1e-6)


def test_fewer_frequencies_of_colour_are_kept_than_of_lightness():
    basis, _ = cosines(8, 16)
    assert (basis.sum(1).abs().amax((1, 2)) > 1e-4).sum() == 10  # four diagonals; of each colour difference two
