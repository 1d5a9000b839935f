"""Temporal warping error: how far each frame is from the next one when that is moved back along the optical flow (Lai et
al. 2018, "Learning Blind Video Temporal Consistency", ECCV, arXiv 1808.00449, eq. 7). Flicker and drifting texture raise it.

As in the authors' program: over pixels that are not occluded, the mean of the squared difference of RGB in [0, 1].
Occlusion after Ruder et al. 2016 (arXiv 1604.08610, eqs. 5 and 6), f being the flow from frame t to t + 1 and b the one
back, taken where f leads: |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5 (the two disagree), or |grad f|^2 > 0.01 |f|^2 + 0.002 (a
boundary of motion). Ours, because a border pixel repeated would be no match: what moves out of the frame is occluded too.

Flow is estimated by OpenCV's DIS (Kroeger et al. 2016, arXiv 1603.03590) where the authors used FlowNet2: values compare
only with others made here.

A clip that stands still, or is blurred, has the lowest error of all. So read it beside the motion, and beside the error of
real clips: the nearer to theirs, the better."""

from collections.abc import Iterable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.protocol import Score

SMALLEST = 16  # shortest side that DIS takes: some wide frames of 12 to 15 rows end its process


def warping_error(frames: Tensor, forward_flows: Tensor, backward_flows: Tensor) -> Tensor:
    """The error of each pair of neighbours, with given flow.

    frames: RGB in [0, 1], floating ``(T, H, W, 3)``. forward_flows: ``(T - 1, H, W, 2)``, by how many pixels (right, down)
    each pixel of frame t has moved in frame t + 1; backward_flows: likewise from frame t + 1 to t. Returns float64
    ``(T - 1,)``, NaN for a pair with nothing unoccluded, which is to be left out. ValueError on other shapes. """
    expected = (len(frames) - 1, *frames.shape[1:3], 2)
    if frames.dim() != 4 or frames.shape[-1] != 3 or not frames.is_floating_point():
        raise ValueError(f"frames must be floating (T, H, W, 3), got {frames.dtype} {tuple(frames.shape)}")
    if forward_flows.shape != expected or backward_flows.shape != expected:
        raise ValueError(f"flows of frames {tuple(frames.shape)} must be {expected}, "
                         f"got {tuple(forward_flows.shape)} and {tuple(backward_flows.shape)}")
    frames, forward, backward = (x.double().movedim(-1, 1) for x in (frames, forward_flows, backward_flows))
    following, returned, inside = _follow(torch.cat([frames[1:], backward], dim=1), forward)
    seen = (inside & ~_disagree(forward, returned) & ~_boundary(forward)).double()
    squared = (following - frames[:-1]).square().mean(dim=1)
    return (squared * seen).sum(dim=(1, 2)) / seen.sum(dim=(1, 2))  # 0 / 0 is NaN


def estimated_flow(frames: np.ndarray) -> tuple[Tensor, Tensor]:
    """uint8 ``(T, H, W, 3)`` -> flow forth and back between neighbours, float32 ``(T - 1, H, W, 2)`` each, by DIS with its
    medium preset. ValueError if H or W is below 16."""
    if min(frames.shape[1:3]) < SMALLEST:
        raise ValueError(f"optical flow needs frames of at least {SMALLEST}x{SMALLEST} pixels; "
                         f"got {frames.shape[1]}x{frames.shape[2]}")
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]

    def flows(pairs: Iterable) -> Tensor:
        return torch.from_numpy(np.stack([estimator.calc(a, b, None) for a, b in pairs]))

    return flows(zip(grey, grey[1:])), flows(zip(grey[1:], grey))


