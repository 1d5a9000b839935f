"""Sprites: where a window lies, what its mask lets through, what lies in front; the generator that is made of them."""

import math

import pytest
import torch

from models.growth import double, halve
from models.hrvgan import build
from models.hrvgan_generator import SpriteGenerator
from models.hrvgan_parts import HRVGANConfig
from models.shape import ClipShape
from models.sprites import BLOB, WAVES, Paths, carry, curve_mask, cut_out, painted_mask
from utils.errors import UserError


def paths(height: int, width: int, size: float = 0.5, sprites: int = 1, frames: int = 3, **coefficients) -> torch.Tensor:
    """Of a network that gives these means over time, whatever it is told; the rest 0."""
    net = Paths(4, sprites, frames, height, width, size)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    bias = net.layers[-1].bias.data.view(sprites, 4, 2 * frames)
    for name, value in coefficients.items():
        bias[:, ("right", "down", "turn", "large").index(name), 0] = value
    return net(torch.zeros(1, 4))


def picture(height: int, width: int) -> torch.Tensor:
    """A full white window, (1, 1, 4, height, width)."""
    return torch.ones(1, 1, 4, height, width)


def extent(mask: torch.Tensor) -> tuple[float, float, float, float]:
    """Middle (x, y), width and height of what a mask (H, W) shows, in pixels."""
    across, down = mask.amax(0), mask.amax(1)
    middle = lambda line: ((torch.arange(len(line)) + 0.5) * line).sum().item() / line.sum().item()
    return middle(across), middle(down), across.sum().item(), down.sum().item()


@pytest.mark.parametrize("height, width", [(32, 32), (32, 64), (48, 32)])
def test_a_window_is_a_share_of_the_frame_around_its_place(height, width):
    place = {"right": math.atanh(0.25), "down": math.atanh(-0.125)}
    colours, mask = carry(picture(8, 8), paths(height, width, **place), height, width)
    assert colours.shape == (1, 3, 3, height, width) and mask.shape == (1, 1, 3, height, width)
    for frame in range(3):
        assert extent(mask[0, 0, frame]) == pytest.approx((width / 2 * 1.25, height / 2 * 0.875, width / 2, height / 2), abs=1e-3)
    assert torch.equal(colours, mask.expand_as(colours))


@pytest.mark.parametrize("height, width", [(64, 64), (64, 128), (96, 64)])
def test_a_quarter_turn_is_one_in_pixels(height, width):
    turned = carry(picture(8, 8), paths(height, width, 0.25, turn=math.pi / 2 / 0.2), height, width)[1][0, 0, 0]
    assert extent(turned) == pytest.approx((width / 2, height / 2, height / 4, width / 4), abs=0.3)


def test_turns_go_right_and_sizes_follow_the_logarithm():
    point = torch.zeros(1, 1, 4, 9, 9)
    point[..., 4, 6] = 1  # right of the middle
    x, y, *_ = extent(carry(point, paths(64, 64, 0.9, turn=math.pi / 2 / 0.2), 64, 64)[1][0, 0, 0])
    assert y - 32 == pytest.approx(64 * 0.9 * 2 / 9, abs=0.05) and x == pytest.approx(32, abs=0.05)  # it went below it
    assert extent(carry(picture(8, 8), paths(64, 64, large=10 * math.log(1.5)), 64, 64)[1][0, 0, 0])[2] == pytest.approx(48, abs=1e-3)


@pytest.mark.parametrize("place", [-1.3, 0.0, 0.4])
def test_a_clip_is_cut_from_a_cosine_series_twice_as_long_where_the_first_latent_says(place):
    net = Paths(4, 1, 5, 32, 32, 1.0)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    net.layers[-1].bias.data.view(4, 10)[3] = torch.tensor([0.0, 3.0, 0.0, -2.0, *[0.0] * 5, 4.0])
    sizes = net(torch.tensor([[place, 5.0, -5.0, 5.0]]))[0, 0, :, 0, 0]
    begins = 0.5 + 0.5 * math.erf(place / math.sqrt(2))  # as likely anywhere
    time = (begins + (torch.arange(5) + 0.5) / 5) / 2
    series = 1.5 * torch.cos(torch.pi * time) - 0.5 * torch.cos(3 * torch.pi * time) + 0.4 * torch.cos(9 * torch.pi * time)
    assert torch.allclose(sizes.log(), -0.1 * series, atol=1e-5)


