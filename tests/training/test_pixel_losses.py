"""Losses between pictures: closed forms, independent peers, the perceptual one on random weights."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from training.pixel_losses import LOSSES, PixelLoss, census, charbonnier, l1, laplacian, psnr
from training.vgg import vgg16
from utils.errors import UserError

CPU = torch.device("cpu")


def pictures(height: int = 40, width: int = 48, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, height, width, generator=generator), torch.rand(2, 3, height, width, generator=generator)


def test_against_numpy():
    made, real = pictures()
    difference = (made - real).double().numpy()
    assert l1(made, real).item() == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert charbonnier(made, real).item() == pytest.approx(np.sqrt(difference**2 + 1e-6).mean(), rel=1e-5)
    decibel = [10 * math.log10(1 / (clip**2).mean()) for clip in difference]
    assert -10 * psnr(made, real).item() == pytest.approx(np.mean(decibel), rel=1e-4)


@pytest.mark.parametrize("shift", [0.25, -0.125])
def test_a_constant_difference_passes_through_the_pyramid_as_it_is(shift):
    made, real = pictures()
    assert laplacian(real + shift, real).item() == pytest.approx(abs(shift), rel=1e-4)
    assert laplacian(made, real).item() > l1(made, real).item()  # noise counts in several bands


def test_the_pyramid_against_scipy():
    """Its first band, by convolution in NumPy, where the pyramid stops after it."""
    from scipy.ndimage import convolve

    made, real = pictures(6, 6)
    difference = (made - real).numpy()
    taps = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    coarse = np.stack([[convolve(plane, taps, mode="nearest") for plane in clip] for clip in difference])[..., ::2, ::2]
    weights = np.zeros((6, 3))  # bilinear from 3 to 6 samples: the new ones lie at 1/4 and 3/4
    for index in range(6):
        place = min(max((index + 0.5) / 2 - 0.5, 0), 2)
        low = int(place)
        weights[index, low] += 1 - (place - low)
        weights[index, min(low + 1, 2)] += place - low
    band = difference - np.einsum("ij,bcjk,lk->bcil", weights, coarse, weights)
    assert laplacian(made, real).item() == pytest.approx(np.abs(band).mean() + np.abs(coarse).mean(), rel=1e-4)


def test_census_against_loops():
    made, real = (torch.round(picture[:1, :, :9, :8] * 255) / 255 for picture in pictures())
    def signature(picture):
        grey = (picture[0] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0).double() * 255
        return [(grey[y + dy, x + dx] - grey[y, x]).item() for y in range(3, 6) for x in range(3, 5)
                for dy in range(-3, 4) for dx in range(-3, 4) if dy or dx]
    soft = [np.array(values) / np.sqrt(0.81 + np.array(values) ** 2) for values in (signature(made), signature(real))]
    squared = (soft[0] - soft[1]) ** 2
    assert census(made, real).item() == pytest.approx((squared / (0.1 + squared)).mean(), rel=1e-4)


def test_census_does_not_see_brightness_but_order():
    _, real = pictures()
    assert census(0.5 * real + 0.2, real).item() < 0.02 < 0.3 < census(1 - real, real).item()


@pytest.mark.parametrize("name", LOSSES)
def test_the_right_picture_is_best_and_every_pixel_is_seen(name):
    made, real = pictures()
    worst = LOSSES[name](made, real)
    assert LOSSES[name](real, real) < LOSSES[name](0.9 * real + 0.1 * made, real) < worst
    (gradient,) = torch.autograd.grad(LOSSES[name](made.requires_grad_(True), real), made)
    assert torch.isfinite(gradient).all() and (gradient[..., 5:-5, 5:-5].abs() > 0).float().mean() > 0.99


@pytest.mark.parametrize("name", LOSSES)
def test_equal_pictures_have_a_finite_gradient_and_tiny_ones_a_value(name):
    made, _ = pictures(2, 3)
    (gradient,) = torch.autograd.grad(LOSSES[name](made.requires_grad_(True), made.detach()), made)
    assert torch.isfinite(gradient).all()


def test_terms_are_weighted_named_and_measured_on_pixels_from_0_to_1():
    made, real = pictures()
    found = PixelLoss("l1:2, charbonnier:0.5", "--model.interpolation", None, CPU)(made * 2 - 1, real * 2 - 1)
    assert set(found) == {"loss", "l1", "charbonnier"}
    torch.testing.assert_close(found["l1"], l1(made, real))
    torch.testing.assert_close(found["loss"], 2 * l1(made, real) + 0.5 * charbonnier(made, real))


def test_a_loss_of_ones_own_is_one_line(monkeypatch):
    monkeypatch.setitem(LOSSES, "worst", lambda made, real: (made - real).abs().max())
    made, real = pictures()
    assert PixelLoss("worst", "--x", None, CPU)(made, real)["loss"] == (made - real).abs().max() / 2


@pytest.mark.parametrize("text", ["l2:1", "l1:much", "l1:0", "l1:-1", "l1:nan", "l1:1,,", ""])
def test_a_mistake_is_named(text):
    with pytest.raises(UserError, match="--model.interpolation") as caught:
        PixelLoss(text, "--model.interpolation", None, CPU)
    assert "l1:1" in str(caught.value)


def test_a_loss_has_one_weight():
    with pytest.raises(UserError, match="--model.interpolation l1:1,census:1,l1:5: l1 stands there twice"):
        PixelLoss("l1:1,census:1,l1:5", "--model.interpolation", None, CPU)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random ones, under the names of torchvision's file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file({f"features.{name}": value for name, value in vgg16().state_dict().items()} | {"classifier.0.bias": torch.zeros(3)}, path)
    return path


def test_perceptual(weights):
    made, real = pictures(16, 24)
    loss = PixelLoss("perceptual:3", "--x", str(weights), CPU)
    found = loss(made.mul(2).sub(1).requires_grad_(True), real * 2 - 1)
    assert found["loss"].item() == pytest.approx(3 * found["perceptual"].item()) and found["loss"].item() > 0
    assert loss(real, real)["loss"] == 0
    found["loss"].backward()


def test_perceptual_against_layers_called_one_by_one(weights):
    from safetensors.torch import load_file
    from torch.nn.functional import conv2d, max_pool2d

    made, real = pictures(8, 8)
    values = load_file(weights)
    def features(picture):
        x = (picture - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        found = []
        for group in ((0, 2), (5, 7), (10, 12, 14)):
            for index in group:
                x = conv2d(x, values[f"features.{index}.weight"], values[f"features.{index}.bias"], padding=1).relu()
            found.append(x)
            x = max_pool2d(x, 2)
        return found
    expected = sum((a - b).abs().mean() for a, b in zip(features(made), features(real))) / 3
    torch.testing.assert_close(PixelLoss("perceptual", "--x", str(weights), CPU)(made * 2 - 1, real * 2 - 1)["loss"],
                               expected, rtol=1e-4, atol=1e-6)


def test_weights_are_read_without_drawing_random_numbers(weights):
    """It happens in the first step that a process makes, whichever that is."""
    before = torch.get_rng_state()
    PixelLoss("perceptual", "--x", str(weights), CPU).load()
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_or_wrong_weights_are_one_clear_line(tmp_path):
    (tmp_path / "text.safetensors").write_text("weights")
    save_file({"features.0.weight": torch.zeros(4)}, tmp_path / "other.safetensors")
    for path, said in ((None, "needs a file"), (tmp_path / "none", "no such file"), (tmp_path / "text.safetensors", "not a safetensors"),
                       (tmp_path / "other.safetensors", "no weights of VGG16")):
        with pytest.raises(UserError, match="--model.vgg_weights") as caught:
            PixelLoss("perceptual:1", "--x", path and str(path), CPU).load()
        assert said in str(caught.value) and "torchvision.models.vgg16" in str(caught.value)


def test_the_pyramid_has_five_bands_and_the_rest():
    """By OpenCV, whose step downwards and bilinear enlargement are ours."""
    import cv2

    made, real = pictures(64, 80)
    expected = []
    for difference in (made - real).permute(0, 2, 3, 1).contiguous().numpy():
        total = 0.0
        for _ in range(5):
            coarse = cv2.pyrDown(difference, borderType=cv2.BORDER_REPLICATE)
            total += np.abs(difference - cv2.resize(coarse, difference.shape[1::-1])).mean()
            difference = coarse
        expected.append(total + np.abs(difference).mean())
    assert laplacian(made, real).item() == pytest.approx(np.mean(expected), rel=1e-4)
