"""Inception beside torch-fidelity's own, with random weights of its real shape."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from metrics.networks import inception
from metrics.networks.network import load_network
from metrics.networks.reading import read_tensors
from tests.metrics.networks.test_resize import clean, pytorch
from utils.errors import UserError
from utils.vision import torchvision

# isort: split
from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d


@pytest.fixture(scope="module")
def names() -> dict[str, torch.Size]:
    """Of the network from which pytorch-fid builds its own, and the shapes."""
    with torch.device("meta"):
        net = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    return {key: value.shape for key, value in net.state_dict().items()}


@pytest.fixture(scope="module")
def weights(names, tmp_path_factory):
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for key, shape in names.items():
        if key.endswith("num_batches_tracked"):  # files older than these have none
            continue
        if len(shape) == 4:
            tensors[key] = torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5
        elif key.endswith(("running_var", "bn.weight")):
            tensors[key] = 0.5 + torch.rand(shape, generator=generator)
        else:
            tensors[key] = 0.1 * torch.randn(shape, generator=generator)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def reference(weights):
    """torch-fidelity's extractor, untouched."""
    return inception.extractor(read_tensors("inception", weights), weights)


@pytest.fixture(scope="module")
def frames():
    frames = torch.randint(0, 256, (3, 48, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    frames[1] //= 4
    return frames


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def test_features_and_logits_are_those_of_torch_fidelity(weights, reference, frames):
    network = load_network("inception", {"inception": str(weights)})
    found = network.function(frames)
    features, logits = reference(frames.movedim(-1, 1))
    assert found["features"].shape == (3, 2048) and found["logits"].shape == (3, 1008)
    assert off(found["features"], features) < 1e-5 and off(found["logits"], logits) < 1e-5
    assert off(features[0], features[1]) > 0.05, "frames must differ for agreement to mean something"
    assert any(isinstance(block.bn, nn.BatchNorm2d) for block in reference.modules() if isinstance(block, BasicConv2d))
    assert network.looks_at == "frames" and network.needs_frames == 1


@pytest.mark.parametrize("resize, normalised", [("pytorch", lambda frames: 2 * pytorch(frames, 299) / 255 - 1),
                                                ("clean", lambda frames: (clean(frames, 299) - 128) / 128)], ids=["pytorch", "clean"])
def test_other_resizes_show_the_network_what_their_tools_show_it(weights, reference, frames, resize, normalised):
    found = load_network("inception", {"inception": str(weights)}, resize=resize).function(frames[:2])
    wanted = nn.Sequential(*list(reference.children())[:-1])(normalised(frames[:2])).flatten(1)
    assert off(found["features"], wanted) < 1e-5


def test_bf16_is_near_and_says_so(weights, reference, frames):
    network = load_network("inception", {"inception": str(weights)}, precision="bf16")
    found, wanted = network.function(frames[:2])["features"], reference(frames[:2].movedim(-1, 1))[0]
    assert found.dtype == torch.float32 and 1e-4 < off(found, wanted) < 0.02
    assert network.identity.endswith("tf1 resize, bf16")


def test_safetensors_do_as_well(weights, frames, tmp_path):
    save_file(read_tensors("inception", weights), tmp_path / "w.safetensors")
    ours = [load_network("inception", {"inception": str(path)}) for path in (weights, tmp_path / "w.safetensors")]
    assert torch.equal(*[network.function(frames[:1])["features"] for network in ours])
    assert ours[0].identity != ours[1].identity, "other files, other hashes"


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"fc.weight": torch.zeros(1008, 2048)}, path)
    with pytest.raises(UserError, match="not those of FID's Inception") as caught:
        load_network("inception", {"inception": str(path)})
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