def test_a_mask_begins_as_a_soft_disc_and_ends_before_its_window():
    mask = painted_mask(torch.zeros(101, 101))
    line = (2 * torch.arange(101) + 1) / 101 - 1
    radius = (line.square()[:, None] + line.square()).sqrt()
    inner = line.abs()[:, None].maximum(line.abs()) < 0.8
    expected = torch.sigmoid(2 * (1 - radius.square() / BLOB**2).clamp(-1, 1))
    assert torch.allclose(mask[inner], expected[inner], atol=1e-6)
    wide = painted_mask(30 * radius)
    assert wide[[0, -1]].max() < 0.06 and wide[50, 80] > 0.99


@pytest.mark.parametrize("height, width", [(7, 5), (16, 16), (2, 2), (4, 6)])
@pytest.mark.parametrize("loud", [0.1, 3.0, 1000.0])
def test_no_mask_vanishes_whatever_is_painted(height, width, loud):
    torch.manual_seed(0)
    values = loud * torch.randn(50, height, width)
    mask = painted_mask(values - loud * torch.rand(50, 1, 1))
    if min(height, width) > 2:  # one pixel of the disc at least is above its mean; a window of 2 x 2 pixels has none in the disc
        assert mask.flatten(1).max(1).values.min() >= 0.5
        torch.testing.assert_close(mask, painted_mask(values), atol=1e-4, rtol=0)
    assert mask.isfinite().all()


def test_colours_are_tanh_and_come_with_their_mask():
    colours, mask = torch.randn(2, 5, 3, 7, 5, dtype=torch.bfloat16), torch.rand(2, 5, 7, 5)
    found = cut_out(colours, mask)
    assert found.dtype == torch.float32 and torch.equal(found[:, :, 3], mask)
    assert torch.allclose(found[:, :, :3], torch.tanh(colours.float()) * mask[:, :, None])


def waves(**coefficients: float) -> torch.Tensor:
    """The series of a curve: ``mean``, and ``cos3`` or ``sin3`` for three waves."""
    series = torch.zeros(1 + 2 * WAVES)
    for name, value in coefficients.items():
        series[0 if name == "mean" else int(name[3:]) + WAVES * (name[:3] == "sin")] = value
    return series


@pytest.mark.parametrize("height, width", [(400, 400), (300, 450)])
@pytest.mark.parametrize("coefficients", [{}, {"mean": 0.8}, {"cos3": 2.0}, {"sin5": -3.0, "cos1": 0.4, "mean": -1.0}])
def test_a_curve_encloses_the_area_of_its_series(height, width, coefficients):
    mask = curve_mask(waves(**coefficients), height, width)
    angle = torch.linspace(-math.pi, math.pi, 20001)[:-1]
    shown = torch.zeros(20000)
    for name, value in coefficients.items():
        shown += 0.3 * value * (1 if name == "mean" else getattr(torch, name[:3])(int(name[3:]) * angle) / int(name[3:]))
    radius = BLOB * torch.exp(0.5 * torch.tanh(2 * shown))
    assert mask.shape == (height, width)
    assert mask.sum().item() * 4 / (height * width) == pytest.approx((radius.square().mean() * math.pi).item(), rel=5e-3)
    at = lambda turn, share: mask[int((1 + share * radius[int(turn * 20000)].item() * math.sin(2 * math.pi * turn - math.pi)) / 2 * height),
                                  int((1 + share * radius[int(turn * 20000)].item() * math.cos(2 * math.pi * turn - math.pi)) / 2 * width)]
    assert all(at(turn / 40, 0.93) > 0.95 and at(turn / 40, 1.07) < 0.05 for turn in range(40))


@pytest.mark.parametrize("loud", [1.0, 100.0])
def test_a_curve_keeps_its_slope_and_its_window_however_loud_its_series(loud):
    torch.manual_seed(0)
    series = (loud * torch.randn(20, 2, 1 + 2 * WAVES)).requires_grad_()
    mask = curve_mask(series, 32, 48)
    assert mask.shape == (20, 2, 32, 48)
    edge = torch.cat([mask[..., [0, -1], :].flatten(1), mask[..., [0, -1]].flatten(1)], 1)
    assert edge.max() < 0.2 and mask[..., 15:17, 23:25].min() > 0.9
    assert (((mask > 0.05) & (mask < 0.95)).sum((2, 3)) > 20).all()  # where the edge is, slopes are


