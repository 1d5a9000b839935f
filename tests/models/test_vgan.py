"""VGAN: published sizes, shapes at every allowed length and size, errors at the others, how the streams make a film."""

import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.cli import parse
from configs.schema import TrainConfig
from models.layers import BatchNorm
from models.shape import ClipShape
from models.vgan import Discriminator, VGANConditionalConfig, VGANConfig, build, build_conditional, depths
from tests.configs.test_recipes import FOLDER
from tests.training.runner import QUICK, newest, outcome
from training import checkpoint
from training.registry import FAMILIES, MODELS
from training.restore import load_sampler
from training.task import DataInfo, Request
from utils.errors import UserError

SMALL = {"g_width": 4, "d_width": 4, "max_width": 8}
BUILDS = {"vgan": (build, VGANConfig), "vgan_conditional": (build_conditional, VGANConditionalConfig)}


def nets_of(family: str, shape: ClipShape, **options) -> dict:
    make, config = BUILDS[family]
    return make(config(**{**SMALL, **({"latent_dim": 6} if family == "vgan" else {}), **options}), shape)


def source_of(family: str, shape: ClipShape, number: int = 2) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return (torch.randn(number, 6, generator=draw) if family == "vgan"
            else torch.rand(number, 3, shape.height, shape.width, generator=draw) * 1.8 - 0.9)



@pytest.mark.parametrize("family", BUILDS)
def test_time_doubles_last_and_is_halved_first(family):
    nets = nets_of(family, ClipShape(4, 32, 32), depth=3, time_depth=1, g_upsample="linear")
    ups = [layer.scale_factor for layer in nets["generator"].parts.moving if isinstance(layer, torch.nn.Upsample)]
    downs = [layer.stride for layer in nets["discriminator"].layers if isinstance(layer, torch.nn.Conv3d)]
    assert ups == [(1, 2, 2), (1, 2, 2), (2, 2, 2)] and downs[:3] == [(2, 2, 2), (1, 2, 2), (1, 2, 2)]


def parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def conv(inputs: int, outputs: int, taps: int) -> int:
    return inputs * outputs * taps + outputs


def norm(channels: int) -> int:
    return 2 * channels


# The layer lists of main.lua, main_conditional.lua and gan_video's model.py, counted by hand. Both heads of a foreground stream are one
# layer of 3 + 1 channels here.
COUNTS = {
    "vgan": {
        "generator": conv(100, 512, 16) + conv(512, 256, 16) + conv(256, 128, 16) + conv(128, 64, 16) + conv(64, 3, 16)
        + conv(100, 512, 32) + conv(512, 256, 64) + conv(256, 128, 64) + conv(128, 64, 64) + conv(64, 3, 64) + conv(64, 1, 64)
        + 2 * (norm(512) + norm(256) + norm(128) + norm(64)),
        "discriminator": conv(3, 64, 64) + conv(64, 128, 64) + conv(128, 256, 64) + conv(256, 512, 64) + conv(512, 2, 32)
        + norm(128) + norm(256) + norm(512)},
    "vgan_conditional": {
        "generator": conv(3, 128, 16) + conv(128, 256, 16) + conv(256, 512, 16) + conv(512, 1024, 16) + norm(256) + norm(512) + norm(1024)
        + conv(1024, 512, 16) + conv(512, 256, 16) + conv(256, 128, 16) + conv(128, 3, 16) + norm(512) + norm(256) + norm(128)
        + conv(1024, 1024, 2) + conv(1024, 512, 64) + conv(512, 256, 64) + conv(256, 128, 64) + conv(128, 3, 64) + conv(128, 1, 64)
        + norm(1024) + norm(512) + norm(256) + norm(128),
        "discriminator": conv(3, 128, 64) + conv(128, 256, 64) + conv(256, 512, 64) + conv(512, 1024, 64) + conv(1024, 2, 32)
        + norm(256) + norm(512) + norm(1024)},
    "vgan_wgan": {
        "generator": conv(3, 64, 4) + conv(64, 128, 4) + conv(128, 256, 4) + conv(256, 512, 4) + conv(512, 100, 16) + norm(64) + norm(128)
        + norm(256) + norm(512) + conv(100, 512, 16) + conv(512, 256, 4) + conv(256, 128, 4) + conv(128, 64, 4) + conv(64, 3, 4)
        + conv(100, 512, 32) + conv(512, 256, 64) + conv(256, 128, 64) + conv(128, 64, 64) + conv(64, 3, 64) + conv(64, 1, 64)
        + 2 * (norm(512) + norm(256) + norm(128) + norm(64)),
        "discriminator": conv(3, 64, 64) + conv(64, 128, 64) + conv(128, 256, 64) + conv(256, 512, 64) + conv(512, 1, 32)
        + norm(128) + norm(256) + norm(512)},
}
MILLIONS = {"vgan": (16.25, 11.06), "vgan_conditional": (68.22, 44.14), "vgan_wgan": (15.69, 11.04)}


