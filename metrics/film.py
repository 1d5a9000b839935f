"""A remade film beside the real one, frame by frame as they come: likeness, and whether it moves as the real one does."""

from math import isfinite

import torch
from torch import Tensor

from metrics.pixel import WINDOW, capped, psnr, ssim
from metrics.warping import SMALLEST, estimated_flow, warping_error


class FilmScore:
    """Adds up over the frames of a film. Memory: one frame of each."""

    def __init__(self):
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._before: tuple[Tensor, Tensor] | None = None

    def add(self, made: Tensor, real: Tensor) -> None:
        """The next frame of both, uint8 (H, W, 3)."""
        self._count("psnr", capped(psnr(made, real, data_range=255)).item())
        if min(made.shape[:2]) >= WINDOW:
            self._count("ssim", ssim(made, real, data_range=255).item())
        pair = made, real
        if self._before is not None:
            changes = [now.float() - then.float() for now, then in zip(pair, self._before)]
            self._count("change", changes[0].abs().mean().item())
            self._count("change_of_input", changes[1].abs().mean().item())
            self._count("change_error", (changes[0] - changes[1]).abs().mean().item())
            if min(real.shape[:2]) >= SMALLEST:
                self._warp(pair)
        self._before = pair

    def numbers(self) -> dict[str, float]:
        """Means over frames: "psnr" in dB (100 for an equal frame), "ssim" (for frames of 11 pixels or more); over pairs of
        neighbours, in levels of 255: "change", how much the remade film changes, "change_of_input", how much the real one does,
        "change_error", by how much these changes differ, which flicker raises and frames that are wrong all alike do not. Temporal
        consistency, by the mean over such pairs of the error of :func:`metrics.warping.warping_error` along the real film's optical flow
        (for frames of 16 pixels or more, where anything is unoccluded): "warping_error", and "warping_error_of_input", the real film's
        own, which is what to come near to."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}

    def _warp(self, pair: tuple[Tensor, Tensor]) -> None:
        flows = estimated_flow(torch.stack([self._before[1], pair[1]]).numpy())
        for name, then, now in zip(("warping_error", "warping_error_of_input"), self._before, pair):
            error = warping_error(torch.stack([then, now]).double() / 255, *flows).item()
            if isfinite(error):
                self._count(name, error)

    def _count(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value
        self._counts[name] = self._counts.get(name, 0) + 1