def test_every_sprite_is_turned_by_a_number_of_the_latent():
    net = Paths(4, 2, 3, 32, 64, 0.5, turn=0.7)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    found = net(torch.tensor([[0.3, 1.0, -2.0, 9.0]]))[0, :, :, 0, 0]
    assert torch.allclose(found, 2 * torch.cos(torch.tensor([0.7, -1.4]))[:, None].expand(2, 3))
    right = net(torch.tensor([[0.3, 1.0, -2.0, 9.0]]))[0, :, :, 0, 1]
    assert torch.allclose(right, (2 * torch.sin(torch.tensor([0.7, -1.4])) * 0.5)[:, None].expand(2, 3))


def test_a_latent_too_short_for_turns_is_refused():
    with pytest.raises(UserError, match="--model.sprite_turn 0.5: .*--model.latent_dim 4 or more"):
        build(HRVGANConfig(latent_dim=3, sprites=3, sprite_turn=0.5), ClipShape(4, 16, 16))
    build(HRVGANConfig(latent_dim=3, sprites=3), ClipShape(4, 16, 16))


def test_later_sprites_lie_in_front():
    back, front = torch.tensor([0.5, -1.0, 0.25, 1.0]), torch.tensor([0.3, 0.2, -0.1, 0.5])  # opaque; half through, colours times mask
    pictures = torch.stack([back, front])[None, :, :, None, None].expand(1, 2, 4, 6, 6)
    colours, mask = carry(pictures, paths(16, 16, 1.0, sprites=2), 16, 16)
    assert torch.allclose(colours[0, :, 0, 8, 8], front[:3] + 0.5 * back[:3], atol=1e-6) and mask[0, 0, 0, 8, 8] == 1


@pytest.mark.parametrize("height, width, frames, sprites", [(32, 48, 6, 1), (8, 8, 4, 3), (6, 10, 1, 2)])
@pytest.mark.parametrize("outline", ["painted", "curve"])
def test_streams_are_a_still_background_and_what_moves_before_it(height, width, frames, sprites, outline):
    torch.manual_seed(0)
    config = HRVGANConfig(latent_dim=5, g_width=4, max_width=8, sprites=sprites, sprite_outline=outline)
    net = build(config, ClipShape(frames, height, width, 3))["generator"]
    latents, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    parts = net.streams(latents, labels)
    assert isinstance(net, SpriteGenerator) and {name: tuple(part.shape[1:3]) for name, part in parts.items()} == {
        "film": (3, frames), "foreground": (3, frames), "background": (3, frames), "mask": (1, frames)}
    background, mask, foreground = parts["background"], parts["mask"], parts["foreground"]
    assert (background == background[:, :, :1]).all() and 0 <= mask.min() < 0.1 and 0.5 < mask.max() <= 1
    assert torch.allclose(parts["film"], background + mask * (foreground - background), atol=2e-3)
    assert all(part.abs().max() <= 1 + 1e-5 for part in parts.values())
    assert torch.equal(net.eval()(latents, labels), net.streams(latents, labels)["film"])


def test_sprites_lie_where_they_will_lie_while_the_background_grows():
    torch.manual_seed(0)
    net = build(HRVGANConfig(latent_dim=5, g_width=4, max_width=8, sprites=1), ClipShape(4, 32, 48, 1, grow=1))["generator"].eval()
    latents = torch.randn(2, 5)
    full = net.streams(latents)["mask"]
    net.set_growth(1, 1.0)
    half = net.streams(latents)
    assert half["film"].shape == (2, 3, 4, 16, 24) and half["background"].shape == (2, 3, 4, 16, 24)
    assert extent(half["mask"][0, 0, 0])[:2] == pytest.approx([place / 2 for place in extent(full[0, 0, 0])[:2]], abs=0.2)
    net.set_growth(0, 0.5)
    torch.testing.assert_close(halve(net.streams(latents)["mask"]), halve(full))


