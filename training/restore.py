"""From a checkpoint to samples: all that generate.py and evaluate.py need of training."""

from pathlib import Path

import torch
from torch import Tensor

from configs.schema import TrainConfig, from_dict
from training import checkpoint, samples
from training.registry import MODELS
from training.setup import build_task
from training.task import DataInfo, Request
from utils import distributed, hardware


class Sampler:
    """A trained generator. ``config``: what it was trained with; ``videos``: the fingerprint of what it was trained on; ``fps`` and
    ``frame_skip``: rate of those frames, the latter None if it is not known; ``shown``: the labels that its training clips had."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype):
        state = checkpoint.read_state(path)
        self.path, self.step, self.videos = path, state["step"], state["videos"]
        self.config: TrainConfig = from_dict(state["config"], MODELS, str(path / "state.json"))
        info = DataInfo(**state["data"])
        self.fps, self.frame_skip, self.classes, self.num_classes = info.fps, info.frame_skip, info.classes, info.num_classes
        self.family, self.shown = self.config.family, list(range(info.num_classes)) if info.shown is None else info.shown
        self._task = build_task(self.config, info, device)
        self.nets = self._task.nets
        checkpoint.load_nets(self._task.nets, checkpoint.read_tensors(path, "nets"), path)
        averaged = {name: self._task.nets[name] for name in self._task.ema} if self.config.ema else {}
        checkpoint.load_nets(averaged, checkpoint.read_tensors(path, "ema"), path)
        self._task.step = self.step  # how far its networks have grown
        self.wants_video = self._task.wants_video
        self.takes_labels = any(getattr(net, "takes_labels", False) for net in self._task.nets.values())
        self.takes_image, self.has_streams, self.names_classes = (getattr(self._task, name, False)
                                                                  for name in ("takes_image", "has_streams", "names_classes"))
        self.latent_dim, self.device, self.dtype = self._task.latent_dim, device, dtype

    def latents(self, num: int, seed: int, start: int = 0) -> Tensor:
        """(num, latent_dim), N(0, 1); row i is a function of (seed, start + i) alone."""
        return samples.latents(num, self.latent_dim, seed, start)

    def sample(self, latents: Tensor, labels: Tensor | None = None, video: Tensor | None = None) -> Tensor:
        """(B, latent_dim) -> float32 (B, 3, T, H, W) in [-1, 1] on the CPU, from the averaged weights. ``labels`` (B,) and ``video``
        (B, 3, T, H, W) where the family takes them."""
        with hardware.sampling(self.dtype, self.device):
            return samples.generate(self._task, self._task.nets, Request(latents, labels, video), batch_size=len(latents)).clamp_(-1, 1)

    def surest(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Candidates (B, N, latent_dim) -> which of the N the critic is surest shows the class ``labels`` (B,), (B,): rejection by a
        classifier (Razavi et al. 2019, arXiv 1906.00446). Only with ``names_classes``."""
        nets, candidates = self._task.nets, latents.shape[1]
        request = Request(latents.flatten(0, 1), labels.repeat_interleave(candidates))
        with hardware.sampling(self.dtype, self.device), samples.evaluating(nets) as device:
            # In parts: memory must not grow with the number of candidates.
            sure = [self._task.certainty(nets, request[at:at + 16].to(device)) for at in range(0, len(request.latents), 16)]
            return torch.cat(sure).view(-1, candidates).argmax(1).cpu()

    def streams(self, latents: Tensor, labels: Tensor | None = None, video: Tensor | None = None) -> dict[str, Tensor]:
        """What :meth:`sample` would give, as "film", and the parts it is made of by name, (B, 1 or 3, T, H, W).
        Only with ``has_streams``."""
        nets = self._task.nets
        with hardware.sampling(self.dtype, self.device), samples.evaluating(nets) as device:
            parts = self._task.streams(nets, Request(latents, labels, video).to(device))
            return {name: part.float().cpu() for name, part in parts.items()}


def load_sampler(path: str | Path, device: str = "auto", precision: str = "auto") -> Sampler:
    """``path``: a run directory, its ``checkpoints`` folder, or one checkpoint. UserError when there is none or it is damaged."""
    chosen = hardware.pick_device(device, distributed.local_rank())
    return Sampler(checkpoint.find(path), chosen, hardware.pick_dtype(precision, chosen))
