"""Values of pairs by film."""

from pathlib import Path

import numpy as np
import torch

from metrics.pairs import Pair, compare_pairs, curves
from metrics.registry import choose


def test_curves_keep_each_film_s_values_in_order():
    """Film n has n + 2 frames, and its frame t is off by t + 1 levels: PSNR falls over time."""
    pairs = [Pair(f"walk/{number}", Path(f"real/{number}"), Path(f"fake/{number}")) for number in (3, 0)]

    def read(path):
        for time in range(int(path.name) + 2):
            yield np.full((16, 16, 3), 100 + (time + 1 if path.parent.name == "fake" else 0), np.uint8)

    compared = compare_pairs(pairs, choose("psnr,ssim"), read, batch_size=2)
    found = curves(compared, "psnr")
    assert list(found) == ["walk/3", "walk/0"]
    for name, frames in (("walk/3", 5), ("walk/0", 2)):
        np.testing.assert_allclose(found[name], 20 * np.log10(255 / np.arange(1, frames + 1)))
    assert torch.equal(torch.from_numpy(np.concatenate(list(curves(compared, "ssim").values()))), compared.values["ssim"])