def test_paths_and_masks_are_float32_under_autocast():
    torch.manual_seed(0)
    net = build(HRVGANConfig(latent_dim=5, g_width=4, max_width=8, sprites=1), ClipShape(4, 16, 16))["generator"].eval()
    condition = torch.randn(2, 5)
    plain = net.sprites.paths(condition)
    series = torch.randn(2, 1 + 2 * WAVES)
    curve = curve_mask(series, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net.sprites.paths(condition), plain) and torch.equal(curve_mask(series, 16, 16), curve)
        assert net(condition).dtype == torch.float32


def test_sprites_fade_in_with_the_background():
    """At the beginning of a fade nothing in a film is finer than the level below it."""
    shape = ClipShape(4, 32, 32, 2, 1)
    torch.manual_seed(0)
    generator = build(HRVGANConfig(latent_dim=5, class_dim=3, g_width=4, d_width=4, max_width=8, sprites=2), shape)["generator"]
    latents, labels = torch.randn(3, 5), torch.tensor([0, 1, 0])
    finer = {}
    for alpha in (0.0, 0.5, 1.0):
        generator.set_growth(0, alpha)
        streams = generator.streams(latents, labels)
        finer[alpha] = {name: (streams[name] - double(halve(streams[name]))).abs().max().item() for name in ("mask", "background")}
    assert max(finer[0.0].values()) < 1e-6
    for name in ("mask", "background"):
        assert finer[0.5][name] == pytest.approx(finer[1.0][name] / 2, rel=1e-3)


@pytest.mark.parametrize("outline", ["painted", "curve"])
def test_of_a_thing_the_class_may_decide_outline_light_and_path_alone(outline):
    torch.manual_seed(0)
    net = build(HRVGANConfig(sprites=2, sprite_class="thing", sprite_outline=outline), ClipShape(4, 32, 32, 3))["generator"].train()
    latents, labels = torch.randn(6, 128), torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        pictures, paths = net.sprites(net.condition(latents, net.named(labels)), net.named(labels))
        torch.testing.assert_close(pictures[:3, :, 3], pictures[3:, :, 3])
        assert (pictures[0, :, 3] - pictures[1, :, 3]).abs().max() > 0.01
        again, elsewhere = net.sprites(net.condition(latents[:1], net.named(labels[1:2])), net.named(labels[1:2]))
        middle = slice(pictures.shape[-1] // 4, 3 * pictures.shape[-1] // 4)
        lights = [torch.atanh(picture[0, :, :3, middle, middle] / picture[0, :, 3:, middle, middle]) for picture in (pictures, again)]
        grey = lights[0] - lights[1]  # the class changes red, green and blue alike
        torch.testing.assert_close(grey, grey[:, :1].expand_as(grey), atol=1e-4, rtol=0)
        assert grey.abs().max() > 0.01
        assert (elsewhere[0] != paths[0]).any()
        net.eval()
        backgrounds = [net.streams(latents[:1], labels[place:place + 1])["background"] for place in range(3)]
        assert all(torch.equal(one, backgrounds[0]) for one in backgrounds)
        assert not torch.equal(net.streams(latents[1:2], labels[:1])["background"], backgrounds[0])


def test_where_there_is_one_class_the_latent_decides_all():
    torch.manual_seed(0)
    nets = [build(HRVGANConfig(latent_dim=5, g_width=4, max_width=8, sprites=1, sprite_class=what), ClipShape(4, 16, 16))["generator"]
            for what in ("thing", "all")]
    assert [*nets[0].state_dict()] == [*nets[1].state_dict()]
    pictures, _ = nets[0].sprites(torch.randn(2, 5), None)
    assert (pictures[0, :, 3] != pictures[1, :, 3]).any()


def test_colours_differ_within_a_class_and_not_between_classes_before_anything_is_learnt():
    torch.manual_seed(0)
    net = build(HRVGANConfig(sprites=1), ClipShape(4, 32, 32, 4))["generator"].eval()
    with torch.no_grad():
        streams = net.streams(torch.randn(24, 128).repeat_interleave(4, 0), torch.arange(4).repeat(24))
    mask = streams["mask"]
    colours = ((streams["foreground"] * mask).sum((2, 3, 4)) / mask.sum((2, 3, 4))).view(24, 4, 3)
    assert colours.std(0).mean() > 0.5 and colours.std(1).mean() < 0.15