@pytest.mark.parametrize("name", COUNTS)
def test_published_networks_have_the_published_layers(name):
    config = parse(TrainConfig, ["--config", str(FOLDER / "faithful" / f"{name}.yaml")], models=MODELS)
    with torch.device("meta"):
        task = FAMILIES[config.family].task(config, DataInfo(), torch.device("meta"))
    counts = {net: parameters(module) for net, module in task.nets.items()}
    assert counts == COUNTS[name]
    assert tuple(round(count / 1e6, 2) for count in counts.values()) == MILLIONS[name]
    assert (config.frames, config.height, config.width) == (32, 64, 64)


def test_published_settings():
    read = lambda name: parse(TrainConfig, ["--config", str(FOLDER / "faithful" / f"{name}.yaml")], models=MODELS)
    plain, conditional, wgan = read("vgan"), read("vgan_conditional"), read("vgan_wgan")
    assert (plain.batch_size, plain.mask_l1, plain.first_frame_l1) == (64, 0.1, 0)
    assert (plain.lr, plain.beta1, plain.loss) == (2e-4, 0.5, "bce")
    assert (conditional.batch_size, conditional.mask_l1, conditional.first_frame_l1) == (32, 0, 10)
    assert (wgan.batch_size, wgan.loss, wgan.optimizer, wgan.lr, wgan.clip_weights, wgan.g_every, wgan.first_frame_l1,
            wgan.random_frame) == (3, "wgan", "rmsprop", 5e-5, 0.01, 3, 10, True)
    for config, eps in ((plain, 1e-3), (conditional, 1e-3), (wgan, 1e-5)):
        with torch.device("meta"):
            task = FAMILIES[config.family].task(config, DataInfo(), torch.device("meta"))
        assert {layer.eps for layer in task.nets["discriminator"].modules() if isinstance(layer, BatchNorm)} == {eps}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(BUILDS)), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3),
       st.sampled_from(["batch", "group", "none"]), st.sampled_from(["batch", "group", "spectral", "none"]),
       st.sampled_from(["deconv", "nearest", "linear"]), st.booleans(), st.sampled_from([1, 2]), st.sampled_from(["he", "normal"]))
def test_shapes_at_any_allowed_size_and_setting(family, depth, time_depth, first, rows, columns, g_norm, d_norm, upsample, variety, outputs,
                                                init):
    time_depth = min(depth, time_depth)
    assume(first << time_depth >= 2)
    shape = ClipShape(first << time_depth, rows << depth, columns << depth)
    nets = nets_of(family, shape, depth=depth, time_depth=time_depth, g_norm=g_norm, d_norm=d_norm, g_upsample=upsample,
                   d_minibatch_std=variety, d_outputs=outputs, init=init)
    source = source_of(family, shape)
    for net in nets.values():
        net.eval()
    with torch.no_grad():
        film = nets["generator"](source)
        assert film.shape == (2, 3, shape.frames, shape.height, shape.width) and film.abs().max() <= 1
        assert nets["discriminator"](film).shape == (2,)
        # The film is its streams, put together as the paper's equation 3 says.
        streams = nets["generator"].streams(source)
    mask = streams["mask"]
    assert mask.shape == (2, 1, *film.shape[2:]) and 0 <= mask.min() and mask.max() <= 1
    torch.testing.assert_close(film, mask * streams["foreground"] + (1 - mask) * streams["background"])
    assert torch.equal(streams["background"], streams["background"][:, :, :1].expand_as(film))  # it stands still


@pytest.mark.parametrize("latent_dim, e_kernel, bg_kernel", [(5, 2, 2), (5, 4, 4), (None, 2, 4), (None, 4, 2)])
def test_the_image_s_way_through_the_network(latent_dim, e_kernel, bg_kernel):
    shape = ClipShape(4, 16, 24)
    nets = nets_of("vgan_conditional", shape, latent_dim=latent_dim, e_kernel=e_kernel, bg_kernel=bg_kernel, g_upsample="deconv")
    assert nets["generator"](source_of("vgan_conditional", shape)).shape == (2, 3, 4, 16, 24)


def refusal(frames: int, **options) -> int | None:
    try:
        depths(VGANConfig(**options), "vgan", ClipShape(frames, 64, 64))
    except UserError as error:
        assert f"--frames {frames}:" in str(error)
        return int(re.search(r"nearest allowed is --frames (\d+)$", str(error))[1])


@given(st.integers(1, 200), st.sampled_from([None, 0, 1, 3, 4]))
def test_an_error_over_the_length_names_the_nearest_one_that_works(frames, time_depth):
    near = refusal(frames, time_depth=time_depth)
    assume(near is not None)
    assert refusal(near, time_depth=time_depth) is None
    assert all(refusal(other, time_depth=time_depth)
               for other in range(max(1, frames - abs(near - frames) + 1), frames + abs(near - frames)))


