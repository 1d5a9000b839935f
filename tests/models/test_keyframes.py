"""The autoencoder and the published networks."""

import pytest
import torch

from models.keyframes import Autoencoder, KeyframesConfig, PublishedAutoencoder, PublishedInterpolator, build
from utils.errors import UserError


def count(net) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_published_networks_have_the_published_numbers():
    nets = build(KeyframesConfig(networks="published"))
    assert {name: count(net) for name, net in nets.items()} == {"autoencoder": 90_659, "interpolator": 14_213}
    code = PublishedAutoencoder().encode(torch.zeros(1, 3, 64, 64))
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
    assert net.encoder[1].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_the_published_motion_is_in_halves_of_the_frame_and_grows_with_time():
    net = PublishedInterpolator()
    for part in (*net.motion, *net.refine):
        for parameter in part.parameters():
            parameter.zero_()
    net.motion[-1].bias.copy_(torch.tensor([0.5, 0.0]))  # half of half the width of 16: 4 pixels
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
