"""Networks of clips: torchvision's beside themselves, TorchScript files of the test's own, C3D through Chainer's file."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metrics.networks.c3d import C3D
from metrics.networks.network import load_network
from metrics.networks.weights import MissingWeights
from utils.errors import UserError
from utils.vision import torchvision


def clips(*shape: int) -> Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name, shape, width", [("r3d_18", (2, 5, 40, 60), 512), ("s3d", (1, 24, 30, 30), 1024)])
def test_torchvision_networks_are_torchvisions(name, shape, width, tmp_path):
    torch.manual_seed(4)
    plain, videos = getattr(torchvision.models.video, name)(weights=None), clips(*shape)
    prepare = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    with torch.no_grad():
        for part in plain.modules():
            if isinstance(part, nn.BatchNorm3d):
                part.momentum = 1.0
        plain(prepare(videos.permute(0, 1, 4, 2, 3)))  # without statistics of its own, what it sees fades from layer to layer
    plain.eval()
    torch.save(plain.state_dict(), tmp_path / "w.pth")
    network = load_network(name, {name: str(tmp_path / "w.pth")})
    found = network.function(videos)
    with torch.no_grad():
        wanted = plain(prepare(videos.permute(0, 1, 4, 2, 3)))
        head = plain.fc if name == "r3d_18" else lambda x: plain.classifier(x[..., None, None, None]).flatten(1)
    for logits in (found["logits"], head(found["features"]).detach()):
        assert (logits - wanted).norm() < 1e-4 * wanted.norm() and wanted.std() > 0.1
    assert found["features"].shape == (shape[0], width)
    assert network.identity.startswith(f"{name} ") and network.identity.endswith("fp32")
    if name == "s3d":
        with pytest.raises(UserError, match="at least 14 frames, these have 13"):
            network.function(videos[:, :13])
        assert network.function(videos[:, :14])["logits"].shape == (1, 400)


class LikeI3D(nn.Module):
    """Is called as StyleGAN-V's file is."""

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert rescale and resize and return_features
        return torch.stack([x.mean((1, 2, 3, 4)), x.amax((1, 2, 3, 4)), x[:, 0, 0, 0, 0], x[:, 2, -1, 0, 0]], 1)


def scripted(module: nn.Module, path) -> str:
    torch.jit.save(torch.jit.script(module), str(path))
    return str(path)


def test_i3d_is_called_as_its_file_wants(tmp_path):
    network = load_network("i3d", {"i3d": scripted(LikeI3D(), tmp_path / "i3d.pt")}, precision="bf16")
    videos = clips(9, 11, 6, 8)
    wanted = torch.stack([videos.float().mean((1, 2, 3, 4)), videos.float().amax((1, 2, 3, 4)), videos[:, 0, 0, 0, 0].float(),
                          videos[:, -1, 0, 0, 2].float()], 1)
    torch.testing.assert_close(network.function(videos)["features"], wanted)
    assert network.looks_at == "clips" and network.needs_frames == 11 and network.identity.endswith("fp32")
    with pytest.raises(UserError, match="i3d needs clips of at least 11 frames, these have 10"):
        network.function(videos[:, :10])


