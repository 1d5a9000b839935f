"""FVD through a TorchScript file of the user's: the number is the distance of that network's features, and it sees time."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

import evaluate
from data.dataset import VideoDataset
from tests.test_evaluate import values_of
from utils.video import write_video

FRAMES = 12


class Toy(nn.Module):
    """Called as the published I3D file is; looks at changes between frames and at colours."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("mix", torch.randn(96, 10, generator=generator))

    def forward(self, clips: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        small = nn.functional.adaptive_avg_pool3d(clips / 255, (4, 2, 4)).flatten(1)
        change = (clips[:, :, 1:] - clips[:, :, :-1]).abs().mean(dim=(2, 3, 4)) / 10
        return torch.cat([small @ self.mix, change], dim=1)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Drifting waves: real ones, others of the same kind, and those with their frames in disorder."""
    root = tmp_path_factory.mktemp("fvd")
    torch.jit.script(Toy()).save(str(root / "i3d.pt"))
    for side, first in (("real", 0), ("like", 100), ("shuffled", 100)):
        for number in range(60):
            draw = np.random.default_rng(first + number)
            x, y = np.meshgrid(np.arange(32), np.arange(24))
            phase, speed, color = draw.uniform(0, 6), draw.uniform(0.3, 0.9), draw.uniform(60, 120, 3)
            clip = np.stack([128 + np.sin(x / 4 + y / 9 + phase + speed * t)[..., None] * color
                             for t in range(FRAMES)]).clip(0, 255).astype(np.uint8)
            clip = clip[draw.permutation(FRAMES)] if side == "shuffled" else clip
            write_video(root / side / f"{number:02d}.mp4", clip, 24)
    return root


def fvd(films, fake, output):
    evaluate.main(["--real", f"{films}/real", "--fake", f"{films}/{fake}", "--metrics", "fvd", "--weights", f"i3d={films}/i3d.pt",
                   "--num_samples", "60", "--clip_frames", str(FRAMES), "--cache_dir", f"{films}/cache", "--output", str(output),
                   "--resamples", "0"])
    return values_of(output)["metrics"]["fvd"]


def test_the_value_is_that_of_the_network_s_features_and_disorder_is_seen(films, tmp_path):
    sides = []
    for side in ("real", "like"):
        dataset = VideoDataset(films / side, 24, 32, FRAMES, cache_dir=films / "cache", split="all")
        clips = dataset.gather(torch.arange(60))["video"]
        sides.append(Toy()(clips.permute(0, 4, 1, 2, 3).float()).double().numpy())
    means, covariances = [side.mean(axis=0) for side in sides], [np.cov(side, rowvar=False) for side in sides]
    expected = ((means[0] - means[1])**2).sum() + np.trace(covariances[0] + covariances[1]
                                                           - 2 * scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real)
    like = fvd(films, "like", tmp_path)
    assert like["score"]["value"] == pytest.approx(expected, rel=1e-6)
    shuffled = fvd(films, "shuffled", tmp_path)
    assert shuffled["score"]["value"] > 2 * max(like["score"]["value"], shuffled["floor"]["value"])
    assert shuffled["protocol"]["weights"].startswith("i3d ") and "fp32" in shuffled["protocol"]["weights"]