def temporal(clips: Tensor, reference: Tensor | None = None) -> dict[str, Tensor]:
    """Temporal consistency of clips, uint8 ``(B, T, H, W, 3)`` with T >= 2 and sides of at least 16: each float64 ``(B,)``.

    - ``warping_error``: mean over its pairs of frames that have anything unoccluded, NaN where none has;
    - ``motion``: mean length of the flow, in pixels per frame;
    - ``change``: mean absolute difference between neighbouring frames of ``clips``, in levels of 255.

    The flow is that of ``reference``, clips of the same shape that show what should be seen, where there are such (paired
    tasks, as in the paper); otherwise that of the clips themselves, which then set their own standard: a static or blurred
    clip has the lowest error, so never read it without the motion. """
    for videos in (clips, clips if reference is None else reference):
        if videos.dtype != torch.uint8 or videos.dim() != 5 or videos.shape[-1] != 3 or videos.shape[1] < 2 or videos.shape != clips.shape:
            raise ValueError(f"clips and their reference must be uint8 (B, T >= 2, H, W, 3) alike, "
                             f"got {videos.dtype} {tuple(videos.shape)}")
    found = [_temporal(clip, guide) for clip, guide in zip(clips.cpu(), (clips if reference is None else reference).cpu())]
    return dict(zip(("warping_error", "motion", "change"), torch.tensor(found, dtype=torch.float64).view(-1, 3).unbind(1)))


class WarpingErrors:
    """Collects :func:`temporal` of clips as they come, by their own flow. Memory: 24 bytes per clip."""

    needs_frames = 2

    def __init__(self):
        self._found: list[dict[str, Tensor]] = []

    def look(self, clips: Tensor, first: int) -> dict[str, Tensor]:
        """clips: uint8 ``(B, T, H, W, 3)``. What ``add`` wants, each ``(B,)``; whichever number the first clip has."""
        return temporal(clips)

    def add(self, payload: dict[str, Tensor]) -> None:
        """What ``look`` made of the next clips."""
        self._found.append(payload)

    def values(self, name: str) -> Tensor:
        """float64 ``(N,)`` of all clips, in order: "warping_error" (NaN where all is occluded), "motion" or "change"."""
        return torch.cat([payload[name] for payload in self._found])

    @property
    def rows(self) -> int:
        """Clips so far."""
        return sum(len(payload["motion"]) for payload in self._found)

    def resampled(self, rows: Tensor) -> float:
        """The mean error of some of the clips, int64; a clip may come twice. NaN if none of them has any."""
        return self.values("warping_error")[rows].nanmean().item()

    @property
    def per_clip(self) -> Tensor:
        """The errors of the clips that have one, float64 ``(<= N,)``: their mean is the metric."""
        errors = self.values("warping_error")
        return errors[torch.isfinite(errors)]

    def score(self) -> Score:
        """The mean over clips (None without any), with mean motion and change as parts."""
        errors, count = self.per_clip, len(self.values("motion"))
        parts = {"motion (pixels per frame)": self.values("motion").mean().item(),
                 "change (levels of 255)": self.values("change").mean().item()}
        note = f"{count - len(errors)} of {count} clips are occluded everywhere and left out" if len(errors) < count else ""
        return Score(errors.mean().item() if len(errors) else None, parts, note)


def _temporal(clip: Tensor, guide: Tensor) -> tuple[float, float, float]:
    forward, backward = estimated_flow(guide.numpy())
    errors = warping_error(clip.double() / 255, forward, backward)
    change = (clip[1:].double() - clip[:-1]).abs().mean().item()
    return errors.nanmean().item(), forward.double().norm(dim=-1).mean().item(), change


def _follow(planes: Tensor, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is found where the flow ``(N, 2, H, W)`` leads, bilinearly: the first three of the planes ``(N, 5, H, W)``, the
    other two, and whether the place is inside the frame ``(N, H, W)``."""
    height, width = flow.shape[-2:]
    x = flow[:, 0] + torch.arange(width, device=flow.device)
    y = flow[:, 1] + torch.arange(height, device=flow.device)[:, None]
    places = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    found = F.grid_sample(planes, places, align_corners=True, padding_mode="border")
    return found[:, :3], found[:, 3:], (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _disagree(forward: Tensor, returned: Tensor) -> Tensor:
    return _squared(forward + returned) > 0.01 * (_squared(forward) + _squared(returned)) + 0.5


def _boundary(flow: Tensor) -> Tensor:
    """Gradients are differences to the next pixel; the last row and column have none in their direction."""
    right = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    down = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    return _squared(right) + _squared(down) > 0.01 * _squared(flow) + 0.002


def _squared(flow: Tensor) -> Tensor:
    return flow.square().sum(dim=1)
