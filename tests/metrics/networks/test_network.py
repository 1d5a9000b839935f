"""What all networks share; the random one; features behind the last linear layer; files that are refused."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from metrics.lpips import lpips
from metrics.networks import fixed
from metrics.networks.network import KINDS, load_network, wrap
from metrics.networks.penultimate import penultimate
from metrics.networks.reading import fill, read_tensors
from metrics.networks.weights import SOURCES
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def videos(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("looks_at, shape, digest", [("frames", (40, 65, 50), "c96eb41e4ce74d67"),
                                                     ("clips", (10, 5, 24, 18), "6ca7eeebe8f85d0d")])
def test_random_features_do_not_depend_on_the_batch_and_tell_videos_apart(looks_at, shape, digest):
    network = load_network("random", {}, looks_at=looks_at)
    given = videos(*shape)
    given[1] = given[1] // 4 + 96  # less contrast
    found = network.function(given)["features"]
    assert found.shape == (len(given), 480) and found.dtype == torch.float32 and not found.requires_grad
    one_by_one = torch.cat([network.function(video[None])["features"] for video in given[:3]])
    torch.testing.assert_close(found[:3], one_by_one, rtol=1e-5, atol=1e-6)
    assert (found[0] - found[1]).norm() > 2 * (found[0] - found[2]).norm()
    # On every machine, for ever: numbers measured with these weights must stay comparable.
    assert network.identity.startswith(f"random {digest}, {looks_at}")


def test_random_clips_see_the_order_of_frames():
    network = load_network("random", {}, looks_at="clips")
    ramp = torch.arange(8).view(1, 8, 1, 1, 1).mul(30).expand(1, 8, 16, 16, 3).to(torch.uint8)
    shuffled = ramp[:, [0, 4, 2, 6, 1, 5, 3, 7]]
    a, b = (network.function(video)["features"] for video in (ramp, shuffled))
    assert (a - b).norm() / a.norm() > 0.01


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (1, 90, 3)])
def test_random_takes_frames_of_any_size(shape):
    assert load_network("random", {}).function(videos(*shape))["features"].isfinite().all()
    assert load_network("random", {}, looks_at="clips").function(videos(shape[0], 1, *shape[1:]))["features"].isfinite().all()


def test_random_is_the_same_in_another_process():
    code = ("import torch; from metrics.networks.network import load_network; torch.manual_seed(99); "
            "n = load_network('random', {}); f = n.function(torch.arange(192).to(torch.uint8).view(1, 8, 8, 3))['features']; "
            "print(n.identity); print(f.double().sum().item())")
    identity, total = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                                     env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout.splitlines()
    network = load_network("random", {})
    here = network.function(torch.arange(192).to(torch.uint8).view(1, 8, 8, 3))["features"]
    assert identity == network.identity and float(total) == pytest.approx(here.double().sum().item(), rel=1e-6)


def test_random_weights_are_as_large_as_they_should_be():
    for level, (weight, bias) in enumerate(fixed.weights("clips")):
        fan_in = weight[0].numel()
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1) and abs(weight.mean()) < weight.std() / 5
        assert len(bias) == fixed.WIDTHS[level] and bias.abs().max() <= 0.1


def test_a_network_of_our_own_can_be_wrapped():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 1)).train()
    network = wrap("mine", "mine 1", lambda frames: penultimate(net, frames.float())[0], "frames")
    found = network.function(videos(70, 2, 2))["features"]
    wanted = net[:3](videos(70, 2, 2).float())
    torch.testing.assert_close(found, wanted)
    assert wanted.requires_grad and not found.requires_grad and network.identity == "mine 1"


def test_penultimate_is_what_went_into_the_last_layer_that_ran():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first, self.unused = nn.Linear(4, 2), nn.Linear(3, 4), nn.Linear(9, 9)

        def forward(self, x, gain=1.0):
            return self.last(self.first(x).tanh() * gain)

    net, x = Odd(), torch.randn(6, 3)
    features, output = penultimate(net, x, gain=2.0)
    torch.testing.assert_close(features, net.first(x).tanh() * 2)
    torch.testing.assert_close(output, net(x, 2.0))
    assert not any(part._forward_pre_hooks for part in net.modules()), "no hook stays behind"
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 2))
    pictures = torch.randn(5, 3, 2, 2)
    torch.testing.assert_close(penultimate(convolutions, pictures)[0], convolutions[:2](pictures).flatten(1))
    with pytest.raises(ValueError, match="ReLU runs no such layer"):
        penultimate(nn.ReLU(), torch.zeros(1, 3))


def test_what_is_not_video_is_an_error_of_the_caller():
    network = load_network("random", {})
    for wrong in (videos(2, 4, 4).float(), videos(2, 3, 4, 4), videos(0, 4, 4), videos(2, 4, 4).movedim(-1, 1)):
        with pytest.raises(ValueError, match=r"looks at uint8 \(B, H, W, 3\)"):
            network.function(wrong)


def test_requests_that_cannot_be_met_say_what_can():
    with pytest.raises(UserError, match="called vgg; there are inception, i3d"):
        load_network("vgg", {})
    with pytest.raises(UserError, match="inception looks at frames, not at clips; those that do are i3d, c3d, r3d_18, s3d, script, random"):
        load_network("inception", {}, looks_at="clips")
    with pytest.raises(UserError, match="resize bad: the network inception takes one of tf1, pytorch, clean"):
        load_network("inception", {}, resize="bad")
    with pytest.raises(UserError, match="resize clean: the network random takes none"):
        load_network("random", {}, resize="clean")


def test_every_network_knows_where_its_weights_are_published():
    assert {file for kind in KINDS.values() for file in kind.files} | {"lpips"} == set(SOURCES)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BOMB", str(tmp_path / "went off"))
    torch.save({"fc.weight": Bomb()}, tmp_path / "new.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for name in ("new.pth", "old.pth"):
        with pytest.raises(UserError, match=f"{name}: not a file of tensors") as caught:
            read_tensors("inception", tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "went off").exists()


def test_a_refused_file_is_one_line_without_warnings(tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv("BOMB", str(tmp_path / "went off"))
    (tmp_path / "protocol4.pth").write_bytes(pickle.dumps(Bomb(), protocol=4))
    torch.jit.script(nn.Linear(2, 3)).save(tmp_path / "script.pt")
    recwarn.clear()
    for name in ("protocol4.pth", "script.pt"):
        with pytest.raises(UserError, match=name):
            read_tensors("inception", tmp_path / name)
        with pytest.raises(UserError, match=name):
            lpips(tmp_path / name)
    assert not list(recwarn)


def test_features_that_are_not_finite_are_the_weights_fault():
    network = wrap("mine", "mine 1234", lambda frames: torch.full((len(frames), 2), torch.nan), "frames")
    with pytest.raises(UserError, match="network mine 1234: gives values that are not finite"):
        network.function(torch.zeros(2, 8, 8, 3, dtype=torch.uint8))


def test_files_of_something_else_are_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "empty.pth").touch()
    for name, said in (("list.pth", "no table of tensors"), ("text.pth", "not a file of tensors"), ("empty.pth", "not a file of tensors"),
                       ("text.safetensors", "not a safetensors file")):
        with pytest.raises(UserError, match=said):
            read_tensors("inception", tmp_path / name)
    net = nn.Linear(2, 3)
    with pytest.raises(UserError, match=r"no weights of x \(weight is \(3, 1\), not \(3, 2\)\)"):
        fill(net, {"weight": torch.zeros(3, 1), "bias": torch.zeros(3)}, "x", tmp_path)
    with pytest.raises(UserError, match="bias is missing"):
        fill(net, {"weight": torch.zeros(3, 2)}, "x", tmp_path)
