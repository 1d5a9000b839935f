"""Crowds compared: what is drawn, what is kept, intervals, and several processes as one."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from metrics.collect import Draw
from metrics.features import Features
from metrics.networks.network import Network
from metrics.registry import choose
from metrics.sets import Crowd, How, compare_sets, draw_clips
from metrics.shelf import Shelf


def clips_of(shift, frames=4, size=32):
    """A crowd of clips, each a function of its number: noise about a grey that ``shift`` moves."""
    def get(numbers):
        made = [np.random.default_rng(int(number)).normal(100 + shift + 5 * (int(number) % 7), 20, (frames, size, size, 3))
                for number in numbers]
        return torch.from_numpy(np.clip(np.stack(made), 0, 255).astype(np.uint8))
    return get


def crowd(shift=0, first=0, count=200, **more):
    get = clips_of(shift)
    return Crowd(f"grey {shift}", lambda numbers: get(numbers + first), count, np.arange(count), **more)


MEANS = Network("means", "means 1", "frames", 1,
                lambda frames: {"features": frames.float().mean(dim=(1, 2)), "logits": frames.float()[:, :2, 0, 0] / 9})
NETWORKS = {("inception", "frames"): MEANS}


def looked(batch):
    side = Features(Draw(3, 2, clips=50, most=20), MEANS)
    for start in range(0, 50, batch):
        numbers = torch.arange(start, min(start + batch, 50))
        side.add(side.look(clips_of(0)(numbers), start))
    return side


def test_features_do_not_depend_on_batches_and_keep_a_bounded_choice():
    whole, parts = looked(50), looked(7)
    assert torch.equal(whole.features(), parts.features()) and whole.features().shape == (20, 2, 3) and whole.clips == 50
    torch.testing.assert_close(whole.gaussian().covariance, parts.gaussian().covariance, rtol=1e-12, atol=0)
    assert whole.gaussian().count == 100 and not whole.complete  # of all clips, not of those kept
    part = whole.select(torch.tensor([4, 4, 7]))
    assert torch.equal(part.features(), whole.features()[[4, 4, 7]]) and part.gaussian().count == 6


def test_a_distance_has_its_floor_and_an_interval_about_it():
    found = compare_sets(choose("fid,kid,is"), crowd(), crowd(30), How(64, resamples=20), NETWORKS)
    fid = found.scores["fid"]
    assert 3 * 30**2 * 0.9 < fid.value < 3 * 30**2 * 1.1 and 0 < found.floors["fid"].value < 30
    # The mean of a clip varies by 10 (7 greys, 5 apart), so the difference of two means of 64 by 1.8, and 3 x 30^2 by 6 x 30 x 1.8.
    reach = (found.intervals["fid"].high - found.intervals["fid"].low) / 2
    assert reach == pytest.approx(2 * 6 * 30 * 10 * (2 / 64) ** 0.5, rel=0.5)
    assert found.intervals["fid"].low + reach == pytest.approx(fid.value)
    assert found.floors["is"].value == pytest.approx(found.scores["is"].value, rel=0.5)
    assert compare_sets(choose("fid"), crowd(), crowd(30), How(64, floor=False), NETWORKS).floors["fid"] is None


def test_the_interval_covers_what_other_draws_find():
    """The same measurement on fresh clips lies inside about as often as it says."""
    inside = []
    for turn in range(12):
        found = compare_sets(choose("fid"), crowd(first=1000 * turn), crowd(10, first=1000 * turn + 500),
                             How(48, floor=False, resamples=30), NETWORKS)
        inside.append((found.scores["fid"].value, found.intervals["fid"]))
    centre = np.mean([value for value, _ in inside])
    assert sum(each.low < centre < each.high for _, each in inside) >= 9


def test_one_clip_of_each_video():
    crowd = Crowd("", None, 40, np.arange(0, 40, 2), videos=np.arange(20) // 4)
    for seed in range(5):
        chosen, floor = draw_clips(crowd, 5, seed, one_per_video=True)
        assert sorted(crowd.videos[np.searchsorted(crowd.separate, chosen)]) == [0, 1, 2, 3, 4]
        assert len(floor[0]) == 2 and not set(floor[0].tolist()) & set(floor[1].tolist())
    assert len({tuple(draw_clips(crowd, 5, seed, one_per_video=True)[0].tolist()) for seed in range(5)}) > 1


def test_what_is_known_of_real_clips_is_not_looked_at_again(tmp_path):
    asked = []
    counting = Network("means", "means 1", "frames", 1, lambda frames: asked.append(len(frames)) or MEANS.function(frames))
    shelf = Shelf(tmp_path)
    measure = lambda content, network=counting, how=How(32): compare_sets(
        choose("fid,kid"), crowd(content=content), crowd(30), how, {("inception", "frames"): network}, shelf)
    first = measure("a")
    assert sum(asked) == 32 * 3  # real (one half of the floor too), fake, and the floor's other half
    asked.clear()
    again = measure("a")
    assert sum(asked) == 32
    for name in ("fid", "kid"):  # memory lies elsewhere, which may change the last bits
        for side in ("scores", "floors"):
            assert getattr(again, side)[name].value == pytest.approx(getattr(first, side)[name].value, rel=1e-9)
    for other in (lambda: measure("b"), lambda: measure("a", how=How(32, seed=1)), lambda: measure("a", how=How(32, frames_per_clip=2))):
        asked.clear()
        other()
        assert sum(asked) > 32
    renamed = Network("means", "means 2", "frames", 1, counting.function)
    asked.clear()
    measure("a", renamed)
    assert sum(asked) == 32 * 3


def test_memory_does_not_grow_with_the_number_of_clips():
    """100,000 frames in the end; what is held must not depend on it."""
    script = """
