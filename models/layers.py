"""Layers that several families use."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils import distributed
from utils.errors import UserError


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167) whose statistics span all processes, on any device.

    Input (B, C, ...), any floating type; statistics are float32. Running statistics change only while the layer's own
    parameters are being trained, so a frozen network stays exactly as it was.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if distributed.world_size() > 1:
            return self._across_processes(x)
        if x.numel() == x.shape[1]:
            raise UserError("--batch_size: batch normalisation needs more than one value per channel at a time; take more clips, a smaller "
                            "--accumulate, or another normalisation (--model.g_norm, --model.d_norm)")
        learns = self.weight.requires_grad
        return F.batch_norm(x, self.running_mean if learns else None, self.running_var if learns else None,
                            self.weight, self.bias, True, self.momentum, self.eps)

    def _across_processes(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        values = x.float()
        # Shares of a batch may differ by a clip.
        sums = distributed.sum_with_gradient(torch.cat([values.sum(axes), values.new_full((1,), values.numel() / values.shape[1])]))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        centred = values - mean.view(shape)
        variance = distributed.sum_with_gradient(centred.square().sum(axes)) / count
        if self.weight.requires_grad:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
        scale = self.weight / torch.sqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class Upsample(nn.Upsample):
    """As torch's, but several times as fast on CUDA where it is trilinear: there torch gives every place of the result one thread, which
    goes through all clips and channels by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return enlarge(x, self.scale_factor, self.mode)


def enlarge(x: Tensor, scale: tuple[int, ...], mode: str) -> Tensor:
    """``F.interpolate`` of (B, C, T, H, W) by ``scale``, 1 or 2 in time and 2 in height and width."""
    if mode == "trilinear" and x.is_cuda and 4 * scale[0] * x.numel() < 2**31:  # places are counted in 32 bits there
        return trilinear(x, scale[0]).to(x.dtype)
    return F.interpolate(x, scale_factor=scale, mode=mode)


def trilinear(x: Tensor, over_time: int) -> Tensor:
    """(B, C, T, H, W) -> float32 (B, C, T * over_time, 2 H, 2 W): time first, by hand, then frame by frame."""
    frames = x.float().transpose(1, 2)
    if over_time == 2:
        before, after = torch.cat([frames[:, :1], frames[:, :-1]], 1), torch.cat([frames[:, 1:], frames[:, -1:]], 1)
        frames = torch.stack([torch.lerp(frames, before, 0.25), torch.lerp(frames, after, 0.25)], 2).flatten(1, 2)
    flat = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return F.interpolate(flat, scale_factor=2, mode="bilinear").unflatten(0, frames.shape[:2]).transpose(1, 2)


def norm_layers(kind: str, channels: int, eps: float = 1e-5) -> list[nn.Module]:
    """What follows a convolution: "batch" and "group" are one layer, all else is none. ``eps`` is batch normalisation's alone.

    Group norm (Wu & He 2018, arXiv 1803.08494) has 4 groups: with 8 and more its backward pass takes several times as long on a CPU.
    """
    if kind == "group":
        return [nn.GroupNorm(gcd(4, channels), channels)]
    return [BatchNorm(channels, eps)] if kind == "batch" else []


class Conv3d(nn.Conv3d):
    """PyTorch's, right for two frames and for a single row too.

    On CPUs some bfloat16 weight gradients are made of uninitialised memory (found in PyTorch 2.13 with oneDNN): of a kernel of 3 frames,
    stride 1 and padding 1, over an input of exactly 2 frames, and of one of 4 rows, stride 2 and padding 1, over 2 rows, or transposed
    over one. Padding that is part of the input avoids it, as any but zeros is.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.padding_mode != "zeros":
            return super().forward(x)
        x, padding = _padded(x, self.kernel_size, self.stride, self.padding)
        return F.conv3d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class ConvTranspose3d(nn.ConvTranspose3d):
    """PyTorch's, right for two frames and for a single row too: see :class:`Conv3d`."""

    def forward(self, x: Tensor) -> Tensor:
        frames, rows = _misread(x, self.kernel_size, self.stride, self.padding, rows=1)
        if not (frames or rows):
            return super().forward(x)
        y = super().forward(F.pad(x, (0, 0, rows, rows, frames, frames)))
        return y[:, :, frames:y.shape[2] - frames, 2 * rows:y.shape[3] - 2 * rows]


