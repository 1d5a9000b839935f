"""Resizes beside the functions they stand for, on whole pictures."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from metrics.networks.resize import resize
from utils import vision  # noqa: F401

# isort: split
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x


def tf1(frames, size):
    return interpolate_bilinear_2d_like_tensorflow1x(frames.movedim(-1, 1).float(), (size, size), align_corners=False)


def pytorch(frames, size):
    return 255 * F.interpolate(frames.movedim(-1, 1).float() / 255, (size, size), mode="bilinear", align_corners=False)


def clean(frames, size):
    planes = frames.movedim(-1, 1).numpy().astype(np.float32)
    done = [[np.array(Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC)).clip(0, 255) for plane in frame]
            for frame in planes]
    return torch.from_numpy(np.array(done))


def opencv_cubic(frames, size):
    done = [cv2.resize(frame.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC) for frame in frames.numpy()]
    return torch.from_numpy(np.array(done)).movedim(-1, 1)


@pytest.mark.parametrize("shape", [(64, 64), (17, 40), (299, 50), (360, 640), (1, 2)])
@pytest.mark.parametrize("definition", [tf1, pytorch, clean, opencv_cubic], ids=lambda function: function.__name__)
def test_agrees_with_the_function_it_stands_for(definition, shape):
    frames = torch.randint(0, 256, (2, *shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames[0, 0] = 255  # an edge that bicubic overshoots
    found, wanted = resize(frames, definition.__name__, 299), definition(frames, 299)
    assert found.shape == wanted.shape == (2, 3, 299, 299)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)


def test_the_resizes_are_not_each_other():
    frames = torch.randint(0, 256, (1, 360, 400, 3), dtype=torch.uint8)
    found = [resize(frames, kind, 299) for kind in ("tf1", "pytorch", "clean", "opencv_cubic")]
    assert all((a - b).abs().mean() > 1 for i, a in enumerate(found) for b in found[:i])


def test_a_frame_of_the_right_size_stays_as_it_is():
    frames = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    for kind in ("tf1", "pytorch", "clean", "opencv_cubic"):
        assert torch.equal(resize(frames, kind, 32), frames.movedim(-1, 1).float())
