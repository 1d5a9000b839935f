"""Tensors to pictures."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.images import encode_png, grid, save_png, to_uint8


def test_every_byte_survives_the_way_through_floats():
    values = torch.arange(256, dtype=torch.uint8)
    video = (values.float() / 127.5 - 1).view(1, 1, 1, 1, 256).expand(2, 3, 4, 5, 256)
    assert np.array_equal(to_uint8(video), np.broadcast_to(values.numpy()[:, None], (2, 4, 5, 256, 3)))


def test_values_are_rounded_and_clipped_and_the_tensor_stays():
    values = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0, 100.4 / 127.5 - 1, 100.6 / 127.5 - 1])
    video = values.view(1, 1, 1, 1, 7).repeat(1, 3, 1, 1, 1)
    before = video.clone()
    assert to_uint8(video)[0, 0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 100, 101]
    assert torch.equal(video, before)


def test_colours_and_axes_keep_their_places():
    video = torch.full((2, 3, 4, 5, 6), -1.0, requires_grad=True).clone()
    video[1, 2, 3, 4, 0] = 1
    found = to_uint8(video.bfloat16())
    assert found.shape == (2, 4, 5, 6, 3) and found.flags.c_contiguous
    assert found[1, 3, 4, 0].tolist() == [0, 0, 255] and found.sum() == 255


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9), st.none() | st.integers(1, 5), st.integers(0, 3))
def test_every_frame_stands_in_its_cell(number, height, width, columns, gap):
    frames = np.random.default_rng(0).integers(0, 255, (number, height, width, 3), dtype=np.uint8)
    sheet = grid(frames, columns, gap)
    across = (sheet.shape[1] + gap) // (width + gap)
    assert columns is None or across == columns
    covered = np.zeros(sheet.shape[:2], bool)
    for index, frame in enumerate(frames):
        y, x = index // across * (height + gap), index % across * (width + gap)
        assert np.array_equal(sheet[y:y + height, x:x + width], frame)
        covered[y:y + height, x:x + width] = True
    assert covered.sum() == number * height * width
    assert (sheet[~covered] == 255).all()
    assert sheet.shape[0] == -(-number // across) * (height + gap) - gap


@pytest.mark.parametrize("height, width", [(64, 64), (160, 320), (90, 30)])
def test_a_sheet_is_about_as_wide_as_high(height, width):
    sheet = grid(np.zeros((16, height, width, 3), np.uint8))
    assert 1 / 2 <= sheet.shape[0] / sheet.shape[1] <= 2


def test_png_keeps_every_value_and_the_order_of_colours(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    save_png(tmp_path / "a.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], picture)
    assert (tmp_path / "a.png").read_bytes() == encode_png(picture)[:] and [path.name for path in tmp_path.iterdir()] == ["a.png"]
