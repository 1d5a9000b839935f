"""The benchmarks run far too long to be tests; that they can still be run is one."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import machine
from tests.data.films import moving, write_film
from training import checkpoint
from utils.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_can_be_imported_and_says_what_it_does(name, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0 and "usage" in capsys.readouterr().out and f"python -m benchmarks.{name}" in module.__doc__


def test_recipes_measures_the_checkpoints_of_a_run(runner, tmp_path):
    from benchmarks import recipes

    runner.train("--out", tmp_path / "run", "--precision", "fp32", "--steps", "6", "--checkpoint_every", "2", "--keep", "9",
                 "--log_every", "2")
    points = recipes.curve(tmp_path / "run", 1e9, 8)
    assert [point["step"] for point in points] == [2, 4, 6] and all(point["swd"] > 0 and point["floor"] > 0 for point in points)
    (kept,) = checkpoint.listed(tmp_path / "run" / "checkpoints")
    assert recipes.strip(kept, columns=3).shape[2] == 3
    better = [{**point, "swd": point["floor"] + (point["swd"] - point["floor"]) / 2} for point in points]
    found = recipes.summarise({"recommended": [{"points": better}], "published": [{"points": points}]}, 1e9)
    assert found["times_closer"]["median"] == pytest.approx(2)


def test_clips_have_the_floor_of_their_frames(runner, tmp_path):
    """Clips without common frames are too few; a floor of fewer would be another one."""
    from benchmarks import recipes

    few = ["--precision", "fp32", "--steps", "1"]
    runner.train("--out", tmp_path / "frames", *few)
    runner.train("--out", tmp_path / "clips", *few, "--family", "vgan", "--frames", "4", "--model.g_width", "4", "--model.d_width", "4")
    floors = [recipes.real_against_real(checkpoint.latest(tmp_path / name / "checkpoints"), 40) for name in ("frames", "clips")]
    clips = recipes.measure(checkpoint.latest(tmp_path / "clips" / "checkpoints"), 40)
    assert floors[0] == floors[1] > 0 and clips.protocol.floor_clips == 12 and clips.floor.value > 1.1 * floors[0]
    with pytest.raises(SystemExit, match="the videos have 96 frames, two sides need 98"):
        recipes.real_against_real(checkpoint.latest(tmp_path / "clips" / "checkpoints"), 49)


def test_recipes_tell_drift_from_tremor():
    from benchmarks import recipes

    points = lambda *values: [{"step": 10 * number, "swd": value} for number, value in enumerate(values, 1)]
    trembling, drifting = points(345, 344, 263, 342, 349, 345), points(100, 100, 100, 120, 130, 140)
    assert recipes.settled(trembling) == pytest.approx(345 / 342) and recipes.of_points(trembling) == ["ends worse at 60"]
    assert recipes.settled(drifting) == 1.3 and recipes.of_points(drifting) == ["evaluations worsen at 50", "ends worse at 60"]
    assert recipes.settled(points(3, 1)) == 1 and recipes.of_points(points(3, 1)) == []


def test_stability_tells_when_a_recipe_is_at_its_best_and_how_far_it_falls():
    from benchmarks import stability

    points = [{"seconds": 10.0 * number, "swd": value} for number, value in enumerate((300, 200, 109, 111, 100, 130, 90, 104), 1)]
    assert stability.at_its_best(points) == 70 and stability.fallen(points) == pytest.approx(104 / 90)
    assert stability.at_its_best(points[:5]) == 30 and stability.fallen(points[:5]) == 1


def test_stability_sums_seeds_up():
    from benchmarks import stability

    run = lambda best, end, swd, *alarms: {"at_its_best": best, "seconds": 3 * best, "end_over_best": end, "worst_after_best": end,
                                           "alarms": alarms, "points": [{"swd": 900.0, "floor": 30.0}, {"swd": swd, "floor": 30.0}]}
    runs = {"recommended": [run(9, 1.0, 60.0)] * 3,
            "published": [run(100, 1.5, 150.0, "samples alike at 3"), run(80, 1.0, 90.0), run(120, 2.0, 120.0, "x", "y")]}
    assert stability.row("vgan", runs) == ("| `vgan` | 100 (80 to 120) | 300 (240 to 360) | 60; 1.00; 1.00; 0 of 3 | "
                                           "120 (90 to 150); 1.50 (1.00 to 2.00); 1.50 (1.00 to 2.00); 2 of 3 | 30 | 3.0 (2.0 to 4.0) |")
    runs["recommended"] = [run(9, 1.0, 29.0)]
    assert stability.row("vgan", runs).endswith("| 30 | at it |")


def test_a_pair_that_is_done_stays_and_one_whose_folders_are_gone_begins_anew(tmp_path, monkeypatch):
    from argparse import Namespace

    from benchmarks import stability

    options = Namespace(least=10, limit=900, samples=8, work=str(tmp_path / "gone"))
    points = [{"step": step, "seconds": 10.0 * step, "swd": 1.0 + (step < 3), "floor": 1.0} for step in range(1, 6)]
    known = {recipe: {"seconds": 91.0, "points": points} for recipe in stability.RECIPES}
    assert stability.until([], options) == 10 and stability.until(points, options) == pytest.approx(90.9)
    assert stability.until(points, Namespace(least=100, limit=900)) == 100 and stability.until(points, Namespace(least=10, limit=50)) == 50
    assert stability.pair("vgan", 0, known, options) is known
    def train(family, seed, seconds, *rest):
        raise InterruptedError(f"{family} {seed} {seconds}")

    monkeypatch.setattr(stability, "train", train)
    for run in known.values():
        run["seconds"] = 80.0
    with pytest.raises(InterruptedError, match="vgan 0 10$"):  # as if nothing was known
        stability.pair("vgan", 0, known, options)


def test_seconds_of_training_add_up_over_restarts(tmp_path):
    from benchmarks import runs

    assert runs.trained(tmp_path) == 0 and runs.seconds_at(tmp_path) == {}
    rows = ((10, 4.0), (20, 8.0), (30, 3.0), (40, 5.0), (50, 1.5))
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {step}, "seconds": {seconds}}}\n' for step, seconds in rows))
    assert runs.seconds_at(tmp_path) == {10: 4.0, 20: 8.0, 30: 11.0, 40: 13.0, 50: 14.5} and runs.trained(tmp_path) == 14.5


def test_a_run_trained_for_long_enough_is_not_started_again(tmp_path):
    from benchmarks import runs

    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "seconds": 4.0}\n')
    runs.train_together({tmp_path: ["--no_such_flag", "1"]}, 4.0)
    with pytest.raises(SystemExit, match="failed"):
        runs.train_together({tmp_path: ["--no_such_flag", "1"]}, 5.0)


def test_points_of_a_run_that_goes_on_are_added(runner, tmp_path):
    from benchmarks import recipes

    flags = ("--out", tmp_path / "run", "--precision", "fp32", "--checkpoint_every", "2", "--keep", "9", "--log_every", "2")
    runner.train(*flags, "--steps", "4")
    points = recipes.add_points([], tmp_path / "run", 8)
    assert [point["step"] for point in points] == [2, 4]
    runner.train(*flags, "--steps", "6")
    assert recipes.add_points(points, tmp_path / "run", 8)[:2] == points
    assert [point["step"] for point in recipes.add_points(points, tmp_path / "run", 8)] == [2, 4, 6]


@pytest.mark.parametrize("name", ["recipes", "stability"])
def test_values_of_other_numbers_of_samples_are_not_mixed(name, tmp_path, monkeypatch):
    output = tmp_path / "found.json"
    output.write_text('{"metric": "swd, 256 clips a side", "families": {}}')
    monkeypatch.setattr("sys.argv", [name, "--samples", "64", "--output", str(output)])
    with pytest.raises(SystemExit, match="--samples 64: .* has swd, 256 clips a side"):
        importlib.import_module(f"benchmarks.{name}").main()


def test_results_tell_the_command_that_made_them(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/benchmarks/fid.py", "--frames", "64", "--output", "my file.json"])
    assert machine.command() == "python -m benchmarks.fid --frames 64 --output 'my file.json'"


def test_labels_are_judged_by_all_judges_together(runner, tmp_path, monkeypatch):
    from benchmarks import labels

    runner.train("--family", "hrvgan", "--height", 16, "--width", 16, "--frames", 4, "--model.g_width", 4, "--model.d_width", 4,
                 "--model.max_width", 8, "--batch_size", 4, "--precision", "fp32", "--steps", 2, "--out", tmp_path / "run")
    monkeypatch.setattr(labels, "NEEDED", 0.0)  # judges that have learnt nothing will do
    judged = lambda **options: labels.judge_checkpoint(str(tmp_path / "run"), 5, clips=2, steps=2, tries=1, length=40, **options)
    both, first, second = judged(seeds=(0, 1), best_of=(1, 3)), judged(seeds=(0,), truncations=(1, 0.1)), judged(seeds=(1,))
    assert both["held_out_by_judge"] == [first["held_out"], second["held_out"]]
    plain, chosen = both["best_of_1"], both["best_of_3"]
    assert plain["by_judge"] == [first["best_of_1"]["accuracy"], second["best_of_1"]["accuracy"]]
    for account in (plain, chosen):
        assert [sum(row) for row in account["asked_by_found"]] == [5] * len(both["classes"])
        assert sum(account["per_class"]) / len(both["classes"]) == pytest.approx(account["accuracy"])
    assert chosen["variety"] != plain["variety"] == first["best_of_1"]["variety"]
    assert first["best_of_1_truncation_0.1"]["variety"] < first["best_of_1"]["variety"]
    monkeypatch.setattr(labels, "ALL", labels.ALL[1:])  # no clips can be drawn of classes that nothing draws
    with pytest.raises(UserError, match="run: horizontal_disc: not a motion and a shape"):
        judged()


def test_the_peers_of_the_interpolator_get_what_they_deserve():
    from benchmarks import interpolation
    from tests.data.films import moving

    first, middle, second = moving(3, height=96, width=128, speed=4)
    error = lambda made: np.abs(made.astype(int) - middle)[16:-16, 16:-16].mean()
    assert error(interpolation.dis(first, second)) < error(interpolation.blend(first, second))
    film = [np.full((16, 16, 3), 10 * place, np.uint8) for place in range(9)]
    for lag in (0, 1, 2):
        assert interpolation.best_alignment(film[lag:], film[1::2])["psnr"] == 100


def test_recipes_are_compared_within_the_budget_and_in_all():
    from benchmarks import recipes

    points = lambda *values: [{"step": at, "seconds": 10.0 * at, "swd": value, "floor": 1.0} for at, value in enumerate(values, 1)]
    found = recipes.summarise({"recommended": [{"points": points(9.0, 2.0)}], "published": [{"points": points(9.0, 5.0)}]}, 10.0)
    assert found["times_closer_within_budget"]["median"] == 1 and found["times_closer"]["median"] == 4


def test_what_the_timing_of_extraction_runs(tmp_path):
    from benchmarks import extraction

    path = write_film(tmp_path / "film.mp4", moving(12, height=320, width=640))
    (tmp_path / "frames").mkdir()
    extraction.whole(path, str(tmp_path), 0)
    assert len(extraction.ours(path)) == 3 and not list((tmp_path / "frames").glob("*.npy"))


def test_the_gain_over_repeating_a_frame_is_a_mean_over_videos():
    from benchmarks.future import gain

    real = torch.full((4, 3, 4, 4, 3), 100, dtype=torch.uint8)
    real[:, 1:] += 20  # all that follows is 20 levels above the first frame
    made = real.clone()
    made[:3, 1:] += 2  # a tenth of that error: 20 dB; the last clip has all of it
    made[3, 1:] -= 20
    found = gain(made, real, np.array([0, 0, 0, 1]))
    assert found["mean"] == pytest.approx(10) and found["videos"] == 2
    assert found["high"] - found["mean"] == found["mean"] - found["low"] == pytest.approx(1.96 * 10)