@pytest.mark.parametrize("frames, time_depth", [(2, 0), (3, 0), (4, 1), (6, 1), (8, 2), (16, 3), (24, 3), (32, 4), (64, 4), (48, 4)])
def test_time_starts_with_two_or_three_frames_as_far_as_the_picture_is_doubled(frames, time_depth):
    assert depths(VGANConfig(), "vgan", ClipShape(frames, 64, 64)) == (4, time_depth)


@pytest.mark.parametrize("family", BUILDS)
def test_a_wrong_size_stops_the_build(family):
    with pytest.raises(UserError, match="--height 48 --width 64"):
        nets_of(family, ClipShape(16, 50, 64))
    with pytest.raises(UserError, match="--model.time_depth 5"):
        nets_of(family, ClipShape(32, 64, 64), time_depth=5)
    with pytest.raises(UserError, match="--frames 1: makes no clip"):
        nets_of(family, ClipShape(1, 64, 64))


@pytest.mark.parametrize("options", [{}, {"g_norm": "group", "d_norm": "batch", "g_upsample": "deconv", "d_outputs": 2},
                                     {"g_norm": "none", "d_norm": "spectral", "d_minibatch_std": False}],
                         ids=["default", "published", "spectral"])
@pytest.mark.parametrize("family", BUILDS)
def test_every_parameter_gets_a_finite_gradient(family, options):
    torch.manual_seed(0)
    shape = ClipShape(8, 16, 32)
    nets = nets_of(family, shape, **options)
    (nets["discriminator"](nets["generator"](source_of(family, shape, 4))) * torch.tensor([1.0, 2.0, 3.0, 4.0])).square().sum().backward()
    for name, net in nets.items():
        for key, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, f"{name}.{key}"


def test_two_outputs_are_one_logit():
    """A softmax over (fake, real) gives real the probability that the sigmoid gives it for the difference."""
    torch.manual_seed(0)
    shape = ClipShape(4, 16, 16)
    net = Discriminator(VGANConfig(**SMALL, d_outputs=2, d_minibatch_std=False, d_norm="none"), "vgan", shape)
    video = torch.randn(3, 3, 4, 16, 16)
    both = net.verdict(net.layers(video).flatten(1))
    torch.testing.assert_close(torch.softmax(both, 1)[:, 1], torch.sigmoid(net(video)))


@pytest.mark.parametrize("init, deviation", [("he", (2 / 1.04 / (8 * 8)) ** 0.5), ("normal", 0.01)])
def test_initial_weights_follow_their_formula(init, deviation):
    torch.manual_seed(0)
    nets = build(VGANConfig(g_width=4, d_width=64, max_width=64, g_upsample="deconv", g_norm="batch", d_norm="batch", init=init),
                 ClipShape(32, 64, 64))
    deconv = [layer for layer in nets["generator"].parts.moving if isinstance(layer, torch.nn.ConvTranspose3d)][-2]
    # A stride of 2 lets 2^3 of 4^3 taps reach an output.
    assert (deconv.in_channels, deconv.out_channels, deconv.stride) == (8, 4, (2, 2, 2))
    assert deconv.weight.std().item() == pytest.approx(deviation, rel=0.06)
    scale = nets["discriminator"].layers[3].weight
    assert scale.std().item() == pytest.approx(0.02, rel=0.3) if init == "normal" else torch.equal(scale, torch.ones(64))


def test_the_signal_neither_dies_nor_explodes_at_the_start():
    """He et al. 2015: each layer hands on about what it got, transposed and plain convolutions alike."""
    for upsample in ("deconv", "linear", "nearest"):
        torch.manual_seed(0)
        parts = nets_of("vgan", ClipShape(32, 64, 64), g_width=16, max_width=64, g_norm="none", g_upsample=upsample)["generator"].parts
        x, sizes = torch.randn(2, 6, 1, 1, 1), []
        with torch.no_grad():
            for layer in parts.moving[:-1]:
                x = layer(x)
                sizes += [x.square().mean().sqrt().item()] if isinstance(layer, torch.nn.ReLU) else []
        assert 0.15 < min(sizes) and max(sizes) < 3, (upsample, sizes)


def test_a_background_that_starts_from_the_mean_frame():
    torch.manual_seed(0)
    shape = ClipShape(4, 16, 32)
    generator = nets_of("vgan", shape, g_mean=True, mask_bias=-4.0)["generator"]
    mean = torch.rand(3, 16, 32) * 1.8 - 0.9
    generator.start_from(mean)
    streams = generator.streams(torch.randn(16, 6))
    assert (streams["background"].mean(0)[:, 0] - mean).abs().mean() < 0.1
    assert streams["mask"].mean().item() == pytest.approx(0.018, abs=0.01)
    assert (streams["film"].mean((0, 2)) - mean).abs().mean() < 0.1
    assert "mean" in generator.state_dict()  # a checkpoint holds it


