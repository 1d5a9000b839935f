"""DCGAN: shapes at every allowed size, errors at the others, gradients everywhere."""

import re

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from models.dcgan import DCGANConfig, Discriminator, Generator, build
from models.shape import ClipShape, default_depth
from utils.errors import UserError

SMALL = {"latent_dim": 6, "g_width": 4, "d_width": 4, "max_width": 8}


def run_pair(config: DCGANConfig, height: int, width: int) -> None:
    nets = build(config, ClipShape(1, height, width))
    frames = nets["generator"](torch.randn(2, config.latent_dim))
    assert frames.shape == (2, 3, 1, height, width) and frames.abs().max() <= 1
    assert nets["discriminator"](frames).shape == (2,)


@pytest.mark.parametrize("height, width", [(160, 320), (64, 64), (32, 48), (8, 8), (8, 64), (320, 160), (16, 16)])
def test_shapes(height, width):
    run_pair(DCGANConfig(**SMALL), height, width)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7), st.sampled_from(["batch", "group", "none"]),
       st.sampled_from(["batch", "group", "spectral", "none"]), st.sampled_from([3, 4]), st.sampled_from([1, 7]), st.booleans(),
       st.sampled_from(["he", "normal", "glorot"]))
def test_shapes_at_any_allowed_size_and_setting(depth, rows, columns, g_norm, d_norm, kernel, out_kernel, minibatch_std, init):
    config = DCGANConfig(**SMALL, g_depth=depth, d_depth=depth, g_norm=g_norm, d_norm=d_norm, g_kernel=kernel, g_out_kernel=out_kernel,
                         d_minibatch_std=minibatch_std, init=init)
    run_pair(config, rows << depth, columns << depth)


def refusal(config: DCGANConfig, height: int, width: int) -> tuple[int, int] | None:
    """The size that the error names, or None if this one is allowed."""
    try:
        with torch.device("meta"):
            Generator(config, height, width)
    except UserError as error:
        assert f"--height {height} --width {width}" in str(error)
        return tuple(int(number) for number in re.search(r"nearest allowed is --height (\d+) --width (\d+)", str(error)).groups())


@settings(max_examples=100, deadline=None)
@given(st.integers(4, 400), st.integers(4, 400))
@example(61, 133)  # the nearest multiples of its own stride have a larger stride themselves
def test_a_size_error_names_a_size_that_works(height, width):
    better = refusal(DCGANConfig(**SMALL), height, width)
    assume(better is not None)
    assert refusal(DCGANConfig(**SMALL), *better) is None
    stride = 2**default_depth(*better)
    assert all(abs(named - side) <= stride / 2 for named, side in zip(better, (height, width)))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 5))
def test_with_a_depth_of_its_own_the_size_named_is_the_nearest(height, width, depth):
    config = DCGANConfig(**SMALL, g_depth=depth)
    better = refusal(config, height, width)
    assume(better is not None)
    assert refusal(config, *better) is None
    for side, named in zip((height, width), better):
        nearest = min((multiple for multiple in range(2**depth, 1000, 2**depth)), key=lambda multiple: abs(multiple - side))
        assert abs(named - side) == abs(nearest - side)


def test_a_wrong_size_stops_the_build():
    with pytest.raises(UserError, match="--height 160 --width 320"):
        build(DCGANConfig(), ClipShape(1, 150, 321))


@pytest.mark.parametrize("height, width", [(1, 1), (2, 2), (3, 3), (1, 64)])
def test_tiny_sizes_work_or_are_refused(height, width):
    try:
        run_pair(DCGANConfig(**SMALL), height, width)
    except UserError as error:
        assert f"--height {height}" in str(error)


@given(st.integers(4, 2000), st.integers(4, 2000))
def test_the_default_depth_leaves_a_short_side_of_4_to_7(height, width):
    depth = default_depth(height, width)
    short = min(height, width)
    assert depth == 1 and short < 8 or 4 <= short / 2**depth < 8


