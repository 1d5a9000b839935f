"""Profiles over time: beside OpenCV and NumPy, and of clips that fade, blur and come to rest."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.temporal import NAMES, Profiles


def clips_of(count, frames=4, height=20, width=30, seed=0):
    return torch.randint(0, 256, (count, frames, height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def collected(clips, batch=100):
    profiles = Profiles()
    for first in range(0, len(clips), batch):
        profiles.add(profiles.look(clips[first:first + batch], first))
    return profiles


def expected(clips):
    """(4, N, T), one frame at a time."""
    values = np.full((4, *clips.shape[:2]), np.nan)
    for n, clip in enumerate(clips.numpy()):
        for t, frame in enumerate(clip):
            luma = frame.astype(np.float64) @ [0.299, 0.587, 0.114]
            laplacian = cv2.Laplacian(luma, cv2.CV_64F, ksize=1, borderType=cv2.BORDER_REPLICATE)
            values[:3, n, t] = luma.mean(), luma.std(), np.abs(laplacian).mean()
            if t:
                values[3, n, t] = np.abs(frame.astype(float) - clip[t - 1]).mean()
    return values


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 7), frames=st.integers(1, 4), height=st.integers(1, 24), width=st.integers(1, 24), batch=st.integers(1, 8),
       seed=st.integers(0, 10**6))
def test_equal_to_opencv_and_numpy_at_any_size_in_any_batches(count, frames, height, width, batch, seed):
    clips = clips_of(count, frames, height, width, seed)
    values = expected(clips)
    profiles = collected(clips, batch).profiles()
    assert tuple(profiles) == NAMES
    for name, reference in zip(NAMES, values):
        assert profiles[name].mean.shape == profiles[name].deviation.shape == (frames,)
        assert profiles[name].mean.dtype == np.float64
        np.testing.assert_allclose(profiles[name].mean, reference.mean(axis=0), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(profiles[name].deviation, reference.std(axis=0), rtol=1e-3, atol=1e-3)
    assert np.isnan(profiles["change"].mean[0]) and np.isfinite(profiles["change"].mean[1:]).all()


def test_fading_blurring_and_coming_to_rest_are_seen():
    still = clips_of(3, 1).expand(3, 5, 20, 30, 3)
    fading = collected((still.float() * torch.linspace(1, 0, 5).view(1, 5, 1, 1, 1)).byte()).profiles()
    assert (np.diff(fading["brightness"].mean) < -10).all() and (np.diff(fading["contrast"].mean) < -5).all()
    blurred = still.clone().numpy()
    for clip in blurred:
        for t in range(1, 5):
            clip[t] = cv2.GaussianBlur(clip[t], (0, 0), t / 2)
    blurring = collected(torch.from_numpy(blurred)).profiles()
    assert (np.diff(blurring["sharpness"].mean) < 0).all() and np.ptp(blurring["brightness"].mean) < 2
    resting = collected(torch.cat([clips_of(3, 2), still[:, :2], still[:, :1]], dim=1)).profiles()["change"].mean
    assert resting[1] > 50 and resting[3] == resting[4] == 0


def test_small_spread_between_many_clips_is_kept():
    clips = torch.full((1001, 1, 4, 4, 3), 250, dtype=torch.uint8)
    clips[::2] += 1
    assert collected(clips, 7).profiles()["brightness"].deviation == pytest.approx([0.5], rel=1e-4)


def test_payload_has_one_row_per_clip():
    profiles, clips = Profiles(), clips_of(5)
    payload = profiles.look(clips, 0)
    assert all(values.shape == (5, 4) and values.dtype == torch.float64 for values in payload.values())
    alone = profiles.look(clips[3:4], 3)
    assert all(torch.equal(alone[name][0].nan_to_num(), payload[name][3].nan_to_num()) for name in NAMES)
    assert profiles.clips == 0


def test_wrong_clips_are_refused():
    good = clips_of(2)
    for bad in (good.float(), good[0], good[..., :1], good[:, :0]):
        with pytest.raises(ValueError, match="uint8"):
            Profiles().look(bad, 0)
    profiles = collected(good)
    with pytest.raises(ValueError, match="3 frames after clips of 4"):
        profiles.add(profiles.look(good[:, :3], 2))
    with pytest.raises(ValueError, match="no clips"):
        Profiles().profiles()