class Corners(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        return torch.cat([x[:, :, 0], x[:, :, -1]], 1)


class Picture(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@pytest.mark.parametrize("looks_at, shape", [("clips", (2, 3, 4, 5)), ("frames", (40, 4, 5))])
def test_a_script_sees_pixels_from_minus_one_to_one(looks_at, shape, tmp_path):
    network = load_network("script", {"script": scripted(Corners(), tmp_path / "s.pt")}, looks_at=looks_at)
    videos = clips(*shape)
    found = network.function(videos)["features"]
    ends = videos.flatten(1, -2)[:, [0, -1]].flatten(1).float()
    torch.testing.assert_close(found, ends / 127.5 - 1)


def test_scripts_that_do_not_fit_are_refused_in_one_line(tmp_path):
    videos = clips(2, 11, 4, 5)
    with pytest.raises(UserError, match=r"returns \(2, 3, 11, 4, 5\), not \(2, features\)"):
        load_network("script", {"script": scripted(Picture(), tmp_path / "p.pt")}).function(videos)
    with pytest.raises(UserError, match="the network stops") as caught:
        load_network("i3d", {"i3d": str(tmp_path / "p.pt")}).function(videos)
    assert "\n" not in str(caught.value)
    (tmp_path / "no.pt").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="no.pt: not a TorchScript file"):
        load_network("script", {"script": str(tmp_path / "no.pt")})


@pytest.fixture
def c3d(tmp_path):
    """A small C3D, and its weights as Chainer writes them, with a mean clip."""
    torch.manual_seed(5)
    net = C3D(width=4, hidden=16, classes=7).eval()
    arrays = {key.replace(".weight", "/W").replace(".bias", "/b"): value.numpy() for key, value in net.state_dict().items()}
    np.savez(tmp_path / "c3d.npz", **arrays)
    mean = np.random.default_rng(6).uniform(80, 120, (3, 16, 128, 171)).astype(np.float32)
    np.savez(tmp_path / "mean2.npz", mean=mean)
    return net, mean, {"c3d": str(tmp_path / "c3d.npz"), "c3d_mean": str(tmp_path / "mean2.npz")}


def as_tgan_does(videos: np.ndarray, mean: np.ndarray) -> Tensor:
    """Frame by frame, step by step."""
    done = []
    for clip in videos.astype(np.float32):
        frames = np.stack([cv2.resize(frame, (128, 128), interpolation=cv2.INTER_CUBIC) for frame in clip])
        bgr = frames.transpose(3, 0, 1, 2)[::-1] - mean[..., 21:149]
        done.append(bgr[:, :, 8:120, 8:120])
    return torch.from_numpy(np.stack(done))


def test_c3d_reads_chainers_file_and_prepares_as_tgan(c3d, tmp_path):
    net, mean, given = c3d
    network, videos = load_network("c3d", given), clips(2, 17, 36, 50)
    found = network.function(videos)
    inputs = as_tgan_does(videos[:, :16].numpy(), mean)
    with torch.no_grad():
        wanted = net(inputs)
        torch.testing.assert_close(found["logits"], wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.fc8(found["features"]), wanted, rtol=1e-4, atol=1e-5)
    assert found["features"].shape == (2, 16) and network.needs_frames == 16
    assert len(network.identity.split(",")[0].split()) == 3, "the hash of the mean counts too"
    torch.jit.save(torch.jit.trace(net, inputs), str(tmp_path / "c3d.pt"))
    again = load_network("c3d", {**given, "c3d": str(tmp_path / "c3d.pt")}).function(videos)
    torch.testing.assert_close(again["logits"], wanted, rtol=1e-4, atol=1e-5)


def test_c3d_pools_and_connects_as_the_published_one_of_full_size():
    """Layer by layer: Tran et al. 2015, with Chainer's pooling, which loses no border."""
    with torch.device("meta"):
        net = C3D()
        assert net(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 101)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert shapes["conv1a.weight"] == (64, 3, 3, 3, 3) and shapes["conv5b.weight"] == (512, 512, 3, 3, 3)
    assert shapes["fc6.weight"] == (4096, 8192) and shapes["fc7.weight"] == (4096, 4096) and shapes["fc8.weight"] == (101, 4096)


def test_c3d_files_that_do_not_fit_are_refused(c3d, tmp_path, monkeypatch):
    _, _, given = c3d
    monkeypatch.setenv("VIDGAN_WEIGHTS_DIR", str(tmp_path / "empty"))
    with pytest.raises(MissingWeights, match="network c3d_mean: get mean2.npz from https://"):
        load_network("c3d", {"c3d": given["c3d"]})
    np.savez(tmp_path / "small.npz", mean=np.zeros((3, 16, 8, 8)))
    with pytest.raises(UserError, match="small.npz: holds no array mean"):
        load_network("c3d", {**given, "c3d_mean": str(tmp_path / "small.npz")})
    with pytest.raises(UserError, match="no weights of c3d .*is missing"):
        load_network("c3d", {**given, "c3d": given["c3d_mean"]})
    np.savez(tmp_path / "objects.npz", **{"conv1a/W": np.array([print], dtype=object)})
    with pytest.raises(UserError, match="objects.npz: not a NumPy archive of numbers"):
        load_network("c3d", {**given, "c3d": str(tmp_path / "objects.npz")})