@pytest.mark.parametrize("config", [
    DCGANConfig(**SMALL), DCGANConfig(**SMALL, g_norm="none", g_kernel=4, g_out_kernel=7, init="glorot"),
    DCGANConfig(**SMALL, d_norm="batch", d_minibatch_std=True), DCGANConfig(**SMALL, d_norm="spectral"),
    DCGANConfig(**SMALL, g_upsample="nearest")], ids=["default", "none", "batch", "spectral", "nearest"])
def test_every_parameter_gets_a_finite_gradient(config):
    torch.manual_seed(0)
    nets = build(config, ClipShape(1, 32, 48))
    nets["discriminator"](nets["generator"](torch.randn(4, config.latent_dim))).square().sum().backward()
    for name, net in nets.items():
        for key, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), f"{name}.{key}"
            assert parameter.grad.abs().max() > 0, f"{name}.{key}"


def test_growth_and_widths():
    generator = Generator(DCGANConfig(g_width=5, growth=3, max_width=40, g_base_width=7), 32, 32)
    widths = [layer.out_channels for layer in generator.layers if isinstance(layer, torch.nn.Conv2d)]
    assert generator.grid == (7, 4, 4) and widths == [40, 15, 5, 3]
    discriminator = Discriminator(DCGANConfig(d_width=5, growth=3, max_width=40), 32, 32)
    assert [layer.out_channels for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d)] == [5, 15, 40]


def test_frames_depend_on_their_own_latent_only_in_evaluation():
    generator = Generator(DCGANConfig(**SMALL), 16, 16).eval()
    latents = torch.randn(3, 6)
    torch.testing.assert_close(generator(latents)[1:2], generator(latents[1:2]))


@pytest.mark.parametrize("kind, deviation", [("normal", 0.02), ("he", (2 / (1 + 0.2**2) / (48 * 16)) ** 0.5),
                                             ("glorot", (2 / (48 * 16 + 96 * 16)) ** 0.5)])
def test_initial_weights_follow_their_formula(kind, deviation):
    torch.manual_seed(0)
    discriminator = Discriminator(DCGANConfig(d_width=48, init=kind), 32, 32)
    second = [layer for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d)][1]
    assert (second.in_channels, second.out_channels) == (48, 96)
    assert second.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert second.bias.abs().max() == 0


def test_dropout_acts_only_while_training():
    torch.manual_seed(0)
    discriminator = Discriminator(DCGANConfig(**SMALL, d_dropout=0.5), 16, 16)
    video = torch.randn(2, 3, 1, 16, 16)
    assert not torch.equal(discriminator(video), discriminator(video))
    discriminator.eval()
    assert torch.equal(discriminator(video), discriminator(video))


@pytest.mark.parametrize("height", [16, 48, 80, 112, 144, 176])
def test_the_discriminator_may_halve_more_often_than_the_generator_doubles(height):
    run_pair(DCGANConfig(**SMALL, g_depth=4, d_depth=5), height, 32)


def test_a_generator_that_starts_from_the_mean_frame_begins_near_it_and_keeps_it():
    torch.manual_seed(0)
    generator = Generator(DCGANConfig(**SMALL, g_mean=True), 16, 32)
    mean = torch.rand(3, 16, 32) * 1.8 - 0.9
    generator.start_from(mean)
    assert (generator(torch.randn(64, 6)).mean(0)[:, 0] - mean).abs().mean() < 0.1
    with torch.no_grad():
        for parameter in generator.layers[-1].parameters():
            parameter.zero_()
    assert torch.allclose(generator(torch.randn(2, 6))[:, :, 0], mean.expand(2, -1, -1, -1), atol=1e-5)
    assert "mean" in generator.state_dict()  # a checkpoint holds it


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_the_generator_doubles_as_asked(mode):
    layers = Generator(DCGANConfig(**SMALL, g_upsample=mode), 16, 16).layers
    assert {layer.mode for layer in layers if isinstance(layer, torch.nn.Upsample)} == {mode}


def test_first_verdicts_are_a_tenth_of_what_he_would_make_them():
    torch.manual_seed(0)
    weight = Discriminator(DCGANConfig(), 32, 32).verdict[-1].weight
    assert weight.std().item() == pytest.approx(0.1 * (2 / 1.04 / weight.shape[1]) ** 0.5, rel=0.1)
