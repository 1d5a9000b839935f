"""The table by class: which clips stand against which."""

import numpy as np
import torch

from evaluation.about import describe_clips, per_class
from metrics import pictures
from metrics.networks.network import Network
from metrics.registry import choose
from metrics.sets import Crowd, How, compare_sets, key_of
from metrics.tables import number

CORNER = Network("corner", "corner 1", "frames", 1, lambda frames: {"features": frames[:, 0, 0].float(), "logits": frames[:, 0, 0].float()})


def crowd(count, classes, level):
    """Clips of one colour with a little noise; ``level``: (number, class) -> grey."""
    def get(numbers):
        made = [np.random.default_rng(int(number)).normal(level(int(number), int(number) % classes), 3, (1, 8, 8, 3)) for number in numbers]
        return torch.from_numpy(np.stack(made).clip(0, 255).astype(np.uint8))
    return Crowd("", get, count, np.arange(count), labels=lambda numbers: numbers % classes)


def table(metrics, real, fake):
    metrics = choose(metrics)
    found = compare_sets(metrics, real, fake, How(1000), {("inception", "frames"): CORNER})
    (header, *rows), _ = per_class(found, real, fake, ["dark", "light"], metrics)
    return [dict(zip(header, row)) for row in rows]


def test_clips_in_the_place_of_another_class_are_not_precise():
    swapped = table("precision,recall", crowd(64, 2, lambda _, label: 50 + 100 * label), crowd(64, 2, lambda _, label: 150 - 100 * label))
    assert [(row["precision"], row["recall"]) for row in swapped] == [("0.000", "0.000")] * 2


def test_values_of_one_crowd_stand_beside_those_of_real_clips():
    rows = table("diversity,is", crowd(64, 2, lambda *_: 100), crowd(64, 2, lambda number, _: 50 + number))
    assert [list(row) for row in rows] == [["class", "clips", "diversity", "diversity, real"]] * 2
    assert all(float(row["diversity"]) > 2 * float(row["diversity, real"]) for row in rows)


def test_fewer_clips_come_from_all_parts_of_the_larger_side():
    real, fake = crowd(100, 2, lambda number, _: 2 * number), crowd(100, 2, lambda number, _: 2 * number)
    fake.labels = lambda numbers: torch.where(numbers % 5 == 0, numbers % 2, -1)  # a fifth of them
    rows = table("fid", real, fake)
    assert [row["clips"] for row in rows] == ["10", "10"] and all(float(row["fid"]) < 600 for row in rows)


def test_what_is_to_be_said_of_so_few_clips_is_said_once():
    real, fake, fid = crowd(64, 2, lambda number, _: number), crowd(64, 2, lambda number, _: number), choose("fid")
    wide = Network("wide", "wide 1", "frames", 1, lambda frames: {"features": frames.float().flatten(1)})
    found = compare_sets(fid, real, fake, How(1000), {("inception", "frames"): wide})
    (remark,) = per_class(found, real, fake, ["dark", "light"], fid)[1]
    assert remark.startswith("fid by class, dark for one: 32 samples for 192 features: the covariance is not of full rank")


def test_values_are_those_of_the_metric_itself():
    """Not of the quicker estimate that intervals resample."""
    real, fake, swd = crowd(64, 2, lambda _, label: 50 + 100 * label), crowd(64, 2, lambda _, label: 60 + 90 * label), choose("swd_color")
    found = compare_sets(swd, real, fake, How(1000))
    parts = [found.collected[side][key_of(swd["swd_color"])].select(torch.arange(0, 64, 2)) for side in ("real", "fake")]
    assert table("swd_color", real, fake)[0]["swd_color"] == number(swd["swd_color"].function(*parts).value)


def test_nearest_neighbours_are_shown_as_the_clips_they_are(monkeypatch):
    """Rows of what was looked at are not the numbers of clips."""
    seen = {}
    monkeypatch.setattr("metrics.pictures.neighbours", lambda fakes, reals, captions: seen.update(fakes=fakes, reals=reals) or b"")
    real, fake = crowd(80, 2, lambda number, _: 3 * number), crowd(80, 2, lambda number, _: 3 * number + 1)
    found = compare_sets(choose("diversity"), real, fake, How(30))
    describe_clips(found, real, fake, [], choose("diversity"))
    assert len(seen["fakes"]) == 8 and all(abs(a.mean() - b.mean()) < 3 for a, b in zip(seen["fakes"], seen["reals"]))


def test_strips_are_of_clips_from_everywhere(monkeypatch):
    kept, shown = pictures.strips, []
    monkeypatch.setattr(pictures, "strips", lambda *sides: shown.extend(sides) or kept(*sides))
    grey = lambda numbers: numbers.to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 2, 8, 8, 3)
    sides = [Crowd("", grey, 64, np.arange(64)) for _ in range(2)]
    found = compare_sets(choose("diversity"), *sides, How(64))
    describe_clips(found, *sides, [], choose("diversity"))
    for clips in shown:
        assert clips[0].max() < 4 and clips[-1].min() > 60
