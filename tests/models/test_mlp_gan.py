"""MLP GAN: the published sizes, shapes at any size, pieces that equal the whole, gradients everywhere."""

import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from configs.cli import parse
from configs.schema import TrainConfig
from models import mlp_gan
from models.layers import BatchNorm
from models.mlp_gan import Dense, MLPGANConfig, build
from models.shape import ClipShape
from tests.configs.test_recipes import FOLDER
from training.registry import MODELS
from utils.errors import UserError

SMALL = {"latent_dim": 5, "widths": [8, 12], "components": 0}
FAITHFUL = parse(TrainConfig, ["--config", str(FOLDER / "faithful" / "mlp_gan.yaml")], models=MODELS)
PUBLISHED = asdict(FAITHFUL.model)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_published_pair_has_the_published_sizes():
    with torch.device("meta"):
        nets = build(MLPGANConfig(**PUBLISHED), ClipShape(FAITHFUL.frames, FAITHFUL.height, FAITHFUL.width))
        assert {name: count(net) for name, net in nets.items()} == {"generator": 816_098_304, "discriminator": 815_800_321}
        frames = nets["generator"](torch.zeros(2, 100))
        assert frames.shape == (2, 3, 1, 256, 256) and nets["discriminator"](frames).shape == (2,)
    assert (FAITHFUL.epochs, FAITHFUL.batch_size, FAITHFUL.lr, FAITHFUL.loss) == (50, 64, 2e-4, "bce")
    assert max(parameter.numel() for net in nets.values() for parameter in net.parameters()) <= 2**26 + 196_608


def test_the_published_layers_in_closed_form():
    """Both networks beside the formulas written out: ReLU and tanh, LeakyReLU(0.2), a logit."""
    torch.manual_seed(0)
    nets = build(MLPGANConfig(**{**PUBLISHED, **SMALL}), ClipShape(1, 4, 6))
    latents = torch.randn(3, 5)
    linear = lambda net: [(layer.weight, layer.bias) for layer in net.modules() if isinstance(layer, nn.Linear)]
    x = latents
    for index, (weight, bias) in enumerate(linear(nets["generator"])):
        x = x @ weight.T + bias
        x = x.clamp_min(0) if index < 2 else x.tanh()
    frames = nets["generator"](latents)
    torch.testing.assert_close(frames, x.view(3, 3, 1, 4, 6))
    x = frames.reshape(3, -1)
    for index, (weight, bias) in enumerate(linear(nets["discriminator"])):
        x = x @ weight.T + bias
        x = torch.where(x > 0, x, 0.2 * x) if index < 2 else x
    torch.testing.assert_close(nets["discriminator"](frames), x[:, 0])
    assert [tuple(weight.shape) for weight, _ in linear(nets["discriminator"])] == [(12, 72), (8, 12), (1, 8)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.lists(st.integers(1, 9), min_size=1, max_size=3),
       st.sampled_from(["batch", "layer", "none"]), st.sampled_from(["layer", "none"]), st.booleans(), st.booleans(),
       st.sampled_from(["smooth", "he", "torch"]), st.integers(0, 4))
def test_shapes_at_any_size_and_setting(height, width, widths, g_norm, d_norm, g_mean, minibatch_std, init, components):
    config = MLPGANConfig(latent_dim=3, widths=widths, components=components if g_mean else 0, g_norm=g_norm, d_norm=d_norm, g_mean=g_mean,
                          d_minibatch_std=minibatch_std, init=init)
    nets = build(config, ClipShape(1, height, width))
    frames = nets["generator"](torch.randn(4, 3))
    assert frames.shape == (4, 3, 1, height, width) and frames.abs().max() <= 1
    logits = nets["discriminator"](frames)
    assert logits.shape == (4,)
    logits.sum().backward()
    assert all(parameter.grad is not None for net in nets.values() for parameter in net.parameters())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 40))
def test_pieces_equal_the_whole(inputs, outputs, most):
    torch.manual_seed(inputs)
    layer = Dense(inputs, outputs, most)
    assert max(piece.weight.numel() for piece in layer.pieces) <= max(most, inputs) + inputs
    assert len(layer.pieces) == min(outputs, math.ceil(inputs * outputs / most))
    x = torch.randn(3, inputs)
    weight, bias = (torch.cat([getattr(piece, name) for piece in layer.pieces]) for name in ("weight", "bias"))
    assert weight.shape == (outputs, inputs)
    torch.testing.assert_close(layer(x), x @ weight.T + bias)


@pytest.mark.parametrize("init", ["he", "torch"])
def test_initial_weights_do_not_depend_on_the_pieces(init):
    """Of the layer next to the pixels, undivided and in pieces: the same spread."""
    torch.manual_seed(0)
    whole, parts = (nn.Sequential(Dense(64, 3000, most)) for most in (10**6, 10**4))
    for net in (whole, parts):
        mlp_gan._initialise(net, init)
    weights = [torch.cat([piece.weight for piece in net[0].pieces]) for net in (whole, parts)]
    expected = math.sqrt(2 / (1 + 0.04) / 64) if init == "he" else 1 / math.sqrt(3 * 64)
    for weight in weights:
        assert weight.std().item() == pytest.approx(expected, rel=0.02)


