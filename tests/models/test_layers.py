"""Layers beside their peers: torch's batch normalisation, TensorFlow's padding, a closed form."""

import math

import pytest
import torch
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from torch import nn

from models.layers import BatchNorm, Conv3d, ConvTranspose3d, MinibatchStd, PooledConv3d, SamePad, trilinear
from tests.ports import free_port
from utils.errors import UserError


def pair(channels: int = 5) -> tuple[BatchNorm, nn.BatchNorm2d]:
    torch.manual_seed(1)
    own, peer = BatchNorm(channels), nn.BatchNorm2d(channels)
    with torch.no_grad():
        own.weight.uniform_(0.5, 1.5)
        own.bias.normal_()
    peer.load_state_dict({**own.state_dict(), "num_batches_tracked": torch.tensor(0)})
    return own, peer


def outputs_and_gradients(layer: nn.Module, x: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_(True)
    y = layer(x)
    (y * weights).sum().backward()
    return [y.detach(), x.grad, layer.weight.grad, layer.bias.grad]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_batch_norm_is_batch_norm(training):
    own, peer = pair()
    x, weights = torch.randn(6, 5, 3, 4) * 3 + 1, torch.randn(6, 5, 3, 4)
    for _ in range(2):
        for layer in (own, peer):
            layer.train(training).zero_grad()
        for mine, theirs in zip(outputs_and_gradients(own, x, weights), outputs_and_gradients(peer, x, weights)):
            torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(own.running_mean, peer.running_mean)
    torch.testing.assert_close(own.running_var, peer.running_var)
    assert (own.running_mean.abs().max() > 0) == training


def test_a_frozen_batch_norm_keeps_its_statistics_and_still_normalises():
    own, _ = pair()
    own.train().requires_grad_(False)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    x = torch.randn(6, 5, 3, 4) * 3 + 1
    y = own(x)
    assert all(torch.equal(before[name], value) for name, value in own.state_dict().items())
    torch.testing.assert_close(y.mean((0, 2, 3)), own.bias, atol=1e-5, rtol=1e-5)


def _batch(channels: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(6, channels, 3, 4, generator=generator) * 3 + 1, torch.randn(6, channels, 3, 4, generator=generator)


def _one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        own, _ = pair()
        rows = slice(3 * rank, 3 * rank + 3)
        x, weights = _batch()
        results = outputs_and_gradients(own, x[rows], weights[rows])
        frozen, _ = pair()
        frozen.requires_grad_(False)
        frozen(x[rows])
        torch.save([*results, own.running_mean, own.running_var, frozen.running_mean], f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_batch_norm_over_two_processes_is_that_of_the_whole_batch(tmp_path):
    multiprocessing.spawn(_one_of_two, (free_port(), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    whole, _ = pair()
    y, x_grad, weight_grad, bias_grad = outputs_and_gradients(whole, *_batch())
    close = dict(atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([first[0], second[0]]), y, **close)
    torch.testing.assert_close(torch.cat([first[1], second[1]]), x_grad, **close)
    # Each process holds the gradient of its own rows; the loop averages them.
    torch.testing.assert_close(first[2] + second[2], weight_grad, **close)
    torch.testing.assert_close(first[3] + second[3], bias_grad, **close)
    for statistics in (first, second):
        torch.testing.assert_close(statistics[4], whole.running_mean, **close)
        torch.testing.assert_close(statistics[5], whole.running_var, **close)
        assert statistics[6].abs().max() == 0  # frozen


def test_minibatch_std_in_closed_form():
    a, b = 3.0, 7.0
    x = torch.stack([torch.full((2, 4, 5), value) for value in (a, a, b, b, a, a, a, a)])
    y = MinibatchStd(group=4)(x)
    assert y.shape == (8, 3, 4, 5)
    assert torch.equal(y[:, :2], x)
    torch.testing.assert_close(y[:4, 2], torch.full((4, 4, 5), (b - a) / 2))
    torch.testing.assert_close(y[4:, 2], torch.full((4, 4, 5), 1e-4))  # sqrt of the epsilon under the root


@pytest.mark.parametrize("batch, size", [(1, 1), (2, 2), (3, 3), (6, 3), (5, 1), (8, 4)])
def test_minibatch_std_takes_the_largest_group_that_divides_the_batch(batch, size):
    x = torch.arange(batch, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 2, 3, 3)
    deviation = math.sqrt((size**2 - 1) / 12 + 1e-8)  # of 0, 1 ... size - 1
    torch.testing.assert_close(MinibatchStd()(x)[:, 2], torch.full((batch, 3, 3), deviation))


@pytest.mark.parametrize("kernel", range(1, 9))
@pytest.mark.parametrize("side", [5, 8])
def test_same_pad_is_tensorflows_rule(kernel, side):
    """TensorFlow, stride 1: kernel - 1 zeros in all, the smaller half before (tf.nn documentation, "Notes on padding")."""
    total = max(kernel - 1, 0)
    top = total // 2
    x = torch.randn(1, 1, side, side)
    padded = SamePad(kernel)(x)
    assert padded.shape[-2:] == (side + total, side + total)
    assert torch.equal(padded[:, :, top:top + side, top:top + side], x)
    assert padded.square().sum() == pytest.approx(x.square().sum().item())
    # Where the kernel is odd, torch's own symmetric "same" is the peer.
    if kernel % 2:
        conv = nn.Conv2d(1, 1, kernel, padding="same", bias=False)
        torch.testing.assert_close(nn.functional.conv2d(padded, conv.weight), conv(x))


def right_in_bfloat16(layer: nn.Module, x: torch.Tensor, exact: torch.Tensor, weight: torch.Tensor) -> None:
    """Values are ``exact`` and gradients those of ``weight``, both float64, although memory is full of what would spoil them."""
    direction = torch.randn(exact.shape).bfloat16()
    expected, = torch.autograd.grad(exact, weight, direction.double())
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            values = layer(x)
        rubbish = [torch.full((1 << size,), float("nan")) for size in range(8, 18)]
        del rubbish
        found, = torch.autograd.grad(values, layer.weight, direction)
        assert (values.double() - exact).abs().max() < 0.03 * exact.abs().max()
        assert (found.double() - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize("kind", [Conv3d, ConvTranspose3d])
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel, stride", [((3, 3, 3), (1, 1, 1)), ((3, 4, 4), (1, 2, 2))])
def test_convolutions_over_few_frames_are_right_in_bfloat16(kind, frames, kernel, stride):
    torch.manual_seed(0)
    layer = kind(8, 16, kernel, stride, 1)
    x = torch.randn(4, 8, frames, 6, 6).bfloat16().float().requires_grad_()
    plain = torch.nn.functional.conv3d if kind is Conv3d else torch.nn.functional.conv_transpose3d
    weight = layer.weight.detach().bfloat16().double().requires_grad_()
    exact = plain(x.detach().double(), weight, layer.bias.double(), stride, 1)
    right_in_bfloat16(layer, x, exact, weight)


@pytest.mark.parametrize("kind, rows", [(Conv3d, 2), (Conv3d, 4), (ConvTranspose3d, 1), (ConvTranspose3d, 2)])
@pytest.mark.parametrize("frames, kernel, stride", [(2, 4, 2), (4, 4, 2), (2, (3, 4, 4), (1, 2, 2)), (4, (3, 4, 4), (1, 2, 2))])
def test_convolutions_down_to_one_row_are_right_in_bfloat16(kind, rows, frames, kernel, stride):
    torch.manual_seed(0)
    layer = kind(8, 16, kernel, stride, 1)
    x = torch.randn(4, 8, frames, rows, 4).bfloat16().float().requires_grad_()
    plain = torch.nn.functional.conv3d if kind is Conv3d else torch.nn.functional.conv_transpose3d
    weight = layer.weight.detach().bfloat16().double().requires_grad_()
    right_in_bfloat16(layer, x, plain(x.detach().double(), weight, layer.bias.double(), stride, 1), weight)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_convolutions_that_continue_the_edge_are_right_in_bfloat16(frames):
    torch.manual_seed(0)
    layer = Conv3d(8, 16, 3, padding=1, padding_mode="replicate")
    x = torch.randn(4, 8, frames, 6, 6).bfloat16().float().requires_grad_()
    weight = layer.weight.detach().bfloat16().double().requires_grad_()
    exact = nn.functional.conv3d(nn.functional.pad(x.detach().double(), (1,) * 6, mode="replicate"), weight, layer.bias.double())
    right_in_bfloat16(layer, x, exact, weight)


@pytest.mark.parametrize("pool", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 1, 2)])
@pytest.mark.parametrize("kernel, padding, bias", [(3, 1, True), (1, 0, False)])
def test_a_pooled_convolution_is_a_convolution_and_a_mean(kernel, padding, bias, pool):
    """Values, slopes and the slopes of slopes that gradient penalties take."""
    torch.manual_seed(0)
    layer = PooledConv3d(3, 5, kernel, pool, padding=padding, bias=bias).double()
    plain = nn.Conv3d(3, 5, kernel, padding=padding, bias=bias).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 4, 6, 10, dtype=torch.float64, requires_grad=True)
    found = []
    for function, weight in ((layer, layer.weight), (lambda x: nn.functional.avg_pool3d(plain(x), pool), plain.weight)):
        values = function(x)
        slopes, = torch.autograd.grad(values.square().sum(), x, create_graph=True)
        found.append([values, slopes, *torch.autograd.grad(slopes.square().sum(), (x, weight))])
    for mine, theirs in zip(*found):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("rows", [2, 6])
@pytest.mark.parametrize("frames, pool", [(1, (1, 2, 2)), (2, (1, 2, 2)), (2, (2, 2, 2)), (4, (2, 2, 2))])
def test_pooled_convolutions_over_few_frames_or_rows_are_right_in_bfloat16(frames, pool, rows):
    torch.manual_seed(0)
    layer = PooledConv3d(8, 16, 3, pool, padding=1)
    x = torch.randn(4, 8, frames, rows, 6).bfloat16().float()
    exact = nn.functional.avg_pool3d(nn.functional.conv3d(x.double(), layer.weight.double(), layer.bias.double(), 1, 1), pool)
    right_in_bfloat16(layer, x, exact, layer.weight)


def test_batch_norm_of_a_single_value_is_refused_in_words():
    with pytest.raises(UserError, match="--batch_size"):
        BatchNorm(3)(torch.randn(1, 3))
    assert torch.isfinite(BatchNorm(3)(torch.randn(1, 3, 1, 2))).all()


@pytest.mark.parametrize("over_time", [1, 2])
@pytest.mark.parametrize("frames", [1, 4])
def test_what_cuda_takes_for_trilinear_is_trilinear(over_time, frames):
    x = torch.randn(2, 3, frames, 5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    made, peer = trilinear(x, over_time), F.interpolate(x, scale_factor=(over_time, 2, 2), mode="trilinear")
    torch.testing.assert_close(made, peer)
    weight = torch.randn(peer.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(*(torch.autograd.grad((result * weight).sum(), x)[0] for result in (made, peer)))
