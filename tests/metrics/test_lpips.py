"""LPIPS with random weights of the real shapes: beside torchmetrics' own class, and written out from the paper."""

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from metrics.lpips import OFFICIAL, SMALLEST, lpips
from utils.errors import UserError
from utils.vision import torchvision

# isort: split
from torchmetrics.functional.image import lpips as theirs  # after utils.vision, without which it may not load

COMPARED = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # ReLUs whose output is compared


def layers_of(net, tensors):
    """torchvision's layers in a row, with these weights."""
    with torch.device("meta"):
        layers = (torchvision.models.alexnet() if net == "alex" else torchvision.models.vgg16(init_weights=False)).features
    layers.load_state_dict(tensors, assign=True)
    return layers.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["alex", "vgg"])
def backbone(request, tmp_path_factory):
    """(net, torchmetrics' network of random weights, the backbone's weights by number, their file in torchvision's form)."""
    torch.manual_seed(0)
    network = theirs._LPIPS(net=request.param, pnet_rand=True)
    tensors = {name.split(".", 1)[1]: value for name, value in network.net.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / OFFICIAL[request.param]
    torch.save({f"features.{name}": value for name, value in tensors.items()} | {"classifier.1.weight": torch.zeros(3, 4)}, path)
    return request.param, network, tensors, path


@pytest.fixture
def tensors():
    """AlexNet's, by number."""
    torch.manual_seed(1)
    return dict(torchvision.models.alexnet().features.state_dict())


def frames_of(shape, seed):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_equal_to_torchmetrics_class_with_the_same_weights(backbone):
    net, network, _, path = backbone
    a, b = frames_of((2, 2, 64, 72, 3), 1), frames_of((2, 2, 64, 72, 3), 2)
    expected = theirs._lpips_update(*(x.flatten(0, 1).movedim(-1, 1) / 255 for x in (a, b)), network, normalize=True)
    ours = lpips(path, net)(a, b, data_range=255)
    assert ours.shape == (2, 2) and ours.dtype == torch.float64 and (ours > 1e-3).all()
    assert ours.flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_equal_to_the_paper_written_out(backbone):
    net, _, tensors, path = backbone
    linear = torch.load(Path(theirs.__file__).parent / "lpips_models" / f"{net}.pth", map_location="cpu", weights_only=True)
    a, b = frames_of((48, 64, 3), 3), frames_of((48, 64, 3), 4)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # of ImageNet
    x, y = (((side / 255 - mean) / deviation).movedim(-1, 0)[None] for side in (a, b))
    total = 0.0
    for index, layer in enumerate(layers_of(net, tensors)[:COMPARED[net][-1] + 1]):
        x, y = layer(x), layer(y)
        if index in COMPARED[net]:
            difference = (x / x.norm(dim=1, keepdim=True) - y / y.norm(dim=1, keepdim=True)).square()
            weight = linear[f"lin{COMPARED[net].index(index)}.model.1.weight"]
            total += (difference * weight.view(1, -1, 1, 1)).sum(dim=1).mean().item()
    assert lpips(path, net)(a, b, data_range=255).item() == pytest.approx(total, rel=1e-4)


def test_zero_for_equal_frames_symmetric_and_independent_of_the_batch(backbone, monkeypatch):
    net, _, _, path = backbone
    metric = lpips(path, net)
    a, b = frames_of((3, 40, 33, 3), 5), frames_of((3, 40, 33, 3), 6)
    values = metric(a, b, data_range=255)
    assert metric(a, a, data_range=255).tolist() == [0, 0, 0]
    assert metric(b, a, data_range=255).tolist() == pytest.approx(values.tolist(), rel=1e-6)
    assert metric(a / 255, b / 255, data_range=1.0).tolist() == pytest.approx(values.tolist(), rel=1e-4)
    monkeypatch.setattr("metrics.lpips._PIXELS", 2 * 40 * 33)
    assert metric(a, b, data_range=255).tolist() == pytest.approx(values.tolist(), rel=1e-5)
    state = torch.random.get_rng_state()
    lpips(path, net)
    assert torch.equal(state, torch.random.get_rng_state())


def test_safetensors_with_or_without_the_prefix(tmp_path, tensors):
    save_file(tensors, tmp_path / "short")
    save_file({f"features.{name}": value for name, value in tensors.items()}, tmp_path / "long")
    a, b = frames_of((33, 33, 3), 7), frames_of((33, 33, 3), 8)
    short, long = (lpips(str(tmp_path / name))(a, b, data_range=255).item() for name in ("short", "long"))
    assert short == long > 0


def test_smallest_frames(backbone):
    net, _, _, path = backbone
    metric, side = lpips(path, net), SMALLEST[net]
    assert metric(frames_of((side, side, 3), 1), frames_of((side, side, 3), 2), data_range=255).item() > 0
    for bad in ((side - 1, 64, 3), (64, side - 1, 3), (64, 64, 1)):
        with pytest.raises(ValueError, match=f"{side}x{side}.*{bad[0]}x{bad[1]} with {bad[2]}"):
            metric(frames_of(bad, 1), frames_of(bad, 2), data_range=255)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def test_useless_files_are_one_line_that_says_what_to_get(tmp_path, tensors, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no weights at all")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "torn").write_bytes(struct.pack("<Q", 50) + b'{"a": ')
    torch.save([1, 2], tmp_path / "list")
    torch.save(dict.fromkeys(tensors, 1.5), tmp_path / "numbers")
    torch.save({"features.0.weight": Harmful()}, tmp_path / "harmful")
    torch.save({f"features.{name}": value for name, value in tensors.items() if name != "0.bias"}, tmp_path / "part")
    torch.save({name: value[:1] for name, value in tensors.items()}, tmp_path / "small")
    none, unreadable, wrong = "--metrics lpips needs", "not a state_dict", "holds no weights of alexnet"
    for name, said in ((None, none), ("", none), ("absent", "no such file"), ("text", unreadable), ("empty", unreadable),
                       ("torn", unreadable), ("list", unreadable), ("harmful", unreadable), ("numbers", wrong), ("part", wrong),
                       ("small", wrong)):
        with pytest.raises(UserError) as caught:
            lpips(name)
        message = str(caught.value)
        assert said in message and "\n" not in message and len(message) < 400, message
        assert f"https://download.pytorch.org/models/{OFFICIAL['alex']}" in message and "--weights lpips=PATH" in message
    assert not (tmp_path / "harm").exists()
    with pytest.raises(UserError, match="vgg16-397923af.pth"):
        lpips("absent", "vgg")