def test_smooth_filters_vary_slowly_and_as_much_as_others():
    torch.manual_seed(0)
    size = ClipShape(1, 32, 48)
    smooth, rough = (build(MLPGANConfig(latent_dim=4, widths=[200], components=0, init=init),
                           size)["discriminator"].layers[1].pieces[0].weight.view(-1, 3, 32, 48)
                     for init in ("smooth", "he"))
    assert smooth.std().item() == pytest.approx(rough.std().item(), rel=0.02)
    step = lambda filters: ((filters[..., 1:] - filters[..., :-1]).std() / filters.std()).item()
    assert step(rough) == pytest.approx(math.sqrt(2), rel=0.02) and step(smooth) < 0.35
    neighbours = smooth.flatten(1)[:-1] * smooth.flatten(1)[1:]
    assert abs(neighbours.mean() / smooth.var()) < 0.05  # filters are independent of each other


def test_it_starts_from_the_mean_frame():
    torch.manual_seed(0)
    generator = build(MLPGANConfig(**SMALL, g_mean=True), ClipShape(1, 4, 6))["generator"]
    mean = torch.rand(3, 4, 6) * 1.6 - 0.8
    generator.start_from(mean)
    for piece in generator.paint.pieces:
        nn.init.zeros_(piece.weight)
    torch.testing.assert_close(generator(torch.randn(2, 5))[1, :, 0], mean)


def test_components_are_mixed_by_one_network_and_measured_by_the_other():
    torch.manual_seed(0)
    nets = build(MLPGANConfig(**{**SMALL, "components": 4}), ClipShape(1, 4, 6))
    directions = torch.linalg.qr(torch.randn(72, 3)).Q.T  # of four components that were asked for, the data have three
    components = torch.cat([directions * torch.tensor([[0.3], [0.2], [0.1]]), torch.zeros(1, 72)])
    mean = torch.rand(3, 4, 6) - 0.5
    for net in nets.values():
        net.mix_from(components.view(4, 3, 4, 6), mean)
    made = torch.atanh(nets["generator"](torch.randn(50, 5))).flatten(1)
    away = made - made @ directions.T @ directions
    assert away.abs().max() < 1e-4 < made.std()
    shares = torch.randn(9, 3)
    seen = []
    nets["discriminator"].layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    nets["discriminator"]((mean.flatten() + shares @ components[:3]).view(9, 3, 1, 4, 6))
    torch.testing.assert_close(seen[0], torch.cat([shares, torch.zeros(9, 1)], 1), rtol=0, atol=1e-4)


def test_the_discriminator_sees_the_variety_of_the_batch():
    torch.manual_seed(0)
    nets = build(MLPGANConfig(**SMALL), ClipShape(1, 4, 6))
    frames = torch.randn(4, 3, 1, 4, 6)
    alone = nets["discriminator"](frames[:1].expand(4, -1, -1, -1, -1))[0]
    assert not torch.allclose(nets["discriminator"](frames)[0], alone, atol=1e-6)
    without = build(MLPGANConfig(**SMALL, d_minibatch_std=False), ClipShape(1, 4, 6))["discriminator"]
    torch.testing.assert_close(without(frames)[0], without(frames[:1])[0])


@pytest.mark.parametrize("config, message", [({"widths": []}, "--model.widths"), ({"widths": [8, 0]}, "--model.widths")])
def test_sizes_that_make_no_network_are_refused(config, message):
    with pytest.raises(UserError, match=message):
        build(MLPGANConfig(**config), ClipShape(1, 4, 6))


def test_clips_of_several_frames_are_refused():
    with pytest.raises(UserError, match="--frames 4: mlp_gan"):
        build(MLPGANConfig(**SMALL), ClipShape(4, 8, 8))


def test_components_need_the_mean_they_are_measured_from():
    MLPGANConfig(g_mean=False, components=0).check()
    with pytest.raises(UserError, match="--model.g_mean false.*take --model.components 0 too"):
        MLPGANConfig(g_mean=False).check()


def test_norms_and_dropout_are_those_asked_for_on_each_side():
    nets = build(MLPGANConfig(**SMALL, g_norm="batch", d_norm="layer", d_dropout=0.3), ClipShape(1, 4, 6))
    kinds = {name: [type(part) for part in net.layers if isinstance(part, (BatchNorm, nn.LayerNorm))] for name, net in nets.items()}
    assert kinds == {"generator": [BatchNorm] * 2, "discriminator": [nn.LayerNorm] * 2}
    assert [part.p for part in nets["discriminator"].layers if isinstance(part, nn.Dropout)] == [0.3] * 2
