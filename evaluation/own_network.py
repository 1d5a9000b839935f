"""A discriminator of ours as a feature network: what its last layer is given."""

import hashlib
import os

import torch
from torch import Tensor, nn

from metrics.networks.network import Network, wrap
from metrics.networks.penultimate import penultimate
from models.layers import MinibatchStd
from training.growth import stage
from training.restore import load_sampler
from training.step import to_float
from utils.errors import UserError


def own_network(run: str, device: str) -> Network:
    """The discriminator of the run or checkpoint ``run``. It takes clips of the size it was trained on. UserError if the run has none."""
    try:
        sampler = load_sampler(os.path.expanduser(run), device, "fp32")
    except UserError as error:
        raise UserError(str(error).replace("--checkpoint ", "--weights own=", 1)) from None
    net = sampler.nets.get("discriminator")
    if net is None:
        raise UserError(f"--weights own={run}: a {sampler.family} has no discriminator whose features could be taken")
    if stage(sampler.config, sampler.step) != (0, 1.0):
        raise UserError(f"--weights own={run}: at step {sampler.step} it has not grown to full size, so that layers are untrained; take a "
                        "later checkpoint")
    net.eval()
    # Minibatch standard deviation would make a clip's features depend on those beside it.
    alone = any(isinstance(module, MinibatchStd) for module in net.modules())
    size = sampler.config.frames, sampler.config.height, sampler.config.width

    def look(clips: Tensor) -> Tensor:
        if (clips.shape[1], *clips.shape[2:4]) != size:
            known, asked = ("x".join(map(str, shape)) for shape in (size, clips.shape[1:4]))
            raise UserError(f"--weights own={run}: it knows clips of {known}, not of {asked}")
        return torch.cat([features(to_float(part, sampler.device)) for part in (clips.split(1) if alone else [clips])])

    def features(video: Tensor) -> Tensor:
        labels = [video.new_zeros(len(video), dtype=torch.long)] if getattr(net, "takes_labels", False) else []
        return penultimate(net, video, *labels)[0]

    return wrap("own", f"own {_hash(net)}, clips, fp32", look, "clips", size[0], sampler.device)


def _hash(net: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