def _padded(x: Tensor, kernel: tuple, stride: tuple, padding: tuple) -> tuple[Tensor, tuple]:
    """Input and padding of a convolution, with the padding where it must be part of the input: see :class:`Conv3d`."""
    frames, rows = _misread(x, kernel, stride, padding, rows=2)
    if frames or rows:
        x = F.pad(x, (0, 0, rows, rows, frames, frames))
    return x, (padding[0] - frames, padding[1] - rows, padding[2])


def _misread(x: Tensor, kernel: tuple, stride: tuple, padding: tuple, rows: int) -> tuple[int, int]:
    """Whether frames, and whether ``rows``, are of the numbers that gradients are wrong for, 1 if so."""
    return (int(x.shape[2] == 2 and (kernel[0], stride[0], padding[0]) == (3, 1, 1)),
            int(x.shape[3] == rows and (kernel[1], stride[1], padding[1]) == (4, 2, 1)))


class PooledConv3d(nn.Conv3d):
    """A convolution and the mean over blocks of ``pool`` (t, h, w), each 1 or 2, of what it gives: (B, C, T, H, W) -> (B, outputs,
    T / t, H / h, W / w), all of which must be whole.

    Computed as one convolution of that stride, whose kernel is the mean of the kernel's shifts (Karras et al. 2018, arXiv 1710.10196, fuse
    so): the same function with the same weights, in a half to a quarter of the time on a CPU, as nothing is computed at the full size.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size, pool: tuple[int, int, int], padding=0, bias: bool = True):
        super().__init__(inputs, outputs, kernel_size, padding=padding, bias=bias)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        for axis, size in enumerate(self.pool):
            if size == 2:
                after = [0, 0] * (2 - axis) + [0, 1]  # of the last axis first
                weight = (F.pad(weight, after) + F.pad(weight, after[:-2] + [1, 0])) / 2
        x, padding = _padded(x, tuple(weight.shape[2:]), self.pool, self.padding)
        return F.conv3d(x, weight, self.bias, self.pool, padding)


def in_float32(x: Tensor) -> torch.autocast:
    """A context in which, where ``x`` lies, nothing is cast to a lower precision."""
    kind = x.device.type
    return torch.autocast(kind if torch.amp.is_autocast_available(kind) else "cpu", enabled=False)


def before_tanh(picture: Tensor) -> Tensor:
    """What tanh turns into ``picture``, in [-1, 1]; near black and white it would be without bound."""
    return torch.atanh(picture.clamp(-0.98, 0.98))


class SamePad(nn.Module):
    """Zero padding that keeps the size under a stride-1 convolution; the odd pixel goes right and below, as in TensorFlow."""

    def __init__(self, kernel: int):
        super().__init__()
        before = (kernel - 1) // 2
        self.pad = (before, kernel - 1 - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pad)


class MinibatchStd(nn.Module):
    """Appends one channel: the mean standard deviation over a group of the batch (Karras et al. 2018, section 3).

    (B, C, H, W) -> (B, C + 1, H, W). Groups are neighbours in the batch, so that a batch split over processes keeps its
    groups; their size is the largest divisor of B up to ``group``.
    """

    def __init__(self, group: int = 4):
        super().__init__()
        self.group = group

    def group_of(self, batch: int) -> int:
        """How many clips of so large a batch are compared."""
        return next(n for n in range(min(self.group, batch), 0, -1) if batch % n == 0)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        size = self.group_of(batch)
        values = x.float().reshape(batch // size, size, *x.shape[1:])
        # torch.var over a middle axis takes ten times as long on a CPU.
        variance = (values - values.mean(1, keepdim=True)).square().mean(1)
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))
        channel = deviation.repeat_interleave(size).view(batch, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return torch.cat([x, channel.to(x.dtype)], 1)