def test_a_background_that_starts_from_the_given_image():
    torch.manual_seed(0)
    shape = ClipShape(4, 16, 32)
    image = source_of("vgan_conditional", shape, 16)
    distance = {g_image: (nets_of("vgan_conditional", shape, g_image=g_image)["generator"].streams(image)["background"][:, :, 0]
                          - image).abs().mean()
                for g_image in (True, False)}
    assert distance[True] < 0.1 < 0.3 < distance[False]


@pytest.mark.parametrize("family", BUILDS)
def test_a_film_depends_on_its_own_source_only_in_evaluation(family):
    shape = ClipShape(4, 16, 16)
    generator = nets_of(family, shape)["generator"].eval()
    source = source_of(family, shape, 3)
    torch.testing.assert_close(generator(source)[1:2], generator(source[1:2]))


def train(runner, out, family: str, *arguments, **options):
    small = ["--family", family, "--height", "16", "--width", "16", "--frames", "4", "--batch_size", "4", "--model.g_width", "4",
             "--model.d_width", "4", "--model.max_width", "8", "--precision", "fp32", "--warmup", "0"]
    return runner.train(*small, "--out", out, *arguments, settings=QUICK, **options)


@pytest.mark.parametrize("family, terms", [
    ("vgan", ["--mask_l1", "0.1", "--model.g_mean", "true", "--r1", "1", "--penalty_every", "2"]),
    ("vgan_conditional", ["--first_frame_l1", "10", "--loss", "wgan", "--optimizer", "rmsprop", "--clip_weights", "0.01", "--g_every", "3",
                          "--share_fakes", "false", "--model.d_norm", "none"])])
def test_a_run_continues_bit_for_bit(runner, tmp_path, family, terms):
    train(runner, tmp_path / "straight", family, *terms, "--steps", 6)
    train(runner, tmp_path / "halves", family, *terms, "--steps", 4)
    train(runner, tmp_path / "halves", family, *terms, "--steps", 6)
    straight, halves = outcome(tmp_path / "straight"), outcome(tmp_path / "halves")
    for name in ("nets.safetensors", "ema.safetensors", "optimizer.safetensors", "rows"):
        assert straight[name] == halves[name], name


def test_the_mean_of_the_training_frames_reaches_the_background(runner, tmp_path):
    train(runner, tmp_path / "run", "vgan", "--model.g_mean", "true", "--steps", 1)
    mean = checkpoint.read_tensors(newest(tmp_path / "run"), "nets")["generator.mean"]
    assert mean.shape == (3, 16, 16) and mean.std() > 0.01


def test_clips_at_a_rate_of_their_own(runner, tmp_path):
    for fps in (8, 12):
        train(runner, tmp_path / str(fps), "vgan", "--fps", fps, "--steps", 1)
    slow, fast = (load_sampler(tmp_path / str(fps), device="cpu") for fps in (8, 12))
    assert (slow.fps, fast.fps) == (8, 12) and slow.videos != fast.videos


def test_samples_begin_with_the_frame_they_were_asked_for():
    config = TrainConfig(family="vgan_conditional", height=16, width=16, frames=4, model=VGANConditionalConfig(**SMALL, mask_bias=-9.0))
    task = FAMILIES["vgan_conditional"].task(config, DataInfo(), torch.device("cpu"))
    video = torch.rand(3, 3, 4, 16, 16) - 0.5
    assert task.latent_dim == 0 and task.wants_video
    film = task.sample(task.nets, Request(torch.zeros(3, 0), None, video))
    assert (film - video[:, :, :1]).abs().mean() < 0.1


def test_foreground_and_mask_begin_as_layers_of_their_own():
    """PyTorch bounds the weights of a transposed convolution by one over the root of its outputs times its taps."""
    torch.manual_seed(0)
    parts = nets_of("vgan", ClipShape(32, 64, 64), g_upsample="deconv", init="torch", mask_bias=-2.0)["generator"].parts
    last = parts.requires_grad_(False).moving[-1]
    assert last.weight.shape[1:] == (4, 4, 4, 4)
    for part, outputs in ((slice(3), 3), (slice(3, 4), 1)):
        bound = 1 / (outputs * 64)**0.5
        assert last.weight[:, part].abs().max() == pytest.approx(bound, rel=0.03)
        assert last.weight[:, part].std().item() == pytest.approx(bound / 3**0.5, rel=0.08)
    assert last.bias[:3].abs().max() <= 1 / 192**0.5 and -2.125 <= last.bias[3] <= -1.875 and last.bias[3] != -2