import resource, sys, torch
from metrics.collect import Draw
from metrics.features import Features
from metrics.networks.network import Network
from metrics.diversity import Diversity
from metrics.temporal import Profiles
total = int(sys.argv[1])
network = Network("x", "x", "frames", 1, lambda frames: {"features": frames.float().flatten(1)[:, :64]})
draw = Draw(0, 1, total, 500)
sides = [Features(draw, network), Diversity(2**20), Profiles()]
clips = torch.randint(0, 256, (500, 1, 8, 8, 3), dtype=torch.uint8)
for start in range(0, total, 500):
    for side in sides:
        side.add(side.look(clips, start))
sides[0].gaussian(), sides[0].features()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    peaks = [float(subprocess.run([sys.executable, "-c", script, str(total)], capture_output=True, text=True, check=True).stdout)
             for total in (2000, 100_000)]
    assert peaks[1] < peaks[0] + 20  # MiB; a hundred thousand frames of 8x8 alone are 18, their features 25


def test_no_more_than_one_clip_of_each_video_where_videos_are_fewer_than_wanted():
    found = compare_sets(choose("diversity"), *(crowd(shift, videos=np.arange(200) // 20) for shift in (0, 30)),
                         How(64, one_per_video=True))
    assert found.clips == 10 and len(set((found.numbers["real"] // 20).tolist())) == 10
    assert found.notes[0] == "10 clips on each side, not 64: there are no more"


def test_intervals_of_clips_that_share_frames_are_called_too_narrow():
    sharing = crowd(30)
    sharing.separate = sharing.separate[::10]
    of = lambda fake, wanted: [note for note in compare_sets(choose("diversity"), crowd(), fake, How(wanted, resamples=4)).notes
                               if "narrow" in note]
    assert of(crowd(30), 40) == of(sharing, 20) == []
    (told,) = of(sharing, 40)
    assert told.startswith("40 fake clips, of which only 20 without common frames")


def test_intervals_of_few_videos_are_said_to_hold_for_these():
    of = lambda videos, wanted=40, **more: compare_sets(choose("diversity"), crowd(videos=np.arange(200) // (200 // videos)), crowd(30),
                                                        How(wanted, **{"resamples": 4} | more)).notes
    (told,) = of(20)
    assert told.startswith("40 real clips of 20 videos: the 95% intervals hold for other clips of these")
    assert any("40 real clips of 1 video:" in note for note in of(1)) and of(20, 39) == of(20, resamples=0) == []


def test_a_share_of_none_has_no_interval_of_no_width():
    found = compare_sets(choose("precision"), crowd(), crowd(100), How(32, resamples=8), NETWORKS)
    assert found.scores["precision"].value == 0 and found.intervals["precision"] is None


def test_the_floor_of_one_crowd_is_the_value_of_the_real_one():
    found = compare_sets(choose("is"), crowd(), crowd(300), How(64), NETWORKS)  # the generated ones are all white
    assert found.scores["is"].value == pytest.approx(1) and found.floors["is"].value > 1.1


def test_the_inception_score_of_clips_has_no_splits():
    clips = Network("means", "means 1", "clips", 1, lambda clips: MEANS.function(clips[:, 0]))
    scores = {name: compare_sets(choose(name), crowd(), crowd(30), How(64), {choose(name)[name].needs: network}).scores[name]
              for name, network in (("is", MEANS), ("is_c3d", clips))}
    assert "standard deviation over splits" in scores["is"].parts and scores["is_c3d"].parts == {}
