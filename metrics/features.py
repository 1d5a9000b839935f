"""Features of clips: what a network makes of them, kept for each clip, and the mean and covariance of all of them."""

import torch
from torch import Tensor

from metrics.collect import Draw, Rows, check_clips
from metrics.frechet import Gaussian, StreamingGaussian
from metrics.networks.network import Network


class Features:
    """Collects features of the frames of clips, or of whole clips, as the network looks at them.

    The Gaussian is of all clips, in float64; features and logits are kept of ``draw.most`` clips, 4 bytes a value. A network of
    frames sees ``draw.frames_per_clip`` of each clip, a network of clips all of them.
    """

    def __init__(self, draw: Draw, network: Network):
        self.draw, self.network, self.needs_frames = draw, network, network.needs_frames
        self.clips = 0
        self._rows, self._stream, self._gaussian = Rows(), None, None

    @property
    def identity(self) -> str:
        """Equal only where the same clips give the same features and the same of them are kept."""
        draw = f"{self.draw.seed} {self.draw.frames_per_clip} {self.draw.clips} {self.draw.most}"
        return f"features 1, {self.network.identity}, {self.network.looks_at}, {draw}"

    def look(self, clips: Tensor, first: int) -> dict[str, Tensor]:
        """Features ``(B, K, D)``, and logits if the network classifies; K frames of each clip, 1 for a network of clips."""
        check_clips(clips, self.needs_frames)
        if self.network.looks_at == "clips":
            return {name: values.float().cpu()[:, None] for name, values in self.network.function(clips).items()}
        chosen = torch.stack([self.draw.frames(first + row, clips.shape[1]) for row in range(len(clips))])
        frames = clips[torch.arange(len(clips))[:, None], chosen]
        made = self.network.function(frames.flatten(0, 1))
        return {name: values.float().cpu().unflatten(0, chosen.shape) for name, values in made.items()}

    def add(self, seen: dict[str, Tensor]) -> None:
        features = seen["features"]
        if self._stream is None:
            self._stream = StreamingGaussian(features.shape[-1])
        self._stream.add(features.flatten(0, 1))
        kept = [row for row in range(len(features)) if self.draw.keeps(self.clips + row)]
        self._rows.append({name: values[kept] for name, values in seen.items()})
        self.clips += len(features)

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def complete(self) -> bool:
        """Whether details of all clips are kept."""
        return self.rows == self.clips

    def features(self) -> Tensor:
        """Of the kept clips, float32 ``(clips, K, D)``."""
        return self._rows.get("features")

    def logits(self) -> Tensor:
        """Of the kept clips, float32 ``(clips, K, classes)``. ValueError if the network does not classify."""
        if "logits" not in self._rows:
            raise ValueError(f"{self.network.name} does not classify")
        return self._rows.get("logits")

    def gaussian(self) -> Gaussian:
        """Of all clips."""
        if self._gaussian is None and self._stream is None:
            self._stream = StreamingGaussian(self.features().shape[-1])
            self._stream.add(self.features().flatten(0, 1))
        return self._gaussian or self._stream.gaussian()

    def select(self, rows: Tensor) -> "Features":
        part = Features(self.draw, self.network)
        part._rows, part.clips = self._rows.select(rows), len(rows)
        return part

    def state(self) -> dict[str, Tensor]:
        """All of it as tensors, for :meth:`restore`."""
        of_all = self.gaussian()
        return {name: self._rows.get(name) for name in self._rows.parts} | {
            "gaussian.mean": of_all.mean, "gaussian.covariance": of_all.covariance,
            "gaussian.count": torch.tensor(of_all.count), "clips": torch.tensor(self.clips)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """What :meth:`state` gave."""
        state = dict(state)
        self.clips = int(state.pop("clips"))
        mean, covariance, count = (state.pop(f"gaussian.{name}") for name in ("mean", "covariance", "count"))
        self._gaussian = Gaussian(int(count), mean, covariance)
        self._rows = Rows({name: [values] for name, values in state.items()})
