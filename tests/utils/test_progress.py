"""Lines where there is no terminal."""

from types import SimpleNamespace

from utils.progress import Progress


def test_lines_tell_the_speed_of_this_process_and_what_is_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("utils.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    for quiet in (False, True):
        now[0] = 0.0
        progress = Progress(100, "train", "steps", initial=40, quiet=quiet)
        for now[0], count in ((5.0, 10), (20.0, 10), (30.0, 40)):
            progress.update(count, loss=0.5)
        progress.close()
        end = "train: 100/100 steps  2 steps/s  30s  loss 0.5\n"
        expected = "" if quiet else f"train: 60/100 steps  1 steps/s  20s gone, 40s left  loss 0.5\n{end}"
        assert capsys.readouterr().err == expected
