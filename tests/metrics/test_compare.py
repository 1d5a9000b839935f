"""Reports beside each other, and which of them may not stand there."""

import json

import pytest

from metrics import report
from metrics.compare import compare
from tests.metrics.results import result
from utils.errors import UserError


@pytest.fixture
def write(tmp_path):
    """write("a", results...) -> the folder of a report of them."""
    def make(name, *results):
        report.write(tmp_path / name, list(results), {}, [], "python evaluate.py")
        return tmp_path / name
    return make


def edit(folder, change):
    """Change what the folder's metrics.json says of swd."""
    values = json.loads((folder / "metrics.json").read_text())
    change(values["metrics"]["swd"])
    (folder / "metrics.json").write_text(json.dumps(values))


def test_values_differences_and_intervals_side_by_side(write):
    first = write("a", result(low=18, high=22.0), result("fid", 9.0, floor=1.0), result("kid", 0.5, low=0.4, high=0.6))
    other = write("b", result(value=23.0, low=22.0, high=24.0, fake="runs/b, step 3"),
                  result("kid", 0.75, low=0.7, high=0.8, fake="runs/b, step 3"))
    third = write("c", result(value=None, draws=(30.0, 32.0), fake="runs/c, step 4"))
    rows, notes = compare([first, other / "metrics.json", third])
    assert rows[0] == ["metric", "A: runs/a, step 2", "B: runs/b, step 3", "C: runs/c, step 4", "real",
                       "B - A", "intervals A, B", "C - A", "intervals A, C"]
    assert rows[1] == ["swd ↓", "20.00 [18, 22.00]", "23.00 [22.00, 24.00]", "31.00 ± 1.4", "5.000", "+3.000", "overlap", "+11.00", ""]
    assert rows[2] == ["fid ↓", "9.000", "", "", "1.000", "", "", "", ""] and "fid: only in A" in notes
    assert rows[3][5:7] == ["+0.2500", "apart"]


def test_a_value_that_is_not_finite_has_no_difference(write):
    rows, _ = compare([write("a", result(value=None)), write("b", result())])
    assert rows[1][1] == "undefined" and rows[1][-2:] == ["", ""]


@pytest.mark.parametrize("change, said", [
    ({"seed": 1}, "seed 0 and 1"),
    ({"weights": "inception abc"}, "weights none and 'inception abc'"),
    ({"settings": {"max_frames_kept": 8}}, "settings {'max_frames_kept': 9} and {'max_frames_kept': 8}"),
    ({"real_content": "beef"}, "real_content 'c0ffee' and 'beef'"),
    ({"floor_clips": 31}, "floor_clips 32 and 31"),
    ({"definition": "swd 2", "height": 64}, "definition 'swd 1' and 'swd 2', height 32 and 64"),
])
def test_protocols_that_differ_are_refused_naming_both_values(write, change, said):
    first, other = write("a", result("fid"), result()), write("b", result("fid"), result(**change))
    with pytest.raises(UserError, match="^swd: .*a/metrics.json and .*b/metrics.json cannot be compared") as caught:
        compare([first, other])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_the_third_is_held_to_the_second_too(write):
    reports = write("a", result()), write("b", result("fid")), write("c", result("fid", seed=3))
    with pytest.raises(UserError, match="^fid: .*seed 0 and 3"):
        compare(list(reports))


def test_what_does_not_change_a_value_is_told_and_not_refused(write):
    other = result(floor=None, floor_clips=None, libraries="torch 3", precision="bfloat16", real="elsewhere/")
    rows, notes = compare([write("a", result()), write("b", other)])
    assert rows[1][1:4] == ["20.00", "20.00", "5.000"]
    assert "not the same libraries: A: torch 2; B: torch 3" in notes and "not the same precision: A: float32; B: bfloat16" in notes


def test_an_older_report_is_compared_by_the_path_of_its_clips(write):
    first, other = write("a", result()), write("b", result(fake="runs/b"))

    def age(values):
        del values["protocol"]["real_content"], values["protocol"]["name"], values["interval"], values["draws"]
    edit(other, age)
    for paths in ([first, other], [other, first]):
        rows, notes = compare(paths)
        assert rows[1][1:3] == ["20.00", "20.00"] and any("older version that does not say real_content, name" in note for note in notes)
    edit(other, lambda values: values["protocol"].update(real="elsewhere/"))
    for paths in ([first, other], [other, first]):
        with pytest.raises(UserError, match="real '"):
            compare(paths)


@pytest.mark.parametrize("change, said", [
    (lambda values: values["protocol"].pop("height"), "swd: its protocol lacks height: written by an older version"),
    (lambda values: values["protocol"].update(colours=3), "swd: its protocol has colours: written by a newer version"),
    (lambda values: values.update(score=3), "swd: cannot be read"),
    (lambda values: values["score"].update(colour=3), "swd: cannot be read"),
    (lambda values: values.update(protocol=3), "is no metrics.json of a report"),
    (lambda values: values.pop("score"), "is no metrics.json of a report"),
])
def test_reports_of_other_versions_are_told_in_a_line(write, change, said):
    first, other = write("a", result()), write("b", result())
    edit(other, change)
    with pytest.raises(UserError, match=f"b/metrics.json: {said}"):
        compare([first, other])


def test_files_that_are_no_report_are_told_in_a_line(write, tmp_path):
    first = write("a", result())
    for name, content in (("text.json", b"no JSON"), ("list.json", b"[1]"), ("other.json", b'{"metrics": 3}'), ("bytes.json", b"\xff\xfe")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: is no metrics.json of a report"):
            compare([first, tmp_path / name])
    with pytest.raises(UserError, match="holds no measured metric"):
        compare([first, write("empty")])
    with pytest.raises(UserError, match="nowhere: there is no such file"):
        compare([first, tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no metric in common"):
        compare([first, write("fid", result("fid"))])
    with pytest.raises(UserError, match="takes 2 to 26 reports"):
        compare([first])


@pytest.mark.parametrize("change", [lambda swd: swd["score"].update(value="many"), lambda swd: swd.update(draws=["a", "b"]),
                                    lambda swd: swd.update(draws=None),
                                    lambda swd: swd["interval"].update(low=None), lambda swd: swd["protocol"].update(fake=None)])
def test_values_that_are_no_numbers_are_told_in_a_line(write, change):
    first, second = write("a", result(low=18.0, high=22.0)), write("b", result(low=18.0, high=22.0))
    edit(second, change)
    with pytest.raises(UserError, match="b/metrics.json: swd: holds values that are no numbers"):
        compare([first, second])
