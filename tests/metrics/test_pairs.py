"""Values of pairs by film."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.pairs import Comparison, Pair, compare_pairs, curves, extremes
from metrics.registry import METRICS, choose


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


@pytest.mark.parametrize("name, worst", [("psnr", 1), ("lpips", 9)])
def test_the_worst_frame_is_that_of_the_metric_s_direction(name, worst):
    pair = Pair("walk", Path("real"), Path("fake"))
    compared = Comparison({name: torch.tensor([5.0, 1.0, 9.0])}, [(pair, frame) for frame in range(3)], set())
    rows = extremes(compared, name, METRICS[name], lambda path: (np.full((2, 2, 3), frame, np.uint8) for frame in range(3)))
    assert [caption.split(", ")[2] for caption, _, _ in rows] == [f"worst {name} {worst}", f"middle {name} 5", f"best {name} {10 - worst}"]
    assert [real[0, 0, 0] for _, real, _ in rows] == [{1: 1, 9: 2}[worst], 0, {1: 2, 9: 1}[worst]]


def test_large_frames_are_compared_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("metrics.pairs._PIXELS", 2 * 16 * 16)
    seen, pair = [], Pair("walk", Path("real"), Path("fake"))
    read = lambda path: (np.full((16, 16, 3), level + 10 * (path.name == "fake"), np.uint8) for level in range(5))
    metric = replace(METRICS["psnr"], function=lambda frames, *rest, **kind: seen.append(len(frames)) or METRICS["psnr"].function(
        frames, *rest, **kind))
    found = compare_pairs([pair], {"psnr": metric}, read)
    assert seen == [2, 2, 1] and found.values["psnr"].tolist() == pytest.approx([20 * np.log10(255 / 10)] * 5)


def test_content_is_that_of_the_references_and_their_names():
    read = lambda path: iter([np.full((16, 16, 3), ord(path.name), np.uint8)])
    content = lambda *pairs: compare_pairs([Pair(name, Path(real), Path("z")) for name, real in pairs], choose("psnr"), read).content
    assert content(("a", "x/r"), ("b", "x/s")) == content(("a", "y/r"), ("b", "y/s"))
    assert len({content(("a", "r"), ("b", "s")), content(("a", "r")), content(("b", "r")), content(("a", "r"), ("b", "t"))}) == 4
