"""A discriminator of ours as a feature network: what its last layer is given."""

import hashlib

import torch
from torch import Tensor, nn

from metrics.networks.network import Network
from models.layers import MinibatchStd
from training.restore import Sampler, load_sampler
from training.step import to_float
from utils.errors import UserError


def own_network(run: str, device: str) -> Network:
    """The discriminator of the run or checkpoint ``run``. It takes clips of the size it was trained on. UserError if the run has none."""
    sampler = load_sampler(run, device, "fp32")
    net = sampler.nets.get("discriminator")
    if net is None:
        raise UserError(f"--weights own={run}: a {sampler.family} has no discriminator whose features could be taken")
    net.eval()
    # Minibatch standard deviation would make a clip's features depend on those beside it.
    alone = any(isinstance(module, MinibatchStd) for module in net.modules())
    size = sampler.config.frames, sampler.config.height, sampler.config.width

    def look(clips: Tensor) -> dict[str, Tensor]:
        if (clips.shape[1], *clips.shape[2:4]) != size:
            raise UserError(f"--weights own={run}: it knows clips of {'x'.join(map(str, size))}, not of {'x'.join(map(str, clips.shape[1:4]))}")
        parts = clips.split(1) if alone else [clips]
        return {"features": torch.cat([_last_input(net, to_float(part, sampler.device), sampler) for part in parts])}

    return Network("own", f"own sha256:{_hash(net)} fp32", "clips", size[0], look)


@torch.no_grad()
def _last_input(net: nn.Module, video: Tensor, sampler: Sampler) -> Tensor:
    """Float32 (B, D): what the last linear or convolutional layer that is called is given."""
    given: list[Tensor] = []

    def keep(_, inputs):
        given[:] = [inputs[0]]

    hooks = [module.register_forward_pre_hook(keep) for module in net.modules()
             if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    try:
        labels = torch.zeros(len(video), dtype=torch.long, device=video.device)
        net(video, labels) if getattr(net, "takes_labels", False) else net(video)
    finally:
        for hook in hooks:
            hook.remove()
    return given[0].reshape(len(video), -1).float().cpu()


def _hash(net: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
