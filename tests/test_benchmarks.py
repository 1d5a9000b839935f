"""The benchmarks run far too long to be tests; that they can still be run is one."""

import importlib
from pathlib import Path

import pytest

from training import checkpoint

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


def test_recipes_tell_drift_from_tremor():
    from benchmarks import recipes

    points = lambda *values: [{"step": 10 * number, "swd": value} for number, value in enumerate(values, 1)]
    trembling, drifting = points(345, 344, 263, 342, 349, 345), points(100, 100, 100, 120, 130, 140)
    assert recipes.settled(trembling) == pytest.approx(345 / 342) and recipes.of_points(trembling) == ["ends worse at 60"]
    assert recipes.settled(drifting) == 1.3 and recipes.of_points(drifting) == ["evaluations worsen at 50", "ends worse at 60"]
    assert recipes.settled(points(3, 1)) == 1 and recipes.of_points(points(3, 1)) == []


def test_labels_are_judged_by_all_judges_together(runner, tmp_path, monkeypatch):
    from benchmarks import labels

    runner.train("--family", "hrvgan", "--height", 16, "--width", 16, "--frames", 4, "--model.g_width", 4, "--model.d_width", 4,
                 "--model.max_width", 8, "--batch_size", 4, "--precision", "fp32", "--steps", 2, "--out", tmp_path / "run")
    monkeypatch.setattr(labels, "NEEDED", 0.0)  # judges that have learnt nothing will do
    judged = lambda **options: labels.judge_checkpoint(str(tmp_path / "run"), 5, clips=2, steps=2, tries=1, **options)
    both, first, second = judged(seeds=(0, 1), best_of=(1, 3)), judged(seeds=(0,)), judged(seeds=(1,))
    assert both["held_out_by_judge"] == [first["held_out"], second["held_out"]]
    plain, chosen = both["best_of_1"], both["best_of_3"]
    assert plain["by_judge"] == [first["best_of_1"]["accuracy"], second["best_of_1"]["accuracy"]]
    for account in (plain, chosen):
        assert [sum(row) for row in account["asked_by_found"]] == [5] * len(both["classes"])
        assert sum(account["per_class"]) / len(both["classes"]) == pytest.approx(account["accuracy"])
    assert chosen["variety"] != plain["variety"] == first["best_of_1"]["variety"]
