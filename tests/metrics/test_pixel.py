"""PSNR, SSIM and MS-SSIM beside scikit-image and torchmetrics, and where the answer is known in closed form."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import utils.vision  # noqa: F401  without it torchmetrics may not load
from metrics.pixel import MS_SSIM_SMALLEST, average, ms_ssim, psnr, ssim

# isort: split
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure, structural_similarity_index_measure

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def frames_of(seed, height, width, kind, channels=3):
    generator = np.random.default_rng(seed)
    if kind == "noise":
        a = generator.integers(0, 256, (height, width, channels))
        b = generator.integers(0, 256, (height, width, channels))
    elif kind == "bright":  # nearly flat and bright: where variances are small differences of large numbers
        a, b = (250 + generator.integers(0, 2, (height, width, channels)) for _ in "ab")
    else:
        ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * (255 / (height + width))
        a = np.broadcast_to(ramp, (height, width, channels))
        b = np.clip(a + generator.normal(0, 8, a.shape), 0, 255)
    return np.asarray(a).astype(np.uint8), np.asarray(b).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(11, 150), width=st.integers(11, 300), channels=st.sampled_from([1, 3]),
       kind=st.sampled_from(["noise", "bright", "ramp"]))
def test_equal_to_scikit_image_at_any_size(seed, height, width, channels, kind):
    a, b = frames_of(seed, height, width, kind, channels)
    ours = ssim(torch.from_numpy(a), torch.from_numpy(b), data_range=255).item()
    assert ours == pytest.approx(structural_similarity(a, b, channel_axis=2, data_range=255, **WANG), abs=1e-4)
    assert psnr(torch.from_numpy(a), torch.from_numpy(b), data_range=255).item() == pytest.approx(
        peak_signal_noise_ratio(a, b, data_range=255), abs=1e-4)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 200), (10, 64)])
def test_psnr_takes_frames_that_are_too_small_for_ssim(height, width):
    a, b = frames_of(0, height, width, "noise")
    assert psnr(torch.from_numpy(a), torch.from_numpy(b), data_range=255).item() == pytest.approx(
        peak_signal_noise_ratio(a, b, data_range=255), abs=1e-4)
    with pytest.raises(ValueError, match=f"11x11.*{height}x{width}"):
        ssim(torch.from_numpy(a), torch.from_numpy(b), data_range=255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_frames_of_any_type(dtype):
    a, b = (torch.rand(2, 33, 47, 3, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (1, 2))
    expected = [structural_similarity(x, y, channel_axis=2, data_range=1.0, **WANG) for x, y in zip(a.double().numpy(), b.double().numpy())]
    assert ssim(a, b, data_range=1.0).tolist() == pytest.approx(expected, abs=1e-4)


def test_ssim_agrees_with_torchmetrics_inside_its_padding():
    a, b = (torch.rand(3, 40, 61, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (1, 2))
    full = structural_similarity_index_measure(a.movedim(-1, 1), b.movedim(-1, 1), data_range=1.0, reduction="none",
                                               return_full_image=True)[1]
    assert ssim(a, b, data_range=1.0).tolist() == pytest.approx(full[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)).tolist(), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(offset=st.integers(1, 255), height=st.integers(1, 40), width=st.integers(1, 40))
def test_psnr_of_a_constant_offset(offset, height, width):
    dark = torch.zeros(height, width, 3, dtype=torch.uint8)
    expected = 20 * math.log10(255 / offset)
    assert psnr(dark + offset, dark, data_range=255).item() == pytest.approx(expected, abs=1e-9)
    assert psnr((dark + offset) / 255, dark / 255, data_range=1).item() == pytest.approx(expected, abs=1e-4)


def test_ssim_of_flat_frames_is_their_luminance_term():
    a, b = torch.full((20, 20, 3), 0.8), torch.full((20, 20, 3), 0.4)
    assert ssim(a, b, data_range=1).item() == pytest.approx((2 * 0.8 * 0.4 + 1e-4) / (0.8**2 + 0.4**2 + 1e-4), abs=1e-6)


def test_each_frame_has_its_own_value_whatever_it_is_batched_with():
    a, b = (torch.randint(0, 256, (2, 5, 24, 31, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8) for seed in (1, 2))
    for metric in (psnr, ssim):
        together = metric(a, b, data_range=255)
        assert together.shape == (2, 5) and together.dtype == torch.float64
        assert together[1, 3].item() == pytest.approx(metric(a[1, 3], b[1, 3], data_range=255).item(), abs=1e-12)


def test_identical_frames_are_perfect_and_count_as_much_as_any():
    a = torch.randint(0, 256, (3, 20, 20, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    b = a.clone()
    b[0] //= 2
    values = psnr(a, b, data_range=255)
    assert torch.isinf(values).tolist() == [False, True, True]
    assert ssim(a, b, data_range=255)[1:].tolist() == pytest.approx([1, 1], abs=1e-12)
    score = average(values, "higher")
    assert score.value == pytest.approx((values[0].item() + 200) / 3) and score.parts["identical frames"] == 2 and "2 of 3" in score.note
    assert average(values[1:], "higher").value == 100
    # Worse on every frame, and so on the whole.
    better, worse = (psnr(torch.stack([a[0], a[1] // step, a[2] // step]), a, data_range=255) for step in (2, 3))
    worse[0] = 40
    assert average(worse, "higher").value < average(better, "higher").value
    for better, worst, best in (("higher", 20.0, 40.0), ("lower", 40.0, 20.0)):
        plain = average(torch.tensor([20.0, 30.0, 40.0]), better)
        assert (plain.value, plain.parts, plain.note) == (30.0, {"worst frame": worst, "best frame": best}, "")


@pytest.mark.parametrize("a, b, data_range, message", [
    (torch.zeros(1, 16, 16, 3), torch.zeros(2, 16, 16, 3), 1, "reference"),
    (torch.zeros(16, 16, 3), torch.zeros(16, 16, 3, dtype=torch.float64), 1, "reference"),
    (torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), 1, "H, W, 3"),
    (torch.zeros(16, 16, 3, dtype=torch.uint8), torch.zeros(16, 16, 3, dtype=torch.uint8), 1, "255"),
    (torch.zeros(16, 16, 3, dtype=torch.int64), torch.zeros(16, 16, 3, dtype=torch.int64), 255, "uint8 or floating"),
    (torch.full((16, 16, 3), -1.0), torch.zeros(16, 16, 3), 1, r"\[0, 1\]"),
    (torch.full((16, 16, 3), 255.0), torch.zeros(16, 16, 3), 1, r"\[0, 1\]"),
    (torch.full((16, 16, 3), torch.nan), torch.zeros(16, 16, 3), 1, "finite"),
])
def test_wrong_layout_type_or_range_is_refused(a, b, data_range, message):
    for metric in (psnr, ssim, ms_ssim):
        with pytest.raises(ValueError, match=message):
            metric(a, b, data_range=data_range)


# ---- several scales

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def reference_ms_ssim(a, b, data_range):
    """After the authors' msssim.m, on one plane at a time, with SciPy's filters."""
    def blurred(plane):
        kernel = np.exp(-np.arange(-5, 6) ** 2 / 4.5)
        return scipy.ndimage.correlate(plane, np.outer(kernel, kernel) / kernel.sum() ** 2)[5:-5, 5:-5]

    product = 1.0
    for scale, beta in enumerate(BETAS):
        ma, mb = blurred(a), blurred(b)
        va, vb, cov = blurred(a * a) - ma**2, blurred(b * b) - mb**2, blurred(a * b) - ma * mb
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        value = (2 * cov + c2) / (va + vb + c2)
        if scale == 4:
            value = value * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        product *= max(value.mean(), 0) ** beta
        a, b = (scipy.ndimage.correlate(plane, np.full((2, 2), 0.25), mode="reflect", origin=-1)[::2, ::2] for plane in (a, b))
    return product


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(176, 230), width=st.integers(176, 260), channels=st.sampled_from([1, 3]),
       kind=st.sampled_from(["noise", "bright", "ramp"]))
def test_ms_ssim_is_the_authors_at_any_size(seed, height, width, channels, kind):
    a, b = frames_of(seed, height, width, kind, channels)
    expected = np.mean([reference_ms_ssim(a[..., c].astype(float), b[..., c].astype(float), 255) for c in range(channels)])
    assert ms_ssim(torch.from_numpy(a), torch.from_numpy(b), data_range=255).item() == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_is_built_from_torchmetrics_parts_and_differs_from_its_whole_by_the_border():
    """torchmetrics' contrast term is over valid windows as ours is; its coarsest similarity takes the padded border in."""
    a, b = (torch.from_numpy(frame).double().movedim(-1, 0)[None] for frame in frames_of(3, 192, 256, "ramp", 1))
    b[..., :30, :] /= 2
    parts, x, y = [], a, b
    for beta in BETAS[:-1]:
        contrast = structural_similarity_index_measure(x, y, data_range=255.0, reduction="none", return_contrast_sensitivity=True)[1]
        parts.append(contrast.item() ** beta)
        x, y = torch.nn.functional.avg_pool2d(x, 2), torch.nn.functional.avg_pool2d(y, 2)
    parts.append(structural_similarity(x[0, 0].numpy(), y[0, 0].numpy(), data_range=255, **WANG) ** BETAS[-1])
    ours = ms_ssim(a[0].movedim(0, -1), b[0].movedim(0, -1), data_range=255).item()
    assert ours == pytest.approx(math.prod(parts), abs=1e-6)
    whole = multiscale_structural_similarity_index_measure(a, b, data_range=255.0).item()
    assert 1e-3 < abs(ours - whole) < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_ms_ssim_of_batches_of_any_type(dtype):
    a, b = (torch.rand(2, 2, 177, 180, 1, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in (1, 2))
    b = (a + b) / 2
    values = ms_ssim(a, b, data_range=1.0)
    assert values.shape == (2, 2) and values.dtype == torch.float64
    for place in ((0, 0), (1, 0)):
        expected = reference_ms_ssim(a[place].double().numpy()[..., 0], b[place].double().numpy()[..., 0], 1.0)
        assert values[place].item() == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_ends_negatives_and_the_smallest_size():
    a = frames_of(0, 176, 176, "noise")[0]
    same = torch.from_numpy(a)
    assert MS_SSIM_SMALLEST == 176
    assert ms_ssim(same, same, data_range=255).item() == pytest.approx(1, abs=1e-12)
    assert ms_ssim(same, 255 - same, data_range=255).item() == 0  # structure is inverted at every scale
    for height, width in ((175, 400), (400, 175)):
        small = torch.zeros(height, width, 3)
        with pytest.raises(ValueError, match=f"176x176.*{height}x{width}"):
            ms_ssim(small, small, data_range=1)
